"""What is learned, and what it becomes."""
import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.parametrizations import pixels
from jaxdd.types import SyntheticSet

INITIAL = SyntheticSet(jax.random.normal(jax.random.key(0), (3, 2, 4, 4, 1)) * 5,
                       jax.random.dirichlet(jax.random.key(1), jnp.ones(3), (3, 2)))


def test_pixels_decode_to_what_they_started_from():
    params, fixed = pixels().init(jax.random.key(0), INITIAL)
    chex.assert_trees_all_equal(pixels().decode(params, fixed), INITIAL)


def test_only_the_images_of_pixels_move():
    params, fixed = pixels().init(jax.random.key(0), INITIAL)
    assert [leaf.shape for leaf in jax.tree.leaves(params)] == [INITIAL.images.shape]
    assert [leaf.shape for leaf in jax.tree.leaves(fixed)] == [INITIAL.labels.shape]
    gradient = jax.grad(lambda p: pixels().decode(p, fixed).images.sum())(params)
    np.testing.assert_array_equal(jax.tree.leaves(gradient)[0], np.ones(INITIAL.images.shape))


def test_pixels_are_not_clamped():
    params, fixed = pixels().init(jax.random.key(0), INITIAL)
    assert np.abs(INITIAL.images).max() > 4
    chex.assert_trees_all_equal(pixels().project(params, fixed), params)
