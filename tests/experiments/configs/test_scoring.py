"""What made a set is believed only where a run could have said it."""

import numpy as np
import pytest

from experiments.configs import scoring
from jaxdd.storage import distilled_set
from jaxdd.types import SyntheticSet


def write(path, made):
    images = np.zeros((2, 1, 4, 4, 1), np.float32)
    labels = np.eye(2, dtype=np.float32)[:, None]
    distilled_set.save_npz(
        path,
        SyntheticSet(images, labels),
        mean=(0.5,),
        std=(0.25,),
        class_names=('a', 'b'),
        info={'config': made},
    )
    return str(path)


@pytest.mark.parametrize(
    'made, where',
    [
        (None, 'info.config: '),
        ([], 'info.config: '),
        ('dm', 'info.config: '),
        ({'method': 1}, 'info.config.method: '),
        ({'plugins': 'cc'}, 'info.config.plugins: '),
        ({'dataset': ['cifar10']}, 'info.config.dataset: '),
        ({'dataset': 7}, 'info.config.dataset: '),
        ({'ipc': 'many'}, 'info.config.ipc: '),
        ({'ipc': 0}, 'info.config.ipc: '),
        ({'data': 3}, 'info.config.data: '),
        ({'data': {'data_dir': 4}}, 'info.config.data.data_dir: '),
        ({'data': {'image_size': 'x'}}, 'info.config.data.image_size: '),
        ({'data': {'lazy': 'x'}}, 'info.config.data.lazy: '),
        ({'data': {'classes': 'ab'}}, 'info.config.data.classes: '),
        ({'data': {'classes': [0, 'b']}}, 'info.config.data.classes.1: '),
        ({'evaluation': 7}, 'info.config.evaluation: '),
        ({'evaluation': {'epochs': 'x'}}, "'str'"),
        ({'evaluation': {'epochs': [1]}}, "'list'"),
    ],
)
def test_a_configuration_that_no_run_has_is_refused(tmp_path, made, where):
    path = write(tmp_path / 'x.npz', made)
    with pytest.raises(ValueError) as error:
        scoring.parse([path])
    said = str(error.value)
    assert said.startswith(f'{path}: info.config is not the configuration of a run (')
    assert where in said


def test_what_made_a_set_is_read_as_it_was_written(tmp_path):
    made = {'method': 'dm', 'ipc': 1, 'data': {'data_dir': None, 'classes': [3, 1]}, 'new': [0]}
    given = scoring.read(write(tmp_path / 'x.npz', made))
    assert given.made == made and given.about['class_names'] == ('a', 'b')
    assert given.synthetic.images.shape == (2, 1, 4, 4, 1)


def test_a_workdir_stands_for_its_set_and_what_is_written_lies_beside_it(tmp_path):
    path = write(tmp_path / 'distilled.npz', {'dataset': 'digits'})
    assert scoring.parse([str(tmp_path)])[0].distilled == str(path)
