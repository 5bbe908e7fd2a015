"""Policies for the encoder: which network measures the match at each step, and how it grows."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.augment.mixing import Mix
from jaxdd.engine import fit
from jaxdd.models import from_params, update_batch_stats
from jaxdd.types import (
    Array,
    Augment,
    Batch,
    Inputs,
    Metrics,
    Model,
    Networks,
    PRNGKey,
    PyTree,
    Recipe,
    Supervision,
    SyntheticSet,
    Variables,
)

# (key, number of the mini-batch within this step, inputs, synthetic) -> what a network trains on
Draw = Callable[[PRNGKey, Array, Inputs, SyntheticSet], Batch]

# real images per class behind the running moments of a matched network (DC's code)
BATCH_NORM_IMAGES = 16


def fresh(model: Model) -> Networks:
    """A newly initialised network at every step, never trained (DM).

    Zhao & Bilen, Dataset Condensation with Distribution Matching (WACV 2023),
    https://arxiv.org/abs/2110.04181, Algorithm 1: theta ~ P_theta at each iteration.
    """

    def init(key: PRNGKey) -> PyTree:
        del key
        return ()

    def sample(state: PyTree, key: PRNGKey, inputs: Inputs) -> tuple[Variables, Inputs]:
        del state
        return model.init(key), inputs

    def update(state: PyTree, key: PRNGKey, inputs: Inputs, synthetic: SyntheticSet) -> PyTree:
        del key, inputs, synthetic
        return state

    return Networks(init, sample, update)


def pretrained() -> Networks:
    """The network that the feed supplies as 'encoder': trained before, frozen (SRe2L, INFER)."""
    return Networks(
        lambda key: (),
        lambda state, key, inputs: (None, inputs),
        lambda state, key, inputs, synthetic: state,
    )


def following() -> Networks:
    """The expert at the beginning of the segment that a student follows (MTT).

    Terms that compare outputs of real and synthetic images (CM) look through its eyes; a feed
    without experts gives no network.
    """

    def sample(state: PyTree, key: PRNGKey, inputs: Inputs) -> tuple[Variables | None, Inputs]:
        del state, key
        if inputs.expert is None:
            return None, inputs
        return from_params(inputs.expert.start), inputs

    return pretrained()._replace(sample=sample)


def synthetic_batches(supervision: Supervision, batch_size: int) -> Draw:
    """Mini-batches of the synthetic set itself, in shuffled epochs (DC, DSA)."""

    def draw(key: PRNGKey, step: Array, inputs: Inputs, synthetic: SyntheticSet) -> Batch:
        del inputs
        return supervision(key, step, synthetic, batch_size)

    return draw


def real_batches(
    num_batches: int, *, augment: Augment | None = None, mix: Mix | None = None
) -> Draw:
    """The real mini-batches of the feed, `Inputs.mixed` (IDM, IDC).

    Args:
        num_batches: how many a step uses.
        augment: `(key, images) -> images`, e.g. `augment.independent(...)`.
        mix: `(key, images, labels) -> (images, labels)`, e.g. `augment.cutmix`, after `augment`.

    Raises:
        ValueError: when traced with a feed that supplies fewer mini-batches, or none.
    """

    def draw(key: PRNGKey, step: Array, inputs: Inputs, synthetic: SyntheticSet) -> Batch:
        del synthetic
        found = 0 if inputs.mixed is None else len(inputs.mixed.images)
        if found < num_batches:
            raise ValueError(
                f'the encoder trains on {num_batches} real mini-batches per step, but the feed '
                f'supplies {found}; use data.with_minibatches(feed, ..., num_batches={num_batches})'
            )
        k_augment, k_mix = jax.random.split(jax.random.fold_in(key, step))
        images, labels, weights = jax.tree.map(lambda leaf: leaf[step], inputs.mixed)
        images = augment(k_augment, images) if augment else images
        images, labels = mix(k_mix, images, labels) if mix else (images, labels)
        return Batch(images, labels, weights)

    return draw


class Resetting(NamedTuple):
    """State of `resetting`."""

    # int32, synthetic-set updates so far; hides a method of tuples, and checkpoints hold the name
    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]
    network: fit.FitState


def resetting(
    model: Model, recipe: Recipe, *, every: int, draw: Draw, start: str | None = None
) -> Networks:
    """One network at a time: trained a little after each synthetic-set update.

    A new one replaces it now and then.

    DC and DSA train it on the synthetic set (Zhao, Mopuri & Bilen, ICLR 2021,
    https://arxiv.org/abs/2006.05929, Algorithm 1; `synthetic_batches`), IDC on real data (Kim et
    al., ICML 2022, https://arxiv.org/abs/2205.14959; `real_batches`).

    Args:
        model: in batch-statistics mode if it has batch norm; the matching itself uses running
            moments, which first see `BATCH_NORM_IMAGES` real images per class at every step, as in
            DC's code; fewer where the feed draws fewer, and of a class with fewer its images more
            than once.
        recipe: optimiser, and the number of updates after each step.
        every: steps (synthetic-set updates) that one network serves; it is not trained after the
            last of them.
        draw: what it trains on.
        start: the role of a trained network of the feed (`pools.attach`) from which every network
            begins; None: they begin untrained.

    Raises:
        ValueError: `every` below 1; when traced, a batch-norm network without real images in the
            feed, or a feed without a network to begin from.
    """
    if every < 1:
        raise ValueError(
            f'a network must serve at least 1 step before a new one, got every={every}'
        )
    step = fit.make_fit_step(model, recipe)

    def init(key: PRNGKey) -> Resetting:
        return Resetting(jnp.zeros((), jnp.int32), fit.init_fit(key, model, recipe))

    def begun(state: Resetting, inputs: Inputs) -> fit.FitState:
        network = state.network
        return network if start is None else _from(start, state.count % every == 0, network, inputs)

    def sample(state: Resetting, key: PRNGKey, inputs: Inputs) -> tuple[Variables, Inputs]:
        del key
        return _acquainted(model, begun(state, inputs).variables, inputs), inputs

    def update(
        state: Resetting, key: PRNGKey, inputs: Inputs, synthetic: SyntheticSet
    ) -> Resetting:
        k_new, k_draw = jax.random.split(key)
        state = state._replace(network=begun(state, inputs))

        def keep(network: fit.FitState) -> fit.FitState:
            return network._replace(variables=_acquainted(model, network.variables, inputs))

        def train(network: fit.FitState) -> fit.FitState:
            return _trained(
                step, keep(network), recipe.num_steps, lambda i: draw(k_draw, i, inputs, synthetic)
            )

        def renew(network: fit.FitState) -> fit.FitState:
            del network
            return fit.init_fit(k_new, model, recipe)

        # A program without what it never does compiles faster.
        grow = renew if every == 1 else train if recipe.num_steps else keep
        network = jax.lax.cond((state.count + 1) % every == 0, renew, grow, state.network)
        return Resetting(state.count + 1, network)

    return Networks(init, sample, update)


class Queue(NamedTuple):
    """State of `queue`."""

    # int32, synthetic-set updates so far; the name as in `Resetting`
    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]
    pushed: Array  # int32, networks made so far; the next goes to slot `pushed % max_size`
    networks: fit.FitState  # leaves [max_size, ...]; slots beyond `pushed` are not in use


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

    def init(key: PRNGKey) -> Queue:
        first = jax.vmap(lambda k: fit.init_fit(k, model, recipe))(jax.random.split(key, filled))
        slots = jax.tree.map(lambda leaf: leaf[jnp.arange(max_size) % filled], first)
        return Queue(jnp.zeros((), jnp.int32), jnp.full((), filled, jnp.int32), slots)

    def sample(state: Queue, key: PRNGKey, inputs: Inputs) -> tuple[Variables, Inputs]:
        chosen = jax.random.randint(key, (), 0, jnp.minimum(state.pushed, max_size))
        return _slot(state.networks.variables, chosen), inputs

    def update(state: Queue, key: PRNGKey, inputs: Inputs, synthetic: SyntheticSet) -> Queue:
        k_choice, k_new, k_draw = jax.random.split(key, 3)
        chosen = _distinct(k_choice, state.pushed, max_size, train_count)

        def train(j: Array, networks: fit.FitState) -> fit.FitState:
            after = _trained(
                step,
                _slot(networks, chosen[j]),
                recipe.num_steps,
                lambda i: draw(k_draw, j * recipe.num_steps + i, inputs, synthetic),
            )
            return _with_slot(networks, chosen[j], after)

        def train_all(networks: fit.FitState) -> fit.FitState:
            return jax.lax.fori_loop(0, train_count, train, networks)

        if growth.train_every == 1:
            networks = train_all(state.networks)
        else:
            turn = (state.count + 1) % growth.train_every == 0
            networks = jax.lax.cond(turn, train_all, lambda old: old, state.networks)
        count, pushed = state.count + 1, state.pushed
        for i in range(growth.push_count):
            k_own = jax.random.fold_in(k_new, i) if i else k_new
            due, slot = count % push_every == 0, pushed % max_size
            new = jax.lax.cond(
                due,
                lambda old, key=k_own: fit.init_fit(key, model, recipe),
                lambda old: old,
                _slot(networks, slot),
            )
            pushed, networks = pushed + due, _with_slot(networks, slot, new)
        return Queue(count, pushed, networks)

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


def _from(role: str, new: Array, network: fit.FitState, inputs: Inputs) -> fit.FitState:
    """A network with the weights that the feed supplies, where it is new."""
    if role not in inputs.pretrained:
        raise ValueError(
            f'networks begin from the role {role!r}, which the feed does not supply (it has: '
            f'{", ".join(sorted(inputs.pretrained)) or "none"}); use pools.attach(feed, {role!r}, '
            'pool)'
        )
    given = jax.tree.map(
        lambda own, other: jnp.where(new, other, own), network.variables, inputs.pretrained[role]
    )
    return network._replace(variables=given)


def _trained(
    step: Callable[[fit.FitState, Batch], tuple[fit.FitState, Metrics]],
    network: fit.FitState,
    num_steps: int,
    batch: Callable[[Array], Batch],
) -> fit.FitState:
    """A network after `num_steps` updates, on mini-batches by number."""
    return jax.lax.scan(
        lambda network, i: (step(network, batch(i))[0], None), network, jnp.arange(num_steps)
    )[0]


def _acquainted(model: Model, variables: Variables, inputs: Inputs) -> Variables:
    """Batch norm's running moments after one more batch of real images;
    networks without it as they are."""
    if not variables.batch_stats:
        return variables
    if inputs.real is None:
        raise ValueError(
            'a network with batch norm needs real images for its running moments, but the feed has '
            'none; use a feed that supplies Inputs.real, e.g. data.stratified(...)'
        )
    images = inputs.real[:, :BATCH_NORM_IMAGES]
    moments = model.apply(variables, images.reshape(-1, *images.shape[2:])).moments
    return variables._replace(batch_stats=update_batch_stats(variables.batch_stats, moments))


def _slot(tree: PyTree, index: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _with_slot(tree: PyTree, index: Array, value: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, new: leaf.at[index].set(new), tree, value)
