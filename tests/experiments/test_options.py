"""Options that change what is distilled, through the whole command."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.parametrizations import mosaics
from jaxdd.storage import distilled_set

NOISE = (
    'dm --dataset digits --ipc 1 --smoke --steps-per-call 1 --init noise '
    '--evaluation.epochs 0 --evaluation.num-seeds 1'
)
CHOSEN = f'{NOISE} --data.sampling representative --data.cluster-every 1'
MOSAICS = (
    'idm --dataset digits --ipc 1 --smoke --matching.factor 2 --evaluation.epochs 0 '
    '--evaluation.num-seeds 1'
)


@pytest.fixture(scope='module')
def finished(main, tmp_path_factory):
    """finished(words) -> the workdir of a run that ended well, each command once."""
    known = {}

    def run(words):
        if words not in known:
            known[words] = tmp_path_factory.mktemp('options') / 'work'
            assert main(words, known[words]) == 0
        return known[words]

    return run


def losses(workdir):
    return [
        json.loads(line)['loss/dm'] for line in (workdir / 'history.jsonl').read_text().splitlines()
    ]


@pytest.mark.long
def test_mosaics_are_stored_beside_what_they_decode_to(finished):
    synthetic, about = distilled_set.load_npz(finished(MOSAICS) / 'distilled.npz')
    assert synthetic.images.shape == (10, 4, 8, 8, 1) and about['stored'].shape == (10, 1, 8, 8, 1)
    decoded = mosaics.decode(jnp.asarray(about['stored']), 2, order='column')
    np.testing.assert_allclose(synthetic.images, decoded, atol=1e-5)
    assert synthetic.labels.argmax(-1).tolist() == [[c] * 4 for c in range(10)]


@pytest.mark.long
def test_only_the_mosaics_bytes_are_reported(finished):
    workdir = finished(MOSAICS)
    results = json.loads((workdir / 'results.json').read_text())
    assert (results['bytes']['images'], results['bytes']['labels']) == (10 * 1 * 8 * 8 * 4, 0)
    assert results['images'] == {'stored per class': 1, 'trained on per class': 4}
    assert '(images 2,560, labels 0)' in (workdir / 'report.md').read_text()


@pytest.mark.long
def test_images_may_start_as_noise(finished):
    images = distilled_set.load_npz(finished(NOISE) / 'distilled.npz')[0].images
    assert images.shape == (10, 1, 8, 8, 1) and np.isfinite(images).all()
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), 0), images.shape)
    assert np.corrcoef(images.ravel(), noise.ravel())[0, 1] > 0.9


@pytest.mark.long
def test_representatives_are_matched_from_the_second_step_on(finished):
    random, chosen = (losses(finished(words)) for words in (NOISE, CHOSEN))
    assert len(random) == len(chosen) == 2 and np.isfinite(chosen).all()
    # nothing is chosen before the first step
    assert chosen[0] == pytest.approx(random[0], rel=1e-5)
    assert chosen[1] != pytest.approx(random[1], rel=1e-3)
