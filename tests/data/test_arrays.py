"""An `.npz` file as two halves and the names of its classes."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxdd.data import arrays


def halves(**changes):
    images, labels = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3), np.array([0, 1, 0, 1])
    return {
        'train_images': images,
        'train_labels': labels,
        'test_images': images[:2],
        'test_labels': labels[:2],
        **changes,
    }


def test_both_halves_and_the_names(tmp_path):
    np.savez(tmp_path / 'a.npz', **halves(class_names=np.array(['ant', 'bee'])))
    found = arrays.read_arrays(tmp_path / 'a.npz')
    np.testing.assert_array_equal(found.train.images, halves()['train_images'][..., None])
    assert found.test.labels.tolist() == [0, 1] and found.class_names == ('ant', 'bee')


def test_encoded_images_are_decoded(tmp_path):
    images, encoded = halves()['train_images'], []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, 'png')
        encoded.append(file.getvalue())
    fields = {
        f'{half}_{kind}': value
        for half in ('train', 'test')
        for kind, value in (
            ('encoded', np.frombuffer(b''.join(encoded), np.uint8)),
            ('sizes', np.array(list(map(len, encoded)))),
            ('labels', np.arange(4)),
        )
    }
    np.savez(tmp_path / 'a.npz', **fields)
    np.testing.assert_array_equal(
        arrays.read_arrays(tmp_path / 'a.npz').test.images[..., 0], images
    )


def test_missing_arrays_are_named(tmp_path):
    some = halves()
    del some['test_labels']
    np.savez(tmp_path / 'a.npz', **some)
    with pytest.raises(ValueError, match='no array named test_labels; found: train_images, '):
        arrays.read_arrays(tmp_path / 'a.npz')


@pytest.mark.parametrize(
    'names, row, message',
    [
        (None, None, None),
        (('a', 'b'), None, None),
        (('a', 'b'), ('a', 'b'), None),
        (('a', 'b', 'c'), None, 'class_names must be 2 texts, one per class, got 3'),
        (('b', 'a'), ('a', 'b'), "class 0 is called 'b', expected 'a'"),
    ],
)
def test_names_must_be_as_many_and_those_of_the_row(names, row, message):
    if message is None:
        arrays.require_names(names, row, 2, 'a.npz')
    else:
        with pytest.raises(ValueError, match=message):
            arrays.require_names(names, row, 2, 'a.npz')
