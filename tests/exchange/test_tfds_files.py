"""A folder of TFDS: what its own reader sees without TensorFlow, and what is read again."""

import json

import numpy as np
import pytest
from small_sets import (
    INFO,
    KINDS,
    NAMES,
    fitted,
    mosaics,
    plain,
    require_same,
    soft,
    told,
    whitened,
)

from jaxdd.data.tfds_folder import Description, Examples, read_tfds, tfds_files
from jaxdd.exchange import pictures
from jaxdd.exchange.forms import HOLDABLE, Decode
from jaxdd.exchange.tfds_files import TFDS
from jaxdd.storage.distilled_checks import check


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_set_comes_back_bit_by_bit(kind, tmp_path):
    make, what = KINDS[kind]
    paths = TFDS.write(make(), tmp_path)
    assert all(path.is_file() for path in paths)
    found = TFDS.read(tmp_path, what)
    check(found.synthetic, found.about)
    require_same(make(), found)
    assert TFDS.holds == set(HOLDABLE)


def test_its_own_reader_sees_pictures_labels_and_exact_numbers(tmp_path):
    import tensorflow_datasets as tfds

    made = soft()
    TFDS.write(made, tmp_path)
    builder = tfds.builder_from_directory(tmp_path)
    assert builder.info.features['label'].names == list(NAMES)
    assert builder.info.splits['train'].num_examples == 6
    assert '2 synthetic images of 4 x 4 pixels' in builder.info.description
    for i, example in enumerate(builder.as_data_source('train')):
        c, n = i // 2, i % 2
        assert example['label'] == c
        np.testing.assert_array_equal(example['image'], made.about['images_uint8'][c, n])
        np.testing.assert_array_equal(example['pixels'], made.synthetic.images[c, n])
        np.testing.assert_array_equal(example['soft_label'], made.synthetic.labels[c, n])
    recipe = json.loads((tmp_path / 'metadata.json').read_text())['recipe']
    assert recipe['space'] == 'normalised' and recipe['labels'] == 'probabilities'
    assert recipe['info'] == INFO


def test_the_same_set_makes_the_same_files(tmp_path):
    first = {path.name: path.read_bytes() for path in TFDS.write(plain(), tmp_path)}
    assert first == {path.name: path.read_bytes() for path in TFDS.write(plain(), tmp_path / 'b')}


def others(folder, *, labels=(1, 0, 1, 0), names=('a', 'b'), metadata={}, tensors={}):
    """A folder without a recipe: two classes, unsorted."""
    images = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (40, 10, 50, 20)])
    examples = Examples(pictures.encoded(images), np.array(labels), tensors)
    files = tfds_files(examples, (4, 4, 3), Description(names, metadata))
    pictures.put(folder, files)
    return folder


TWO = told(class_names=('a', 'b'))


def test_a_folder_of_others_is_put_in_class_order(tmp_path):
    found = TFDS.read(others(tmp_path), TWO)
    check(found.synthetic, found.about)
    np.testing.assert_array_equal(found.about['images_uint8'][:, :, 0, 0, 0], [[10, 20], [40, 50]])
    labels = np.float32([[0.25, 0.75], [1, 0], [0.5, 0.5], [0.75, 0.25]])
    found = TFDS.read(others(tmp_path / 'soft', tensors={'soft_label': labels}), TWO)
    np.testing.assert_array_equal(found.synthetic.labels, labels[[1, 3, 0, 2]].reshape(2, 2, 2))


def test_a_label_without_names_takes_those_that_are_told(tmp_path):
    folder = others(tmp_path, names=('0', '1'))
    assert read_tfds(folder)[1].class_names is None
    assert TFDS.read(folder, TWO).about['class_names'] == ('a', 'b')


@pytest.mark.parametrize(
    'how, changes, words',
    [
        ({'labels': (1, 1, 1, 0)}, {}, "class 'a' has 1 images and class 'b' 3"),
        ({}, {'class_names': ('b', 'a')}, 'another data set, or in another order'),
        ({}, {'class_names': ('a', 'b', 'c')}, 'must be 3 texts'),
        ({}, {'space': 'normalised'}, "their space is 'unit'"),
        ({'metadata': {'recipe': {}}}, {}, 'space of the recipe is missing'),
    ],
)
def test_what_does_not_fit_is_refused(how, changes, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        TFDS.read(others(tmp_path, **how), TWO._replace(**changes))


@pytest.mark.parametrize(
    'make, changes, words',
    [
        (plain, {'space': 'unit'}, "space was told to be 'unit'"),
        (plain, {'mean': (0.4, 0.5, 0.4)}, 'mean was told to be'),
        (mosaics, {'space': 'unit', 'decode': Decode(2, 'column', 'unit')}, 'decode was told'),
        (
            whitened,
            {'space': 'whitened', 'whitening': fitted()._replace(eps=np.float32(0.2))},
            'whitening was told',
        ),
    ],
)
def test_a_recipe_that_says_otherwise_is_refused(make, changes, words, tmp_path):
    TFDS.write(make(), tmp_path)
    with pytest.raises(ValueError, match=words):
        TFDS.read(tmp_path, told(**{'space': 'normalised', **changes}))


def edit(folder, **changes):
    path = folder / 'metadata.json'
    recipe = json.loads(path.read_text())['recipe']
    path.write_text(json.dumps({'recipe': {**recipe, **changes}}))


def damage(folder):
    (path,) = folder.glob('*.array_record*')
    path.write_bytes(path.read_bytes()[:-200])


def file_format(folder):
    path = folder / 'dataset_info.json'
    path.write_text(path.read_text().replace('array_record', 'tfrecord'))


MEAN = [0.4, 0.5, 0.6]


@pytest.mark.parametrize(
    'make, spoil, changes, words',
    [
        (
            plain,
            lambda f: edit(f, mean=MEAN),
            {'mean': MEAN},
            'by up to .* grey levels: the recipe was changed',
        ),
        (
            plain,
            lambda f: edit(f, space='whitened'),
            {'space': 'whitened'},
            'a whitening is missing',
        ),
        (plain, lambda f: edit(f, info=3), {}, 'info of the recipe is 3'),
        (plain, lambda f: (f / 'metadata.json').write_text('{'), {}, 'metadata.json: cannot be'),
        (plain, damage, {}, 'cannot be read .*copy or write the set again'),
        (plain, lambda f: (f / 'features.json').unlink(), {}, 'cannot be read'),
        (plain, lambda f: (f / 'dataset_info.json').unlink(), {}, 'no dataset_info.json'),
        (plain, file_format, {}, 'as tfrecord, but only array_record'),
        (
            whitened,
            lambda f: (f / 'whitening.npz').write_bytes(b''),
            {'space': 'whitened'},
            'whitening.npz',
        ),
    ],
)
def test_a_folder_that_was_changed_is_refused(make, spoil, changes, words, tmp_path):
    TFDS.write(make(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=words):
        TFDS.read(tmp_path, told(**{'space': 'normalised', **changes}))


def test_what_it_cannot_keep_is_refused_before_anything_is_written(tmp_path):
    made = mosaics()
    labels = np.full_like(made.synthetic.labels, 1 / 3)
    several = made._replace(synthetic=made.synthetic._replace(labels=labels))
    names = made._replace(about={**made.about, 'class_names': ('a', ' b', 'c')})
    for wrong, words in ((several, 'one label per mosaic'), (names, "' b' does not fit")):
        with pytest.raises(ValueError, match=words):
            TFDS.write(wrong, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()
