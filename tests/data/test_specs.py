"""The table of data sets and the normalisation it defines."""

import jax
import numpy as np
import pytest

from jaxdd import data
from jaxdd.data import specs

ROWS = list(specs.TABLE.values())


def test_published_constants():
    assert data.spec('cifar10').mean == (0.4914, 0.4822, 0.4465)
    assert data.spec('cifar10').std == (0.2023, 0.1994, 0.2010)
    assert data.spec('cifar100').std == (0.2673, 0.2564, 0.2762)
    assert data.spec('svhn_cropped').mean == (0.4377, 0.4438, 0.4728)
    assert data.spec('tiny_imagenet').num_classes == 200
    assert not data.spec('mnist').flip and data.spec('fashion_mnist').flip


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
def test_rows_are_consistent(row):
    assert data.spec(row.name) is row
    assert len(row.mean) == len(row.std) == row.image_shape[-1]
    assert all(0 < v < 1 for v in row.mean + row.std)
    assert row.class_names is None or len(set(row.class_names)) == row.num_classes


def test_unknown_name_lists_all_and_names_the_nearest():
    with pytest.raises(
        ValueError, match="unknown data set 'cifar11'.*digits.*Did you mean 'cifar10?'"
    ):
        data.spec('cifar11')


def test_normalise_by_hand():
    row = data.spec('cifar10')
    pixels = np.array([[[[0, 255, 51]]]], np.uint8)
    expected = [-0.4914 / 0.2023, (1 - 0.4822) / 0.1994, (0.2 - 0.4465) / 0.2010]
    result = data.normalise(row, pixels)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[0, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize('lead', [(), (2,), (2, 3)])
def test_denormalise_inverts_normalise_for_every_pixel_value(row, lead):
    values = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (256, row.image_shape[-1]))
    pixels = np.broadcast_to(values.reshape(16, 16, -1), (*lead, 16, 16, row.image_shape[-1]))
    normalised = jax.jit(lambda x: data.normalise(row, x))(pixels)
    for images in (normalised, np.asarray(normalised)):
        back = data.denormalise(row, images)
        assert isinstance(back, type(images)) and back.dtype == np.float32
        np.testing.assert_array_equal((np.asarray(back) * 255).round().astype(np.uint8), pixels)


def test_denormalise_clips():
    images = np.array([-100.0, 100.0], np.float32).reshape(2, 1, 1, 1)
    np.testing.assert_array_equal(data.denormalise(data.spec('mnist'), images).ravel(), [0, 1])


def test_normalise_refuses_what_is_not_pixels():
    with pytest.raises(AssertionError):
        data.normalise(data.spec('mnist'), np.zeros((1, 28, 28, 1), np.float32))
    with pytest.raises(AssertionError):
        data.normalise(data.spec('mnist'), np.zeros((1, 28, 28, 3), np.uint8))


def test_normalise_stays_float32_in_float64_mode(x64):
    assert data.normalise(data.spec('mnist'), np.zeros((1, 2, 2, 1), np.uint8)).dtype == np.float32


def test_for_arrays_measures_mean_and_std():
    images = np.random.default_rng(0).integers(0, 200, (1500, 3, 5, 3), dtype=np.uint8)
    row = data.for_arrays(images, 7, 'mine')
    np.testing.assert_allclose(row.mean, (images / 255).mean((0, 1, 2)), atol=6e-5)
    np.testing.assert_allclose(row.std, (images / 255).std((0, 1, 2)), atol=6e-5)
    assert (
        row[3:] == (7, (3, 5, 3), None, None, 'train', 'test', False, None) and row.name == 'mine'
    )


def test_for_arrays_with_a_constant_channel_stays_finite():
    images = np.full((4, 2, 2, 1), 128, np.uint8)
    normalised = data.normalise(data.for_arrays(images, 1, 'flat'), images)
    assert np.isfinite(normalised).all() and np.abs(normalised).max() < 0.1
