"""A queue of networks of all ages: IDM's policy for the encoder."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.engine import fit
from jaxdd.networks.policies import Draw, FitStep, trained
from jaxdd.types import (
    Array,
    Batch,
    Inputs,
    Model,
    Networks,
    PRNGKey,
    PyTree,
    Recipe,
    SyntheticSet,
    Variables,
)


class Queue(NamedTuple):
    """State of `queue`."""

    # int32, synthetic-set updates so far; the name as in `Resetting`
    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]
    pushed: Array  # int32, networks made so far; the next goes to slot `pushed % max_size`
    # leaves [max_size, ...], matrices as rows; slots beyond `pushed` are not in use
    networks: fit.FitState


class Growth(NamedTuple):
    """How a queue begins and grows."""

    initial_size: int = 3  # networks before the first push
    push_count: int = 1  # networks that join at once
    train_every: int = 1  # steps, each measured by a network of its own, between trainings


def queue(
    model: Model,
    recipe: Recipe,
    *,
    max_size: int,
    push_every: int,
    train_count: int,
    draw: Draw,
    growth: Growth = Growth(),
) -> Networks:
    """A queue of networks of all ages:
    one measures each step, a few are trained after it, the oldest leave (IDM).

    Zhao et al., Improved Distribution Matching for Dataset Condensation (CVPR 2023),
    https://arxiv.org/abs/2307.09742. Every network has its own optimiser and running accuracy.

    Args:
        model: in batch-statistics mode if it has batch norm.
        recipe: optimiser, and the number of updates that each chosen network gets.
        max_size: networks kept; the oldest is dropped for a new one beyond that.
        push_every: steps between new networks; the first comes before the first step.
        train_count: distinct networks trained after every step; network j uses the mini-batches
            j * recipe.num_steps ... (j + 1) * recipe.num_steps - 1 of `draw`.
        draw: what they train on.
        growth: how it begins and grows.

    Raises:
        ValueError: a count below 1, or fewer networks at the start than are trained.

    Note:
        The authors' code resets the networks' accuracies at each evaluation, which ties the loss to
        how often one looks (`forgetting` does so at an interval). Here `Variables.accuracy` is the
        mean over the network's life.
    """
    filled = _filled(
        {
            'max_size': max_size,
            'push_every': push_every,
            'train_count': train_count,
            **growth._asdict(),
        }
    )
    step = fit.make_fit_step(model, recipe)
    like = jax.eval_shape(lambda: fit.init_fit(jax.random.key(0), model, recipe))

    def init(key: PRNGKey) -> Queue:
        first = jax.vmap(lambda k: fit.init_fit(k, model, recipe))(jax.random.split(key, filled))
        slots = jax.tree.map(lambda leaf: _rows(leaf[jnp.arange(max_size) % filled]), first)
        return Queue(jnp.zeros((), jnp.int32), jnp.full((), filled, jnp.int32), slots)

    def sample(state: Queue, key: PRNGKey, inputs: Inputs) -> tuple[Variables, Inputs]:
        chosen = jax.random.randint(key, (), 0, jnp.minimum(state.pushed, max_size))
        return _slot(state.networks.variables, chosen, like.variables), inputs

    def update(state: Queue, key: PRNGKey, inputs: Inputs, synthetic: SyntheticSet) -> Queue:
        k_choice, k_new, k_draw = jax.random.split(key, 3)
        chosen = _distinct(k_choice, state.pushed, max_size, train_count)
        count = state.count + 1

        def grow_older(networks: fit.FitState) -> fit.FitState:
            return _with_trained(
                step,
                networks,
                chosen,
                like,
                recipe.num_steps,
                lambda number: draw(k_draw, number, inputs, synthetic),
            )

        older = _where_due(count, growth.train_every, grow_older, state.networks)
        return _with_new(
            Queue(count, state.pushed, older),
            k_new,
            lambda key: fit.init_fit(key, model, recipe),
            like,
            push_every,
            growth.push_count,
        )

    return Networks(init, sample, update)


def forgetting(policy: Networks, *, every: int) -> Networks:
    """A queue whose networks forget their accuracies now and then, as in the code of IDM's authors.

    They begin to count again, as if new; weights and optimisers stay.

    Args:
        policy: a `queue`.
        every: steps between forgetting.

    Raises:
        ValueError: `every` below 1.
    """
    if every < 1:
        raise ValueError(f'networks must remember for at least 1 step, got every={every}')

    def update(state: Queue, key: PRNGKey, inputs: Inputs, synthetic: SyntheticSet) -> Queue:
        after = policy.update(state, key, inputs, synthetic)
        variables, due = after.networks.variables, after.count % every == 0
        forgotten = variables._replace(
            accuracy=jnp.where(due, 0, variables.accuracy).astype(variables.accuracy.dtype),
            age=jnp.where(due, 0, variables.age).astype(variables.age.dtype),
        )
        return after._replace(networks=after.networks._replace(variables=forgotten))

    return policy._replace(update=update)


def _filled(counts: Mapping[str, int]) -> int:
    """How many networks a queue has at the start; refuses counts that make none."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    filled = min(counts['initial_size'] + counts['push_count'], counts['max_size'])
    if (trained := counts['train_count']) > filled:
        raise ValueError(
            f'train_count must be at most {filled}, the networks at the start, got {trained}'
        )
    return filled


