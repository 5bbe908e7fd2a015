"""Weights of pixels at positions between them, worked by hand, and what they make of images."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import interpolation


def test_weights_by_hand():
    source, pixels = np.array([0.0, 0.25, 1.5, -0.5, 7.0])[:, None], np.arange(3)[None]
    expected = [[1, 0, 0], [0.75, 0.25, 0], [0, 0.5, 0.5], [0.5, 0, 0], [0, 0, 0]]
    found = interpolation.weights(source, pixels)
    np.testing.assert_array_equal(found, expected)
    assert isinstance(found, np.ndarray) and found.dtype == np.float64
    traced = jax.jit(interpolation.weights)(jnp.asarray(source), jnp.asarray(pixels))
    np.testing.assert_array_equal(traced, expected)


def test_a_longer_reach_blurs():
    wide = interpolation.weights(jnp.ones((1, 1)), jnp.arange(5)[None], jnp.full((1, 1), 2.0))
    np.testing.assert_array_equal(wide, [[0.5, 1, 0.5, 0, 0]])
    one = interpolation.weights(jnp.full((1, 1), 0.3), jnp.arange(3)[None], jnp.ones((1, 1)))
    np.testing.assert_array_equal(
        one, interpolation.weights(jnp.full((1, 1), 0.3), jnp.arange(3)[None])
    )


def test_resampling_is_two_products():
    rng = np.random.default_rng(0)
    images, rows, columns = (
        rng.normal(size=size).astype('f') for size in ((2, 4, 5, 6, 3), (7, 5), (8, 6))
    )
    made = interpolation.resample(*map(jnp.asarray, (images, rows, columns)))
    assert made.shape == (2, 4, 7, 8, 3)
    np.testing.assert_allclose(
        made, np.einsum('ip,jq,abpqc->abijc', rows, columns, images), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(
        interpolation.resample(*map(jnp.asarray, (images[1, 2], rows, columns))),
        made[1, 2],
        rtol=0,
        atol=1e-5,
    )
