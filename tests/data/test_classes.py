"""Some classes of a data set: their own images under new numbers, on disk where they were."""

import numpy as np
import pytest

from jaxdd import data


@pytest.fixture(scope='module')
def digits():
    return data.load('digits')


def test_classes_are_numbered_in_the_order_of_their_names(digits):
    found = data.of_classes(digits, (7, 2, 4))
    assert found.spec.num_classes == 3
    assert found.spec.class_names == tuple(digits.spec.class_names[c] for c in (7, 2, 4))
    for half, whole in ((found.train, digits.train), (found.test, digits.test)):
        for new, old in enumerate((7, 2, 4)):
            np.testing.assert_array_equal(
                half.images[half.labels == new], whole.images[whole.labels == old]
            )
        assert set(half.labels) == {0, 1, 2}
    assert found.spec._replace(num_classes=10, class_names=digits.spec.class_names) == digits.spec


def test_only_keeps_the_numbers(digits):
    found = data.only(digits.test, (8, 3))
    assert set(found.labels) == {3, 8}
    at = np.isin(digits.test.labels, (3, 8))
    np.testing.assert_array_equal(found.images, digits.test.images[at])
    np.testing.assert_array_equal(found.labels, digits.test.labels[at])


def test_files_stay_on_disk(tmp_path):
    data.write_jpeg_folder(tmp_path, num_classes=3, per_class=2, side=8)
    whole = data.load(tmp_path, image_size=8, lazy=True)
    found = data.of_classes(whole, (2, 0))
    assert isinstance(found.train.images, data.FolderImages)
    for new, old in enumerate((2, 0)):
        np.testing.assert_array_equal(
            found.train.images[np.flatnonzero(found.train.labels == new)],
            whole.train.images[np.flatnonzero(np.asarray(whole.train.labels) == old)],
        )


@pytest.mark.parametrize('classes', [(), (3,), (1, 1), (2, 10), (-1, 2)])
def test_classes_that_cannot_be_are_refused(digits, classes):
    with pytest.raises(ValueError, match='two or more different numbers from 0 to 9, got'):
        data.of_classes(digits, classes)
