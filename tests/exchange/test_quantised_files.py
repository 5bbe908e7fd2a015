"""Files of quantised sets: what they hold comes back within its bound, and nothing else is read."""

import json

import numpy as np
import pytest
from small_sets import KINDS, NAMES, fitted, mosaics, plain, require_same, told, whitened

from jaxdd import whitening
from jaxdd.exchange import quantised, quantised_files
from jaxdd.exchange.forms import HOLDABLE, Decode, stored
from jaxdd.storage import distilled_set, npz
from jaxdd.storage.distilled_checks import check

FOUR = quantised_files.form(4, 3)


@pytest.mark.parametrize('bits', [2, 8])
@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_set_comes_back_within_its_bound(kind, bits, tmp_path):
    make, what = KINDS[kind]
    one, form = make(), quantised_files.form(bits, 3)
    (path,) = form.write(one, tmp_path)
    assert path == tmp_path / 'quantised.npz' and form.holds == set(HOLDABLE)
    found = form.read(tmp_path, what)
    require_same(found, form.read(path, None))
    check(found.synthetic, found.about)
    before, after = stored(one)[0], stored(found)[0]
    arrays = npz.read(path, advice='')
    scale = quantised._spread(arrays['scale'].astype(float), before.shape, 3)
    assert (np.abs(before - after) <= scale / 2 + 2.0**-24 * np.abs(after)).all()
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(found.synthetic.labels, one.synthetic.labels)
    assert found.synthetic.learning_rate == one.synthetic.learning_rate
    assert found.about['class_names'] == NAMES
    how = found.about['info'].pop('quantised')
    assert found.about['info'] == one.about['info']
    assert (how['bits'], how['patch'], how['space']) == (bits, 3, what.space)
    # what is stored: 4 x 4 x 3 numbers per image, in 2 x 2 patches per channel
    images = before.shape[0] * before.shape[1]
    soft = kind in ('probabilities', 'logits')
    assert how['bytes'] == {
        'images': images * (48 * bits // 8 + 2 * 2 * 2 * 2 * 3),
        'labels': 3 * 2 * 3 * 4 if soft else 0,
    }
    assert ('labels' in arrays) == soft


def test_pixels_of_mosaics_stay_within_their_range(tmp_path):
    """0.999 needs a scale that reaches beyond 1."""
    one = mosaics()
    images = np.array(one.about['stored'])
    images[..., 0, 0, :], images[..., 1, 1, :] = 0.0, 0.9999
    images = images.clip(0, 0.9999).astype(np.float32)
    one = quantised_files.assemble(
        images, None, told('unit', decode=Decode(2, 'row', 'unit'), info={'seed': 3})
    )
    arrays = quantised_files.arrays_of(one, 2, 4)
    reach = arrays['zero'].astype(float) + 3 * arrays['scale'].astype(float)
    assert reach.max() > 1
    assert quantised_files.restored(arrays).about['stored'].max() == 1


def test_the_whitening_comes_back(tmp_path):
    FOUR.write(whitened(), tmp_path)
    found = FOUR.read(tmp_path, told('whitened', whitening=fitted()))
    for one, other in zip(found.about['whitening'], fitted()):
        np.testing.assert_array_equal(one, other)
    pixels = whitening.unwhiten(fitted(), np.asarray(found.synthetic.images))
    assert np.abs(pixels * 255 - found.about['images_uint8']).max() > 0
    with pytest.raises(ValueError, match='whitening was told to be 0.2 '):
        other = fitted()._replace(eps=np.float32(0.2))
        FOUR.read(tmp_path, told('whitened', whitening=other))


def test_a_run_s_own_words_stay_true(tmp_path):
    """What a set says of itself is compared with its arrays when it becomes our own file again."""
    one = mosaics()
    info = distilled_set.described(
        one.synthetic,
        stored=one.about['stored'],
        dataset={'name': 'pets', 'classes': 3, 'checksums': [1, 2], 'licence': 'ours'},
        decode=one.about['info']['decode'],
    )
    one = one._replace(about={**one.about, 'info': {'seed': 3, **info}})
    FOUR.write(one, tmp_path)
    found = FOUR.read(tmp_path, None)
    about = {name: value for name, value in found.about.items() if name != 'images_uint8'}
    distilled_set.save_npz(tmp_path / 'again.npz', found.synthetic, **about)
    require_same(found, type(found)(*distilled_set.load_npz(tmp_path / 'again.npz')))


def test_a_set_that_was_quantised_before_says_so(tmp_path):
    two = quantised_files.restored(quantised_files.arrays_of(plain(), 2, 4))
    FOUR.write(two, tmp_path)
    how = FOUR.read(tmp_path, None).about['info']['quantised']
    assert (how['bits'], how['before']['bits']) == (4, 2)


@pytest.mark.parametrize(
    'make, changes, words',
    [
        (plain, {'space': 'unit'}, "space was told to be 'unit', and the file says 'normalised'"),
        (plain, {'class_names': NAMES[::-1]}, 'another data set, or in another order'),
        (plain, {'std': (0.2, 0.2, 0.2)}, 'std was told to be'),
        (plain, {'info': {'seed': 4}}, r"info\['seed'\] was told to be 4, and the file says 3"),
        (plain, {'decode': Decode(2, 'row', 'unit')}, 'decode was told .* says None'),
        (mosaics, {}, "space was told to be 'normalised', and the file says 'unit'"),
    ],
)
def test_what_was_told_otherwise_is_refused(make, changes, words, tmp_path):
    FOUR.write(make(), tmp_path)
    with pytest.raises(ValueError, match=words):
        FOUR.read(tmp_path, told(**{'space': 'normalised', **changes}))


def changed_info(arrays, **changes):
    info = json.loads(str(arrays['info']))
    return {'info': np.asarray(json.dumps({**info, 'quantised': {**info['quantised'], **changes}}))}


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda a: {'codes': None}, 'it lacks codes'),
        (lambda a: {'info': np.asarray('{}')}, "an object with 'quantised', got '{}'"),
        (lambda a: {'info': np.asarray('[1]')}, "an object with 'quantised'"),
        (lambda a: {'info': np.asarray('no JSON')}, 'must be the JSON text'),
        (lambda a: changed_info(a, bits=9), 'info.quantised.bits: 9 is not one of'),
        (lambda a: changed_info(a, bits=1), 'info.quantised.bits: 1 is not one of'),
        (lambda a: changed_info(a, bits=5), r'288 codes of 5 bits are 180 bytes, got uint8'),
        (lambda a: changed_info(a, patch=0), 'info.quantised.patch: 0 is less than'),
        (lambda a: changed_info(a, patch=2), None),  # 4 x 4 pixels: as many patches as of 3
        (lambda a: changed_info(a, patch=4), r'scale must be finite float16 \(3, 2, 1, 1, 3\)'),
        (lambda a: changed_info(a, shape=[3, 2, 4, 4]), 'info.quantised.shape'),
        (lambda a: changed_info(a, shape=[3, 2, 4, 10**9, 3]), 'scale must be finite float16'),
        (lambda a: changed_info(a, shape=[3, 2, 3, 4, 3]), 'scale must be finite'),
        (lambda a: changed_info(a, space='grey'), 'info.quantised.space'),
        (lambda a: changed_info(a, space='whitened'), 'a whitening is missing'),
        (lambda a: changed_info(a, more=1), 'info.quantised: .*more'),
        (lambda a: changed_info(a, bytes={'images': 1, 'labels': 0}), 'bytes says .* its arrays'),
        (lambda a: {'codes': a['codes'][:-1]}, '288 codes of 4 bits are 144 bytes'),
        (lambda a: {'codes': a['codes'].astype(np.int16)}, 'got int16'),
        (lambda a: {'scale': a['scale'].astype(np.float32)}, 'scale must be finite float16'),
        (lambda a: {'scale': a['scale'] * np.float16(np.nan)}, 'scale must be finite float16'),
        (lambda a: {'scale': -a['scale']}, 'scale must be at least 0'),
        (lambda a: {'zero': a['zero'][:2]}, 'zero must be finite float16'),
        (lambda a: {'zero': a['zero'] * np.float16(np.inf)}, 'zero must be finite float16'),
        (lambda a: {'mean': a['mean'][:2]}, 'images have 3 channels, but mean has shape'),
        (lambda a: {'std': -a['std']}, 'std above 0'),
        (lambda a: {'class_names': a['class_names'][:2]}, '3 classes of images but 2 class names'),
        (lambda a: {'labels': np.ones((3, 2, 3), np.float32)}, 'every row must sum to 1'),
        (lambda a: {'learning_rate': np.float32(-1)}, 'learning_rate must be one positive'),
        (lambda a: {'whitening_eps': np.float32(0.1)}, 'the whitening lacks'),
    ],
)
def test_fields_that_do_not_fit_are_refused(change, words, tmp_path):
    arrays = quantised_files.arrays_of(plain(), 4, 3)
    arrays = {**arrays, **change(arrays)}
    path = tmp_path / 'quantised.npz'
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    if words is None:
        assert FOUR.read(path, None).synthetic.images.shape == (3, 2, 4, 4, 3)
        return
    with pytest.raises(ValueError, match=words) as error:
        FOUR.read(path, None)
    assert str(path) in str(error.value)