def _distinct(key: PRNGKey, pushed: Array, max_size: int, count: int) -> Array:
    """Slots `[count]` at random, of those in use, none twice."""
    lots = jnp.where(jnp.arange(max_size) < pushed, jax.random.uniform(key, (max_size,)), -1.0)
    return jax.lax.top_k(lots, count)[1]


def _where_due(
    count: Array, every: int, change: Callable[[PyTree], PyTree], tree: PyTree
) -> PyTree:
    """A changed tree at every `every`-th count; as it is at the others."""
    if every == 1:
        return change(tree)
    return jax.lax.cond(count % every == 0, change, lambda old: old, tree)


def _with_trained(
    step: FitStep,
    networks: fit.FitState,
    chosen: Array,
    like: PyTree,
    num_steps: int,
    batch: Callable[[Array], Batch],
) -> fit.FitState:
    """The queue's networks after the chosen ones, `[count]` slots, were trained in turn."""

    def train(j: Array, networks: fit.FitState) -> fit.FitState:
        network = _slot(networks, chosen[j], like)
        after = trained(step, network, num_steps, lambda i: batch(j * num_steps + i))
        return _with_slot(networks, chosen[j], after)

    return jax.lax.fori_loop(0, len(chosen), train, networks)


def _with_new(
    state: Queue,
    key: PRNGKey,
    new: Callable[[PRNGKey], fit.FitState],
    like: PyTree,
    every: int,
    number: int,
) -> Queue:
    """The queue after `number` networks joined, each in the oldest's place; where it is time."""
    (count, pushed, networks), max_size = state, len(state.networks.step)
    for i in range(number):
        k_own = jax.random.fold_in(key, i) if i else key
        due, slot = count % every == 0, pushed % max_size
        network = jax.lax.cond(
            due,
            lambda old, key=k_own: new(key),
            lambda old: old,
            _slot(networks, slot, like),
        )
        pushed, networks = pushed + due, _with_slot(networks, slot, network)
    return Queue(count, pushed, networks)


def _rows(leaf: Array) -> Array:
    """A matrix of every network as a row, which an accelerator takes out of the queue and puts back
    without laying out all of them anew; what is no matrix as it is."""
    return leaf.reshape(len(leaf), -1) if leaf.ndim == 3 else leaf


def _slot(tree: PyTree, index: Array, like: PyTree) -> PyTree:
    """One network of a queue, in the shapes of `like`."""
    return jax.tree.map(lambda leaf, one: leaf[index].reshape(one.shape), tree, like)


def _with_slot(tree: PyTree, index: Array, value: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf, new: leaf.at[index].set(new.reshape(leaf.shape[1:])), tree, value
    )
