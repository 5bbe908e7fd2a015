"""A queue of networks of all ages."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_policies import (
    INPUTS,
    KEY,
    MLP,
    RECIPE,
    at,
    compiled,
    equal,
    fit_step,
    new_network,
    quick,
    states,
)

from jaxdd.networks.policies import real_batches
from jaxdd.networks.queues import Growth, forgetting, queue

# 3 networks at the start
SIZES = {'max_size': 5, 'push_every': 2, 'train_count': 2, 'growth': Growth(initial_size=2)}


@pytest.fixture(scope='module')
def growing():
    """A queue, its states before and after each of 10 updates, and its traces."""
    policy, traces = compiled(queue(MLP, RECIPE, draw=real_batches(4), **SIZES))
    return policy, states(policy, 10), traces


def network_at(state, slot):
    """One network of a queue, where its matrices lie as rows."""
    found = at(state.networks, slot)
    return jax.tree.map(lambda leaf, one: leaf.reshape(one.shape), found, new_network(KEY))


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
                network_at(after, slot).variables, network.variables, atol=1e-6
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
        shares = [share(network_at(before, slot), network_at(after, slot)) for slot in slots]
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
    assert sum(equal(variables, network_at(rows[-1], i).variables) for i in range(5)) == 1
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