def test_no_change_of_a_byte_is_read(tmp_path):
    (path,) = FOUR.write(mosaics(), tmp_path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    places = np.unique(np.r_[: len(whole) : 3, len(whole) - 300 : len(whole)])
    assert len(places) >= 500
    for at in places:
        content = bytearray(whole)
        content[at] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        with pytest.raises(ValueError, match='quantised.npz'):
            FOUR.read(path, None)


@pytest.mark.parametrize('change', [lambda b: b[:-1], lambda b: b + b'\0', lambda b: b''])
def test_a_file_that_was_cut_or_grew_is_refused(tmp_path, change):
    (path,) = FOUR.write(plain(), tmp_path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match='quantised.npz'):
        FOUR.read(path, None)


def test_what_is_stored_must_be_images(tmp_path):
    one = plain()
    kept = {'images': np.zeros((3, 1, 4, 4, 3), np.uint8)}
    one = one._replace(about={**one.about, 'stored': kept})
    with pytest.raises(ValueError, match='which only npz holds: write its decoded'):
        FOUR.write(one, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('bits, patch', [(1, 8), (9, 8), (4, 0)])
def test_a_form_that_cannot_be_is_refused(bits, patch):
    with pytest.raises(ValueError, match='must be an integer from'):
        quantised_files.form(bits, patch)
