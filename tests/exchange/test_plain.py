"""Our own file as a form like the others."""

import numpy as np
import pytest
from small_sets import KINDS, NAMES, fitted, mosaics, plain, require_same, soft, told, whitened

from jaxdd.exchange.forms import HOLDABLE, Decode
from jaxdd.exchange.plain import NPZ
from jaxdd.storage import distilled_set


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_set_comes_back_bit_by_bit(kind, tmp_path):
    make, what = KINDS[kind]
    (path,) = NPZ.write(make(), tmp_path)
    assert path == tmp_path / 'distilled.npz'
    require_same(make(), NPZ.read(tmp_path, what))
    require_same(make(), NPZ.read(path, what))
    assert NPZ.holds == set(HOLDABLE)


def test_it_is_the_file_that_runs_write(tmp_path):
    NPZ.write(soft(), tmp_path)
    synthetic, about = distilled_set.load_npz(tmp_path / 'distilled.npz')
    np.testing.assert_array_equal(synthetic.labels, soft().synthetic.labels)
    assert about['class_names'] == NAMES


@pytest.mark.parametrize(
    'make, changes, words',
    [
        (plain, {'space': 'unit'}, "space was told to be 'unit', and the file says 'normalised'"),
        (plain, {'class_names': NAMES[::-1]}, 'expected .*another data set, or in another order'),
        (plain, {'class_names': NAMES[:2]}, 'must be 2 texts'),
        (plain, {'mean': (0.4, 0.5, 0.31)}, 'mean was told to be'),
        (plain, {'std': (0.2,)}, 'std was told to be'),
        (plain, {'info': {'seed': 4}}, r"info\['seed'\] was told to be 4, and the file says 3"),
        (plain, {'decode': Decode(2, 'row', 'unit')}, 'decode was told .* says None'),
        (
            mosaics,
            {'space': 'unit', 'decode': Decode(2, 'column', 'unit')},
            "decode was told .*'column'.* says .*'row'",
        ),
        (
            whitened,
            {'space': 'whitened', 'whitening': fitted()._replace(eps=np.float32(0.2))},
            'whitening was told to be 0.2 ',
        ),
    ],
)
def test_what_was_told_otherwise_is_refused(make, changes, words, tmp_path):
    NPZ.write(make(), tmp_path)
    with pytest.raises(ValueError, match=words):
        NPZ.read(tmp_path, told(**{'space': 'normalised', **changes}))


def test_what_was_told_beside_is_kept(tmp_path):
    NPZ.write(plain(), tmp_path)
    found = NPZ.read(tmp_path, told('normalised', info={'source': 'a page', 'seed': 3}))
    assert found.about['info'] == {**plain().about['info'], 'source': 'a page'}
    require_same(whitened(), _again(whitened(), tmp_path / 'white', fitted()))


def _again(artifact, folder, how):
    NPZ.write(artifact, folder)
    return NPZ.read(folder, told('whitened', whitening=how))


def test_mosaics_that_do_not_say_how_they_are_cut_are_kept(tmp_path):
    found = mosaics()
    found = found._replace(about={**found.about, 'info': {}})
    NPZ.write(found, tmp_path)
    require_same(found, NPZ.read(tmp_path, told('normalised')))
