"""Policies for the encoder: which network measures the match at each step, and how it grows.

A single network at a time; `queues` keeps many.
"""

from collections.abc import Callable
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
FitStep = Callable[[fit.FitState, Batch], tuple[fit.FitState, Metrics]]

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
            return trained(
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


def trained(
    step: FitStep,
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
