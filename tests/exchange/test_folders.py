"""Folders of pictures: what programs of others see in them, and what is read again."""

import json

import numpy as np
import pytest
from PIL import Image
from small_sets import (
    INFO,
    MEAN,
    NAMES,
    STD,
    learned,
    mosaics,
    plain,
    require_same,
    soft,
    told,
    whitened,
)

from jaxdd.exchange import forms
from jaxdd.exchange.folders import IMAGEFOLDER, RDED, SRE2L, folder_names
from jaxdd.exchange.forms import Decode, assemble
from jaxdd.storage.distilled_checks import check

FORMS = {'imagefolder': IMAGEFOLDER, 'sre2l': SRE2L, 'rded': RDED}


def opened(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_folder_per_class_name_with_exact_pictures(tmp_path):
    paths = IMAGEFOLDER.write(plain(), tmp_path)
    names = ['tabby cat', 'dog%2Fwolf', 'größe']
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, 'recipe.json'])
    assert set(paths) == {path for path in tmp_path.rglob('*') if path.is_file()}
    for c, name in enumerate(names):
        for i in range(2):
            np.testing.assert_array_equal(
                opened(tmp_path / name / f'0000{i}.png'), plain().about['images_uint8'][c, i]
            )
    recipe = json.loads((tmp_path / 'recipe.json').read_text())
    assert recipe['class_names'] == list(NAMES) and recipe['space'] == 'unit'
    np.testing.assert_allclose(recipe['mean'], MEAN)


@pytest.mark.parametrize(
    'form, first, last',
    [
        (SRE2L, 'new000/class000_id000.jpg', 'new002/class002_id001.jpg'),
        (RDED, '00000/class00000_id00000.jpg', '00002/class00002_id00001.jpg'),
    ],
)
def test_numbered_folders_of_good_jpegs(form, first, last, tmp_path):
    paths = form.write(plain(), tmp_path)
    assert (paths[0], paths[-1]) == (tmp_path / first, tmp_path / last) and len(paths) == 6
    with Image.open(paths[0]) as image:
        assert image.format == 'JPEG' and image.size == (4, 4)
    levels = plain().about['images_uint8']
    found = np.stack([opened(path) for path in paths]).reshape(levels.shape)
    assert abs(found.astype(int) - levels).max() <= 3  # of noise, at the highest quality
    np.testing.assert_array_equal(form.read(tmp_path, told()).about['images_uint8'], found)


@pytest.mark.parametrize('name', FORMS)
def test_what_is_read_passes_every_check(name, tmp_path):
    FORMS[name].write(plain(), tmp_path)
    found = FORMS[name].read(tmp_path, told(info=INFO))
    check(found.synthetic, found.about)
    clipped = np.clip(forms.to_unit(plain(), plain().synthetic.images), 0, 1)
    within = (0.5 if name == 'imagefolder' else 3.5) / 255 + 1e-6
    np.testing.assert_allclose(
        forms.to_unit(found, found.synthetic.images), clipped, rtol=0, atol=within
    )
    np.testing.assert_array_equal(found.synthetic.labels, plain().synthetic.labels)
    assert found.about['class_names'] == NAMES and found.about['info'] == INFO
    if name == 'imagefolder':  # what is written of it again is the same to the bit
        IMAGEFOLDER.write(found, tmp_path)
        require_same(found, IMAGEFOLDER.read(tmp_path, told()))


@pytest.mark.parametrize('space, order', [('unit', 'row'), ('normalised', 'column')])
def test_mosaics_come_back_with_the_recipe_or_with_what_is_told(space, order, tmp_path):
    made = mosaics(space, order)
    IMAGEFOLDER.write(made, tmp_path)
    found = IMAGEFOLDER.read(tmp_path, told())
    check(found.synthetic, found.about)
    step = 0.5 / 255 / (min(STD) if space == 'normalised' else 1) + 1e-6
    np.testing.assert_allclose(found.about['stored'], made.about['stored'], rtol=0, atol=step)
    assert found.synthetic.images.shape == (3, 4, 4, 4, 3)
    assert found.about['info'] == made.about['info']
    (tmp_path / 'recipe.json').unlink()
    again = IMAGEFOLDER.read(tmp_path, told(decode=Decode(2, order, space), info=INFO))
    require_same(found, again)
    whole = IMAGEFOLDER.read(tmp_path, told())
    assert whole.synthetic.images.shape == (3, 1, 4, 4, 3)


