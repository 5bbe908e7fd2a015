"""Every form reads what it writes, and what it cannot hold it refuses."""

import numpy as np
import pytest

from jaxdd.exchange import forms, likeness, registry
from jaxdd.exchange.forms import Decode, Told, assemble
from jaxdd.storage import distilled_set
from jaxdd.storage.distilled_checks import check
from jaxdd.types import SyntheticSet

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201)
NAMES = tuple(f'class {i}' for i in range(10))
SPACES = {'idc': 'unit', 'ncfm': 'unit', 'imagefolder': 'unit', 'sre2l': 'unit', 'rded': 'unit'}
# grey levels, or what a JPEG leaves of noise
NEAR = {'imagefolder': 0.51 / 255, 'sre2l': 0.1, 'rded': 0.1}
# half a step of pixels in [0, 1], and a little for float16
NEAR |= {f'quantised-{bits}bit': 0.51 / (2**bits - 1) for bits in (8, 4, 2)}
DATA = {'name': 'cifar10', 'classes': 10, 'checksums': None, 'licence': 'ours'}
INFO = {'method': 'dm', 'config': {'dataset': 'cifar10'}}


def told(name, **changes):
    return Told(SPACES.get(name, 'normalised'), NAMES, MEAN, STD, info=INFO)._replace(**changes)


def made(**changes):
    """A set as a run leaves it: it says of itself what it is."""
    pixels = np.random.default_rng(0).random((10, 2, 8, 8, 3), np.float32)
    return said(assemble(pixels, None, told('idc', **changes)))


def said(one):
    how = {'stored': one.about.get('stored'), 'decode': one.about['info'].get('decode')}
    info = {**INFO, **distilled_set.described(one.synthetic, dataset=DATA, **how)}
    return one._replace(about={**one.about, 'info': info})


@pytest.mark.parametrize('name', registry.FORMS)
def test_what_is_written_is_read(name, tmp_path):
    pytest.importorskip(registry.FORMS[name].package or 'numpy')
    one = made()
    files = registry.write(name, one, tmp_path / 'set')
    assert all(path.exists() for path in files)
    assert name in likeness.of(tmp_path / 'set').forms  # pyright: ignore
    found = registry.read(name, tmp_path / 'set', told(name))
    check(found.synthetic, found.about)
    pixels = [forms.to_unit(one_, np.asarray(one_.synthetic.images)) for one_ in (one, found)]
    np.testing.assert_allclose(*pixels, atol=NEAR.get(name, 2e-6))
    np.testing.assert_array_equal(found.synthetic.labels, one.synthetic.labels)
    assert tuple(found.about['class_names']) == NAMES


@pytest.mark.parametrize('name', registry.FORMS)
def test_soft_labels_are_kept_or_refused(name, tmp_path):
    pytest.importorskip(registry.FORMS[name].package or 'numpy')
    labels = np.random.default_rng(1).dirichlet(np.ones(10), (10, 2)).astype(np.float32)
    one = made()
    one = said(one._replace(synthetic=SyntheticSet(one.synthetic.images, labels)))  # pyright: ignore
    if 'soft labels' in registry.FORMS[name].holds:
        registry.write(name, one, tmp_path / 'set')
        found = registry.read(name, tmp_path / 'set', told(name)).synthetic.labels
        likely = np.exp(found) / np.exp(found).sum(-1, keepdims=True)  # logits come back as such
        near = found if np.allclose(found.sum(-1), 1, atol=0.01) else likely
        np.testing.assert_allclose(near, labels, atol=1e-3)
    else:
        with pytest.raises(ValueError, match='soft labels would become hard ones.*Write it as npz'):
            registry.write(name, one, tmp_path / 'set')
        assert not (tmp_path / 'set').exists()


@pytest.mark.parametrize('name', registry.FORMS)
def test_mosaics_are_kept_or_refused_and_their_images_are_written_if_asked(name, tmp_path):
    pytest.importorskip(registry.FORMS[name].package or 'numpy')
    cut = Decode(2, 'row', 'unit')
    one = made(decode=cut)
    if 'mosaics' in registry.FORMS[name].holds:
        registry.write(name, one, tmp_path / 'set')
        found = registry.read(name, tmp_path / 'set', told(name, space='unit', decode=cut))
        np.testing.assert_allclose(
            found.about['stored'], one.about['stored'], atol=NEAR.get(name, 1e-6)
        )
    else:
        with pytest.raises(ValueError, match='mosaics would be taken for whole images'):
            registry.write(name, one, tmp_path / 'set')
    registry.write(name, one, tmp_path / 'whole', decoded=True)
    found = registry.read(name, tmp_path / 'whole', told(name))
    assert found.synthetic.images.shape == (10, 8, 8, 8, 3) and 'stored' not in found.about


def test_the_whole_images_of_mosaics_say_that_they_are_whole(tmp_path):
    one = made(decode=Decode(2, 'row', 'unit'))
    registry.write('npz', one, tmp_path / 'mosaics')
    registry.write('npz', one, tmp_path / 'whole', decoded=True)
    found = distilled_set.load_npz(tmp_path / 'whole' / 'distilled.npz')[1]['info']
    assert found['decode'] is None and found['bytes']['images'] == 4 * one.synthetic.images.size


def test_programs_are_told_which_data_set_it_is_and_its_terms(tmp_path):
    torch = pytest.importorskip('torch')
    registry.write('cim', made(), tmp_path / 'cim')
    assert torch.load(tmp_path / 'cim' / 'cim.pt', weights_only=True)['dataset'] == 'cifar10'
    pytest.importorskip('pyarrow')
    registry.write('hub', made(), tmp_path / 'hub')
    card = (tmp_path / 'hub' / 'README.md').read_text()
    assert '# cifar10, distilled with dm' in card and 'Terms of the real images: ours.' in card


@pytest.mark.parametrize('name, words', [('pt', "unknown form 'pt'"), ('dc', 'does not exist')])
def test_what_is_not_there_is_refused(name, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        registry.read(name, tmp_path / 'nothing', told('dc'))
