"""The made-up data set."""

import numpy as np
import pytest

from jaxdd import checks, data


def test_same_seed_same_bytes_other_seed_other_bytes():
    first, again, other = data.fake(), data.fake(), data.fake(seed=1)
    np.testing.assert_array_equal(first.train.images, again.train.images)
    np.testing.assert_array_equal(first.test.labels, again.test.labels)
    assert (first.train.images != other.train.images).any()


@pytest.mark.parametrize('shape', [(8, 8, 3), (6, 4, 1)])
@pytest.mark.parametrize('per_class', [1, 9])
def test_both_halves_are_labelled_images(shape, per_class):
    made = data.fake(4, per_class, shape)
    assert made.spec.num_classes == len(made.spec.class_names) == 4
    for source, count in ((made.train, per_class), (made.test, max(per_class // 4, 1))):
        checks.labelled_images(*source, 4, where='fake')
        assert source.images.shape == (4 * count, *shape) and made.spec.image_shape == shape
        assert source.labels.dtype == np.int32
        np.testing.assert_array_equal(np.bincount(source.labels), [count] * 4)


def test_nearest_class_mean_learns_it():
    made = data.fake()
    train, test = (np.asarray(data.normalise(made.spec, s.images)) for s in (made.train, made.test))
    means = np.stack([train[made.train.labels == c].mean(0) for c in range(3)])
    distance = ((test[:, None] - means[None]) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == made.test.labels).mean() == 1


def test_normalised_pixels_are_standardised():
    made = data.fake()
    normalised = np.asarray(data.normalise(made.spec, made.train.images))
    np.testing.assert_allclose(normalised.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(normalised.std((0, 1, 2)), 1, atol=1e-3)


def test_a_jpeg_folder_is_the_same_for_the_same_seed(tmp_path):
    options = {'num_classes': 3, 'per_class': 5, 'side': (12, 16), 'test_per_class': 2}
    roots = [
        data.write_jpeg_folder(tmp_path / name, seed=seed, **options)
        for name, seed in (('a', 0), ('b', 0), ('c', 1))
    ]
    first, again, other = ([f.read_bytes() for f in sorted(root.rglob('*.jpg'))] for root in roots)
    assert first == again and len(set(first) | set(other)) == 42
    read = data.read_folder(roots[0])
    assert read.class_names == ('class00000', 'class00001', 'class00002')
    assert read.train.images.shape == (15, 12, 16, 3) and read.test.images.shape == (6, 12, 16, 3)


def test_a_jpeg_folder_can_be_learnt(tmp_path):
    read = data.read_folder(
        data.write_jpeg_folder(tmp_path, num_classes=5, per_class=8, side=32), image_size=8
    )
    train, test = (source.images.astype(float) for source in (read.train, read.test))
    means = np.stack([train[read.train.labels == c].mean(0) for c in range(5)])
    distance = ((test[:, None] - means[None]) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == read.test.labels).mean() == 1 and len(test) == 10