def test_grey_pictures_stay_grey(tmp_path):
    images = np.random.default_rng(0).random((2, 1, 4, 4, 1), np.float32)
    what = told(class_names=('a', 'b'), mean=(0.3,), std=(0.2,))
    for name, form in FORMS.items():
        form.write(assemble(images, None, what), tmp_path / name)
        found = form.read(tmp_path / name, what)
        np.testing.assert_allclose(forms.to_unit(found, found.synthetic.images), images, atol=0.02)
    Image.new('RGB', (4, 4), 'red').save(tmp_path / 'rded' / '00000' / 'class00000_id00000.jpg')
    with pytest.raises(ValueError, match='00000.*it has colours, and mean has one number'):
        RDED.read(tmp_path / 'rded', what)


def test_numbers_count_and_names_of_numbers_are_not_sorted_as_text(tmp_path):
    for c in range(2):
        for i in (2, 10):
            path = tmp_path / f'new{c}' / f'class{c}_id{i}.jpg'
            path.parent.mkdir(exist_ok=True)
            Image.new('RGB', (4, 4), (100 * c + i,) * 3).save(path, quality=95)
    what = told(class_names=('a', 'b'))
    levels = SRE2L.read(tmp_path, what).about['images_uint8']
    np.testing.assert_array_equal(levels[..., 0, 0, 0], [[2, 10], [102, 110]])
    (tmp_path / 'new1').rename(tmp_path / 'new2')
    with pytest.raises(ValueError, match='missing: 1; more: new2'):
        SRE2L.read(tmp_path, what)
    (tmp_path / 'new2').rename(tmp_path / 'new00')
    with pytest.raises(ValueError, match='new0.* are both of class 0'):
        SRE2L.read(tmp_path, what)
    (tmp_path / 'new00').rename(tmp_path / 'new1')
    (tmp_path / 'new1' / 'class1_id2.jpg').rename(tmp_path / 'new1' / 'class0_id2.jpg')
    with pytest.raises(ValueError, match='class0_id2.jpg is of class 0 by its own name'):
        SRE2L.read(tmp_path, what)


def test_many_classes_have_as_many_digits_as_they_need(tmp_path):
    what = told(class_names=tuple(map(str, range(1001))))
    images = np.full((1001, 1, 1, 1, 3), 0.5, np.float32)
    images[1000] = 1
    paths = SRE2L.write(assemble(images, None, what), tmp_path)
    assert paths[-1] == tmp_path / 'new1000' / 'class1000_id000.jpg'
    assert [path.parent.name for path in paths] == sorted(p.name for p in tmp_path.iterdir())
    found = SRE2L.read(tmp_path, what).about['images_uint8']
    assert found[1000].tolist() == [[[[255] * 3]]] and found[999].max() < 130


def test_names_of_classes_become_folders_on_every_system():
    names = ('a b', 'a/b', 'a%2Fb', '50%', '..', 'x.', 'Crane', 'crane', 'con', 'a:b?', '目')
    found = folder_names(names)
    assert found[:7] == ('a b', 'a%2Fb', 'a%252Fb', '50%', '%2E%2E', 'x%2E', 'Crane')
    assert found[7:] == ('%63%72%61%6E%65', '%63%6F%6E', 'a%3Ab%3F', '目')
    for wrong, words in ((('',), 'got 0'), (('目' * 100,), 'got 300'), (('a', 'a'), 'twice')):
        with pytest.raises(ValueError, match=words):
            folder_names(wrong)


def test_odd_names_are_read_again(tmp_path):
    names = ('a/b', 'a%2Fb', 'Crane', 'crane', '..', 'e\u0301')
    what = told(class_names=names)
    images = np.arange(6, dtype=np.float32)[:, None, None, None, None] / 255
    made = assemble(np.broadcast_to(images, (6, 1, 4, 4, 3)), None, what)
    IMAGEFOLDER.write(made, tmp_path)
    (tmp_path / 'e\u0301').rename(tmp_path / '\u00e9')  # as some systems do
    levels = IMAGEFOLDER.read(tmp_path, what).about['images_uint8']
    np.testing.assert_array_equal(levels[:, 0, 0, 0, 0], range(6))
    with pytest.raises(ValueError, match='.*another data set, or in another order'):
        IMAGEFOLDER.read(tmp_path, told(class_names=names[::-1]))


