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
