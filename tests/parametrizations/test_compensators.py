"""Natural images that stay, and one compensator per image index that all classes share."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.parametrizations import compensated
from jaxdd.types import SyntheticSet

NATURAL = SyntheticSet(
    jnp.arange(12.0).reshape(3, 2, 2, 1, 1), jnp.eye(3)[:, None].repeat(2, 1)
)  # K = 3, n = 2
UFC = compensated()


def test_it_begins_as_the_natural_images():
    params, fixed = UFC.init(jax.random.key(0), NATURAL)
    assert params['compensators'].shape == (2, 2, 1, 1) and not params['compensators'].any()
    chex.assert_trees_all_equal(UFC.decode(params, fixed), NATURAL)


def test_one_compensator_is_added_to_its_image_of_every_class():
    _, fixed = UFC.init(jax.random.key(0), NATURAL)
    added = jnp.array([[10.0, 20.0], [30.0, 40.0]]).reshape(2, 2, 1, 1)
    decoded = UFC.decode({'compensators': added}, fixed)
    np.testing.assert_array_equal(
        decoded.images[2, :, :, 0, 0], [[8 + 10, 9 + 20], [10 + 30, 11 + 40]]
    )
    np.testing.assert_array_equal(decoded.labels, NATURAL.labels)


def test_its_gradient_is_the_sum_over_classes():
    params, fixed = UFC.init(jax.random.key(0), NATURAL)
    gradient = jax.grad(lambda p: (UFC.decode(p, fixed).images ** 2).sum() / 2)(params)
    np.testing.assert_array_equal(gradient['compensators'], NATURAL.images.sum(0))


def test_nothing_is_clipped_while_it_learns():
    params = {'compensators': jnp.full((2, 2, 1, 1), 1e6)}
    chex.assert_trees_all_equal(UFC.project(params, {}), params)