@pytest.mark.parametrize(
    'spoil, words',
    [
        (lambda f: _remove(f / 'größe'), r'missing: größe; more: none'),
        (lambda f: (f / 'bird').mkdir(), r'4 folders, and 3 classes .*missing: none; more: bird'),
        (lambda f: (f / 'größe' / '00001.png').unlink(), "'größe' has 1 images and .* 2: a set"),
        (lambda f: _cut(f / 'größe' / '00001.png'), '00001.png: cannot be read as an image'),
        (
            lambda f: Image.new('RGB', (5, 4)).save(f / 'größe' / '00001.png'),
            '00001.png has 5x4 pixels, and the first one 4x4',
        ),
        (lambda f: (f / 'dog%2fwolf').mkdir(), r"dog%2.wolf are both of class 'dog/wolf'"),
        (lambda f: (f / 'recipe.json').write_text('{'), 'recipe.json: cannot be read as a recipe'),
        (lambda f: _edit(f, mean=None), 'recipe.json: mean of the recipe is None'),
        (lambda f: _edit(f, mean=[0.4, 0.5]), 'mean and std must be numbers, one per channel'),
        (lambda f: _edit(f, mean=[0.4, 0.5, 0.4]), 'mean was told to be'),
        (lambda f: _edit(f, mean=['a', 'b', 'c']), 'recipe.json: the recipe is none'),
        (lambda f: _edit(f, space='grey'), "unknown space 'grey'"),
        (lambda f: _edit(f, decode={'factor': 2}), 'recipe.json: the recipe is none'),
        (lambda f: _edit(f, class_names=['a', 'b']), 'recipe.json: class_names must be 3 texts'),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(spoil, words, tmp_path):
    IMAGEFOLDER.write(plain(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=words):
        IMAGEFOLDER.read(tmp_path, told())


def _remove(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _cut(path):
    path.write_bytes(path.read_bytes()[:40])


def _edit(folder, **changes):
    path = folder / 'recipe.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


LOST = {
    soft: 'soft labels would become hard',
    whitened: 'whitened images would be taken',
    learned: 'learning rate would be lost',
    mosaics: r'mosaics would be taken .*decoded=True',
}


@pytest.mark.parametrize(
    'name, make, words',
    [
        (name, make, words)
        for name in FORMS
        for make, words in LOST.items()
        if (name, make) != ('imagefolder', mosaics)  # its recipe holds them
    ],
)
def test_what_pictures_cannot_hold_is_refused_before_anything_is_written(
    name, make, words, tmp_path
):
    with pytest.raises(ValueError, match=words):
        FORMS[name].write(make(), tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_mosaics_that_are_cut_otherwise_than_is_said_are_refused(tmp_path):
    made = mosaics()
    for said, words in (
        ({}, 'its info does not say how they are cut'),
        ({'decode': {'factor': 2, 'order': 'column', 'space': 'unit'}}, 'makes other images'),
    ):
        wrong = made._replace(about={**made.about, 'info': said})
        with pytest.raises(ValueError, match=words):
            IMAGEFOLDER.write(wrong, tmp_path)
    SRE2L.write(forms.decoded(made), tmp_path)
    assert len(list(tmp_path.rglob('*.jpg'))) == 12


@pytest.mark.parametrize('name', FORMS)
def test_pictures_are_pixels_in_a_folder_of_their_own(name, tmp_path):
    form = FORMS[name]
    form.write(plain(), tmp_path / 'a')
    with pytest.raises(ValueError, match="'unit'|told to be 'normalised'"):
        form.read(tmp_path / 'a', told('normalised'))
    form.write(plain(), tmp_path / 'a')  # again, over itself
    (tmp_path / 'a' / 'old').mkdir()
    (tmp_path / 'a' / 'old' / 'x.png').write_bytes(b'')
    with pytest.raises(ValueError, match='1 other files, e.g. old/x.png'):
        form.write(plain(), tmp_path / 'a')
    with pytest.raises(ValueError, match='is a file: give a folder'):
        form.write(plain(), tmp_path / 'a' / 'old' / 'x.png')
    with pytest.raises(ValueError, match='is no folder'):
        form.read(tmp_path / 'b', told())
