"""A Flax module becomes a record of two pure functions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import models
from jaxdd.models import model


class Small(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = images.reshape(len(images), -1)
        return nn.Dense(3)(x), x, x[:, None]


def test_init_and_apply_have_the_records_shapes():
    net = model(Small(), (2, 2, 1))
    variables = net.init(jax.random.key(0))
    out = net.apply(variables, jnp.ones((5, 2, 2, 1)))
    assert (out.logits.shape, out.features.shape, out.maps.shape) == ((5, 3), (5, 4), (5, 1, 4))
    assert out.moments == {} == variables.batch_stats and variables.age == 0


def test_images_of_another_shape_and_unknown_ways_to_begin_are_refused():
    net = model(Small(), (2, 2, 1))
    with pytest.raises(
        ValueError, match=r'takes images \[N, 2, 2, 1\] .*, got shape \(5, 3, 2, 1\)'
    ):
        net.apply(net.init(jax.random.key(0)), jnp.ones((5, 3, 2, 1)))
    with pytest.raises(ValueError, match="unknown initial 'flax'; valid: module, torch"):
        model(Small(), (2, 2, 1), initial='flax')


def test_a_network_may_be_shown_pixels_where_it_is_given_normalised_images():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    model = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
    unit = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))
    weights = model.init(jax.random.key(1))
    normalised = (unit - jnp.array(mean)[None, None, None]) / jnp.array(std)[None, None, None]
    seen = models.of_pixels(model, mean, std).apply(weights, normalised)
    np.testing.assert_allclose(seen.features, model.apply(weights, unit).features, atol=1e-5)
