"""Policies for the encoder."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_policies import (
    INPUTS,
    KEY,
    MLP,
    REAL,
    RECIPE,
    SYNTHETIC,
    at,
    compiled,
    equal,
    fit_step,
    new_network,
    quick,
    states,
)

from jaxdd import models
from jaxdd.engine import fit
from jaxdd.labels import relabel
from jaxdd.networks.policies import (
    BATCH_NORM_IMAGES,
    fresh,
    real_batches,
    resetting,
    synthetic_batches,
)
from jaxdd.types import Inputs

MODEL = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
NORMED = models.by_name('convnet_bn', (8, 8, 3), 3, width=4, depth=1, batch_statistics=True)


# A fresh network


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


# What networks train on


def test_mini_batches_of_the_feed_are_augmented_then_mixed():
    def noisy(key, images):
        return images + jax.random.normal(key)

    def mix(key, images, labels):
        return images * jax.random.normal(key), labels[::-1]

    plain, augmented, both = (
        real_batches(4),
        real_batches(4, augment=noisy),
        real_batches(4, augment=noisy, mix=mix),
    )
    factors = set()
    for i in range(2):
        batch = plain(KEY, jnp.int32(i), INPUTS, None)
        chex.assert_trees_all_equal(batch, at(INPUTS.mixed, i))
        moved, mixed = (draw(KEY, jnp.int32(i), INPUTS, None) for draw in (augmented, both))
        shift = np.asarray(moved.images - batch.images)
        factor = np.median(np.asarray(mixed.images / moved.images))
        np.testing.assert_allclose(shift, shift.mean(), atol=1e-5)
        np.testing.assert_allclose(mixed.images, factor * moved.images, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(moved.labels, batch.labels)
        np.testing.assert_array_equal(mixed.labels, batch.labels[::-1])
        np.testing.assert_array_equal(mixed.weights, batch.weights)
        factors |= {round(float(shift.mean()), 3), round(float(factor), 3)}
    assert len(factors) == 4  # every draw of every mini-batch has a key of its own


def test_a_feed_without_mini_batches_is_refused():
    policy = resetting(MLP, RECIPE, every=3, draw=real_batches(4))
    short = jax.tree.map(lambda leaf: leaf[:3], INPUTS.mixed)
    for mixed, found in ((None, 0), (short, 3)):
        with pytest.raises(
            ValueError,
            match=(
                rf'on 4 .* supplies {found}; use data.with_minibatches\(feed, ..., num_batches=4\)'
            ),
        ):
            jax.eval_shape(
                policy.update, policy.init(KEY), KEY, INPUTS._replace(mixed=mixed), SYNTHETIC
            )


# One network, replaced now and then


def shifted(key, images):
    return images + jax.random.normal(key)


@pytest.mark.parametrize(
    'draw, by_hand',
    [
        (real_batches(4), lambda key, i: at(INPUTS.mixed, i)),
        (
            synthetic_batches(relabel.hard(shifted), 4),
            quick(lambda key, i: relabel.hard(shifted)(key, i, SYNTHETIC, 4)),
        ),
    ],
    ids=['feed', 'set'],
)
def test_a_network_is_trained_between_the_steps_and_replaced_after_every_third(draw, by_hand):
    policy, traces = compiled(resetting(MLP, RECIPE, every=3, draw=draw))
    rows, network = states(policy, 7), new_network(KEY)
    chex.assert_trees_all_close(rows[0].network.variables, network.variables, atol=1e-6)
    for t, state in enumerate(rows[1:]):
        k_new, k_draw = jax.random.split(jax.random.fold_in(KEY, t))
        if t in (2, 5):
            network = new_network(k_new)
        else:
            for i in range(RECIPE.num_steps):
                network, _ = fit_step(network, by_hand(k_draw, jnp.int32(i)))
        assert state.count == t + 1
        chex.assert_trees_all_close(
            (state.network.variables, state.network.opt_state),
            (network.variables, network.opt_state),
            atol=1e-5,
        )
        chex.assert_trees_all_equal(
            policy.sample(state, KEY, INPUTS), (state.network.variables, INPUTS)
        )
    assert [int(state.network.variables.age) for state in rows] == [0, 2, 4, 0, 2, 4, 0, 2]
    chex.assert_trees_all_equal_shapes_and_dtypes(*rows)
    assert len(traces) == 1


def test_a_network_for_every_step():
    policy, _ = compiled(resetting(MLP, RECIPE, every=1, draw=real_batches(4)))
    rows = states(policy, 3)
    assert [int(state.network.variables.age) for state in rows] == [0] * 4
    assert (
        len({float(state.network.variables.params['classifier']['kernel'][0, 0]) for state in rows})
        == 4
    )


def test_without_training_a_network_serves_as_it_is():
    policy, _ = compiled(
        resetting(MLP, RECIPE._replace(num_steps=0), every=2, draw=real_batches(4))
    )
    rows = states(policy, 3)
    chex.assert_trees_all_equal(rows[1].network, rows[0].network)
    chex.assert_trees_all_equal(rows[3].network, rows[2].network)
    assert not equal(rows[2].network.variables, rows[1].network.variables)


def test_a_network_serves_at_least_one_step():
    with pytest.raises(ValueError, match='at least 1 step before a new one, got every=0'):
        resetting(MLP, RECIPE, every=0, draw=real_batches(4))


def test_every_member_of_a_map_grows_by_itself():
    policy = resetting(MLP, RECIPE, every=2, draw=real_batches(4))
    keys = jax.random.split(KEY, 3)
    started = together = quick(jax.vmap(policy.init))(keys)
    mapped, one = quick(jax.vmap(policy.update, (0, 0, None, None))), quick(policy.update)
    for _ in range(3):
        together = mapped(together, keys, INPUTS, SYNTHETIC)
    for i, key in enumerate(keys):
        state = at(started, i)
        for _ in range(3):
            state = one(state, key, INPUTS, SYNTHETIC)
        chex.assert_trees_all_close(
            at((together.count, together.network.variables), i),
            (state.count, state.network.variables),
            atol=1e-5,
        )


@quick
def acquainted(variables):
    """The running moments after one more pass over the first real images of every class."""
    images = REAL[:, :BATCH_NORM_IMAGES].reshape(-1, 8, 8, 3)
    return variables._replace(
        batch_stats=models.update_batch_stats(
            variables.batch_stats, NORMED.apply(variables, images).moments
        )
    )


def test_running_moments_see_real_images_before_the_match():
    policy, _ = compiled(resetting(NORMED, RECIPE, every=3, draw=real_batches(4)))
    before, after = states(policy, 1)
    for state in (before, after):
        variables, _ = policy.sample(state, KEY, INPUTS)
        expected = acquainted(state.network.variables)
        chex.assert_trees_all_close(variables, expected, atol=1e-6)
        chex.assert_trees_all_equal(
            variables._replace(batch_stats={}), expected._replace(batch_stats={})
        )
        assert not equal(variables.batch_stats, state.network.variables.batch_stats)
    network = before.network._replace(variables=acquainted(before.network.variables))
    step = quick(fit.make_fit_step(NORMED, RECIPE))
    for i in range(RECIPE.num_steps):
        network, _ = step(network, at(INPUTS.mixed, i))
    chex.assert_trees_all_close(after.network.variables, network.variables, atol=1e-5)


def test_running_moments_persist_without_training():
    policy, _ = compiled(
        resetting(NORMED, RECIPE._replace(num_steps=0), every=3, draw=real_batches(4))
    )
    before, after = states(policy, 1)
    chex.assert_trees_all_close(
        after.network.variables, acquainted(before.network.variables), atol=1e-6
    )


def test_running_moments_need_real_images():
    policy = resetting(NORMED, RECIPE, every=3, draw=real_batches(4))
    state, blind = jax.eval_shape(policy.init, KEY), INPUTS._replace(real=None)
    for traced in (
        lambda: jax.eval_shape(policy.sample, state, KEY, blind),
        lambda: jax.eval_shape(policy.update, state, KEY, blind, SYNTHETIC),
    ):
        with pytest.raises(
            ValueError, match=r'batch norm needs real images.*data.stratified\(...\)'
        ):
            traced()


def test_every_network_may_begin_from_one_that_the_feed_supplies():
    pool = [new_network(jax.random.fold_in(KEY, 90 + i)).variables for i in range(6)]
    policy = resetting(MLP, RECIPE, every=2, draw=real_batches(2), start='start')
    state = policy.init(KEY)
    for t, given in enumerate(pool):
        inputs = INPUTS._replace(pretrained={'start': given})
        encoder, _ = policy.sample(state, KEY, inputs)
        # a new one is what is given, the other one is what training has made of it
        assert equal(encoder.params, given.params) == (t % 2 == 0)
        after = policy.update(state, jax.random.fold_in(KEY, t), inputs, SYNTHETIC)
        if t % 2 == 0:
            assert int(after.network.variables.age) == int(given.age) + RECIPE.num_steps
        state = after
    with pytest.raises(ValueError, match="begin from the role 'start', which the feed does not"):
        policy.sample(state, KEY, INPUTS)
