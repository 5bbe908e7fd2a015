"""Free pixels, and the box that may hold them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.parametrizations import clipped, pixels
from jaxdd.types import SyntheticSet

INITIAL = SyntheticSet(
    jax.random.normal(jax.random.key(0), (3, 2, 4, 4, 1)) * 5,
    jax.random.dirichlet(jax.random.key(1), jnp.ones(3), (3, 2)),
)


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


def test_a_box_clips_to_the_pixels_of_an_image_by_hand():
    # pixel 0 and 1 are -2 and 2 in the first channel, -0.5 and 1.5 in the second
    box = (0.5, 0.25), (0.25, 0.5)
    images = jnp.array([[-3.0, -3.0], [1.0, 1.0], [9.0, 9.0]]).reshape(1, 1, 3, 1, 2)
    expected = np.array([[-2.0, -0.5], [1.0, 1.0], [2.0, 1.5]]).reshape(1, 1, 3, 1, 2)
    np.testing.assert_array_equal(clipped(images, box), expected)
    params, fixed = pixels(box).init(jax.random.key(0), SyntheticSet(images, jnp.ones((1, 1, 1))))
    np.testing.assert_array_equal(params['images'], images)  # only `project` clips
    np.testing.assert_array_equal(pixels(box).project(params, fixed)['images'], expected)


def test_a_box_of_other_channels_is_refused():
    with pytest.raises(ValueError, match='1 channels of the images, got 2 means and 2 stds'):
        pixels(((0.5, 0.5), (0.2, 0.2))).init(jax.random.key(0), INITIAL)
