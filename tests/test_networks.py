"""Policies for the encoder."""
import chex
import jax
import numpy as np

from jaxdd import models
from jaxdd.networks import fresh
from jaxdd.types import Inputs

MODEL = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)


def test_fresh_samples_an_untrained_network_of_the_key():
    policy = fresh(MODEL)
    state = policy.init(jax.random.key(0))
    sample = jax.jit(policy.sample)
    first, again, other = (sample(state, jax.random.key(seed), Inputs())[0] for seed in (1, 1, 2))
    chex.assert_trees_all_equal(first, again)
    chex.assert_trees_all_close(first, MODEL.init(jax.random.key(1)), atol=1e-6)
    assert not np.array_equal(first.params['conv0']['kernel'], other.params['conv0']['kernel'])
    assert first.age == 0 and first.accuracy == 0


def test_fresh_keeps_nothing():
    policy = fresh(MODEL)
    state = policy.init(jax.random.key(0))
    assert jax.tree.leaves(state) == []
    assert policy.update(state, jax.random.key(1), Inputs(), None) == state
