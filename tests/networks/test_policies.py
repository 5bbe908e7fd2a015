"""Policies for the encoder."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import losses, models, optimizers
from jaxdd.engine import fit
from jaxdd.labels import relabel
from jaxdd.networks.policies import (
    BATCH_NORM_IMAGES,
    Growth,
    forgetting,
    fresh,
    queue,
    real_batches,
    resetting,
    synthetic_batches,
)
from jaxdd.types import Batch, Inputs, Networks, Recipe, SyntheticSet

MODEL = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
MLP = models.by_name('mlp', (8, 8, 3), 3, width=4)
NORMED = models.by_name('convnet_bn', (8, 8, 3), 3, width=4, depth=1, batch_statistics=True)
RECIPE = Recipe(
    optimizers.sgd(0.05, momentum=0.9, weight_decay=5e-4), 2, 4, losses.soft_cross_entropy
)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES, REAL, MIXED = (
    jnp.asarray(RNG.normal(size=(*sizes, 8, 8, 3)), jnp.float32)
    for sizes in ((3, 2), (3, BATCH_NORM_IMAGES + 2), (4, 5))
)
LABELS = jnp.asarray(RNG.dirichlet(np.ones(3), (4, 5)), jnp.float32)
SYNTHETIC = SyntheticSet(IMAGES, jnp.repeat(jnp.eye(3)[:, None], 2, axis=1))
INPUTS = Inputs(real=REAL, mixed=Batch(MIXED, LABELS, jnp.ones((4, 5))))
# programs this small cost more to compile well than to run
quick = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
fit_step = quick(fit.make_fit_step(MLP, RECIPE))
new_network = quick(lambda key: fit.init_fit(key, MLP, RECIPE))


@quick
def at(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def equal(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def compiled(policy):
    """The policy with compiled functions, and the number of times that its update was traced."""
    traces = []

    def update(*args):
        traces.append(1)
        return policy.update(*args)

    return Networks(quick(policy.init), quick(policy.sample), quick(update)), traces


def states(policy, num):
    """The state before and after each of `num` updates; update t has the key fold_in(KEY, t)."""
    rows = [policy.init(KEY)]
    for t in range(num):
        rows.append(policy.update(rows[-1], jax.random.fold_in(KEY, t), INPUTS, SYNTHETIC))
    return rows


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


# A queue of networks of all ages

# 3 networks at the start
SIZES = {'max_size': 5, 'push_every': 2, 'train_count': 2, 'growth': Growth(initial_size=2)}


@pytest.fixture(scope='module')
def growing():
    """A queue, its states before and after each of 10 updates, and its traces."""
    policy, traces = compiled(queue(MLP, RECIPE, draw=real_batches(4), **SIZES))
    return policy, states(policy, 10), traces


def ages(state):
    return np.asarray(state.networks.variables.age)


def pushed_slot(t):
    """The slot of the network made after step t; None after other steps."""
    return (3 + t // 2) % 5 if t % 2 else None


def test_a_queue_begins_with_different_untrained_networks(growing):
    _, rows, traces = growing
    first = rows[0]
    assert first.count == 0 and first.pushed == 3
    np.testing.assert_array_equal(ages(first), 0)
    np.testing.assert_array_equal(first.networks.variables.accuracy, 0)
    kernels = np.asarray(first.networks.variables.params['classifier']['kernel'])
    assert kernels.shape[0] == 5 and len({kernel.tobytes() for kernel in kernels[:3]}) == 3
    chex.assert_trees_all_equal_shapes_and_dtypes(*rows)
    assert len(traces) == 1


def test_a_queue_is_filled_up_to_its_size():
    def filled(key, max_size):
        state = queue(
            MLP, RECIPE, draw=real_batches(4), max_size=max_size, push_every=2, train_count=2
        ).init(key)
        assert state.networks.step.shape == (max_size,)
        return state.pushed

    assert quick(lambda key: [filled(key, size) for size in (2, 3, 4, 9)])(KEY) == [2, 3, 4, 4]


def test_new_networks_come_at_their_steps_and_replace_the_oldest(growing):
    _, rows, _ = growing
    assert [int(state.pushed) for state in rows] == [3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8]
    for t, (before, after) in enumerate(zip(rows, rows[1:])):
        assert after.count == t + 1
        slot = pushed_slot(t)
        if slot is not None:
            network = new_network(jax.random.split(jax.random.fold_in(KEY, t), 3)[1])
            chex.assert_trees_all_close(
                at(after.networks.variables, slot), network.variables, atol=1e-6
            )
            assert not np.array_equal(
                *(
                    state.networks.variables.params['classifier']['kernel'][slot]
                    for state in (before, after)
                )
            )
            assert after.networks.step[slot] == 0


def trained_slots(t, before, after):
    """Slots whose network grew older at step t."""
    return [
        i
        for i in range(5)
        if i != pushed_slot(t)
        and not equal(at(before.networks.variables, i), at(after.networks.variables, i))
    ]


def test_exactly_so_many_networks_are_trained_each_on_its_own_mini_batches(growing):
    _, rows, _ = growing
    seen = set()
    for t, (before, after) in enumerate(zip(rows, rows[1:])):
        slots, used = trained_slots(t, before, after), min(int(before.pushed), 5)
        assert max(slots) < used
        assert (
            len(slots) == 2
            or pushed_slot(t) is not None
            and pushed_slot(t) < used
            and len(slots) == 1
        )
        shares = [share(at(before.networks, slot), at(after.networks, slot)) for slot in slots]
        assert len(set(shares)) == len(shares)  # network j has the mini-batches 2j and 2j + 1
        seen |= set(slots)
    assert seen == set(range(5))


def share(before, after):
    """Which half of the mini-batches took a network to what it is after."""
    for j in range(2):
        network = before
        for i in range(2):
            network, _ = fit_step(network, at(INPUTS.mixed, 2 * j + i))
        close = jax.tree.map(
            lambda a, b: np.allclose(a, b, atol=1e-5),
            *(one._replace(key=0) for one in (network, after)),
        )
        if all(jax.tree.leaves(close)):
            return j
    raise AssertionError('this network was not trained on its mini-batches')


def test_age_accuracy_and_momentum_belong_to_each_network(growing):
    _, rows, _ = growing
    for t, (before, after) in enumerate(zip(rows, rows[1:])):
        for slot in trained_slots(t, before, after):
            assert ages(after)[slot] == ages(before)[slot] + RECIPE.num_steps
            buffers = at(after.networks.opt_state[1], slot)
            assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(buffers))
        accuracy = np.asarray(after.networks.variables.accuracy)
        assert (accuracy >= 0).all() and (accuracy <= 1).all()
        np.testing.assert_array_equal(accuracy[ages(after) == 0], 0)
    assert ages(rows[-1]).max() > 2 and accuracy.max() > 0


def test_every_network_in_use_measures_now_and_then(growing):
    _, rows, _ = growing
    sample = queue(MLP, RECIPE, draw=real_batches(4), **SIZES).sample
    draw = quick(jax.vmap(lambda state, key: sample(state, key, INPUTS)[0].age, (None, 0)))
    for state in (rows[0], rows[2], rows[-1]):
        marked = state._replace(
            networks=state.networks._replace(
                variables=state.networks.variables._replace(age=jnp.arange(5))
            )
        )
        used = min(int(state.pushed), 5)
        counts = np.bincount(draw(marked, jax.random.split(KEY, 300)), minlength=5)
        assert (counts[used:] == 0).all() and counts[:used].min() > 150 / used


def test_the_measuring_network_is_one_of_the_queue(growing):
    policy, rows, _ = growing
    variables, inputs = policy.sample(rows[-1], KEY, INPUTS)
    assert sum(equal(variables, at(rows[-1].networks.variables, i)) for i in range(5)) == 1
    chex.assert_trees_all_equal(inputs, INPUTS)


@pytest.mark.parametrize(
    'wrong, message',
    [
        ({'max_size': 0}, 'max_size must be at least 1, got 0'),
        ({'push_every': 0}, 'push_every must be at least 1, got 0'),
        ({'train_count': 0}, 'train_count must be at least 1, got 0'),
        ({'growth': Growth(initial_size=-1)}, 'initial_size must be at least 1, got -1'),
        ({'train_count': 4}, 'train_count must be at most 3, the networks at the start, got 4'),
        ({'max_size': 1}, 'train_count must be at most 1, the networks at the start, got 2'),
    ],
)
def test_a_wrong_queue_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        queue(MLP, RECIPE, draw=real_batches(4), **{**SIZES, **wrong})


def test_accuracies_are_forgotten_now_and_then_and_nothing_else(growing):
    made = queue(MLP, RECIPE, draw=real_batches(4), **SIZES)
    policy, _ = compiled(forgetting(made, every=3))
    for t, (plain, found) in enumerate(zip(growing[1], states(policy, 10))):
        chex.assert_trees_all_equal(
            plain.networks.variables.params, found.networks.variables.params
        )
        if t and t % 3 == 0:
            assert not ages(found).any() and not found.networks.variables.accuracy.any()
    assert ages(found).max() < ages(plain).max()
    with pytest.raises(ValueError, match='remember for at least 1 step, got every=0'):
        forgetting(made, every=0)


def test_a_queue_may_be_trained_at_every_second_step_and_grow_by_two_networks():
    growth = Growth(initial_size=2, push_count=2, train_every=2)
    sizes = {**SIZES, 'max_size': 9, 'push_every': 3, 'growth': growth}
    policy, traces = compiled(queue(MLP, RECIPE, draw=real_batches(4), **sizes))
    rows = states(policy, 6)
    assert [int(state.pushed) for state in rows] == [4, 4, 4, 6, 6, 6, 8] and len(traces) == 1
    kernels = np.asarray(rows[-1].networks.variables.params['classifier']['kernel'])
    assert len({kernel.tobytes() for kernel in kernels[:8]}) == 8
    for t, (before, after) in enumerate(zip(rows, rows[1:])):
        older = (ages(after) > ages(before)).sum()
        assert older == (2 if t % 2 else 0)
    for name in ('push_count', 'train_every'):
        with pytest.raises(ValueError, match=f'{name} must be at least 1, got 0'):
            queue(MLP, RECIPE, draw=real_batches(4), **{**SIZES, 'growth': Growth(**{name: 0})})


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
