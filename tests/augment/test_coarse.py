"""DC's augmentation of students, against scipy and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxdd.augment import coarse


def pictures(num=3, shape=(9, 7, 2), seed=0):
    return np.random.default_rng(seed).normal(size=(num, *shape))


@pytest.mark.parametrize('shape', [(8, 8, 1), (9, 7, 3)])
def test_rotation_is_scipys(shape, x64):
    images = pictures(4, shape)
    degrees = np.array([-45, -7, 0, 31])
    found = coarse.rotate(jnp.asarray(images), jnp.asarray(degrees))
    for image, angle, ours in zip(images, degrees, found):
        whole = ndimage.rotate(
            image, angle, axes=(0, 1), reshape=False, order=3, mode='constant', cval=image.mean()
        )
        np.testing.assert_allclose(ours, whole, atol=1e-9)


def test_scaling_by_hand():
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    smaller, larger, same = (
        coarse.scale(image, jnp.array([size]))[0, ..., 0] for size in ([2, 2], [8, 4], [4, 4])
    )
    # rows and columns 0 and 2, in the middle of zeros
    np.testing.assert_array_equal(
        smaller, [[0, 0, 0, 0], [0, 0, 2, 0], [0, 8, 10, 0], [0, 0, 0, 0]]
    )
    # each row twice, of which the middle four are left
    np.testing.assert_array_equal(larger, image[0, jnp.array([1, 1, 2, 2]), :, 0])
    np.testing.assert_array_equal(same, image[0, ..., 0])
    odd = coarse.scale(image, jnp.array([[9, 3]]))[0, ..., 0]  # from row 2 of 9, in columns 0 to 2
    np.testing.assert_array_equal(odd, [[0, 1, 2, 0], [4, 5, 6, 0], [4, 5, 6, 0], [8, 9, 10, 0]])


def test_every_operation_happens_and_draws_per_image():
    images = jnp.asarray(pictures(64, (8, 8, 1)), jnp.float32)
    transform = jax.jit(coarse.coarse('crop_scale_rotate'))
    seen = transform(jax.random.key(0), images)
    assert seen.shape == images.shape and seen.dtype == images.dtype
    again = transform(jax.random.key(0), images)
    np.testing.assert_array_equal(seen, again)
    assert np.abs(seen - transform(jax.random.key(1), images)).max() > 0.1
    # images that are all alike are still changed differently
    alike = transform(jax.random.key(0), jnp.broadcast_to(images[:1], images.shape))
    assert len({np.asarray(one).tobytes() for one in alike}) > 20


def test_crops_shift_by_up_to_four_pixels_over_the_mean_colour_but_never_by_four_the_other_way():
    images = jnp.zeros((400, 9, 9, 1)).at[:, 4, 4].set(81.0)  # mean 1
    seen = coarse.coarse('crop')(jax.random.key(0), images)
    where = np.argwhere(np.asarray(seen[..., 0]) > 80)
    assert len(where) == 400  # the bright pixel never leaves
    for axis in (1, 2):
        assert set(where[:, axis] - 4) == set(range(-3, 5))
    np.testing.assert_allclose(np.unique(np.round(seen, 3)), [0, 1, 81])


def test_noise_is_small_and_an_unknown_operation_is_refused():
    images = jnp.asarray(pictures(50), jnp.float32)
    moved = coarse.coarse('noise')(jax.random.key(0), images) - images
    np.testing.assert_allclose(np.std(moved), 1e-3, rtol=0.1)
    with pytest.raises(ValueError, match="unknown operation of the coarse augmentation 'flip'"):
        coarse.coarse('crop_flip')
