"""The examples run as they stand, on fewer steps."""

import numpy as np
import pytest

from experiments.examples import dm_with_cm, own_network
from jaxdd import data
from jaxdd.storage.distilled_set import load_npz


@pytest.mark.long
def test_dm_with_cm_scores_two_sets(capsys):
    assert dm_with_cm.main(['--steps', '5', '--ipc', '2']) == 0
    printed = capsys.readouterr().out
    assert printed.startswith('random real images: ') and 'DM + CM: ' in printed


def test_an_own_network_distils_own_images(tmp_path, capsys):
    made = data.fake(num_classes=2, per_class=10)
    np.savez(
        tmp_path / 'mine.npz',
        train_images=made.train.images,
        train_labels=made.train.labels,
        test_images=made.test.images,
        test_labels=made.test.labels,
    )
    words = [
        '--images',
        str(tmp_path / 'mine.npz'),
        '--steps',
        '5',
        '--output',
        str(tmp_path / 'distilled.npz'),
    ]
    assert own_network.main(words) == 0
    synthetic, about = load_npz(tmp_path / 'distilled.npz')
    assert synthetic.images.shape == (2, 2, 8, 8, 3) and about['info'] == {'steps': 5}
    assert 'moved by 0.000' not in capsys.readouterr().out
