"""Representative real images: k-means on the encoder's features chooses what a method is matched
against (DREAM)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd import parallel, passes
from jaxdd.coresets.kmeans import representatives
from jaxdd.types import (
    Array,
    Inputs,
    Method,
    Model,
    Networks,
    PRNGKey,
    PyTree,
    SyntheticSet,
    Variables,
)


class Chosen(NamedTuple):
    """State of a method with representative sampling, around the networks' own."""

    count: Array  # int32, synthetic-set updates so far
    index: Array  # [K, B] int32 into the training set
    networks: PyTree


def representative(
    method: Method,
    *,
    num_classes: int,
    per_class: int,
    preprocess: Callable[[Array], Array],
    every: int = 10,
    iterations: int = 100,
) -> Method:
    """Any method, matched against representatives of each class instead of a random batch.

    Every `every` steps all real images of a class are embedded by the encoder, grouped by k-means
    into B clusters, and the image nearest to each centre is kept as the class's batch until the
    next time. Liu et al., DREAM: Efficient Dataset Distillation by Representative Matching (ICCV
    2023), https://arxiv.org/abs/2302.14416.

    Args:
        method: its encoder embeds.
        num_classes: K.
        per_class: B, as many as the feed draws. A class with fewer images gives all of them: each
            is a cluster of its own, its representative, and counts once (`Inputs.real_weights` of
            the feed).
        preprocess: uint8 images -> network input.
        every: steps between clusterings.
        iterations: of k-means.

    Returns:
        The method; its feed must also supply `Inputs.candidates` (`data.with_candidates`) and a
        batch of B.

    Raises:
        ValueError: a number below 1; when traced, a feed without candidates or with a batch of
            another size.

    Note:
        The first step sees the feed's random batch: there is no encoder to cluster with before it.
        The authors embed images that are not normalised; here every network sees normalised images.
    """
    for name, value in (('per_class', per_class), ('every', every), ('iterations', iterations)):
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    inner, embed = method.networks, method.models['encoder']

    def init(key: PRNGKey) -> Chosen:
        return Chosen(
            jnp.zeros((), jnp.int32),
            jnp.zeros((num_classes, per_class), jnp.int32),
            inner.init(key),
        )

    def sample(state: Chosen, key: PRNGKey, inputs: Inputs) -> tuple[Variables | None, Inputs]:
        _require_candidates(inputs, per_class)
        found = preprocess(inputs.candidates.images[parallel.shard(state.index, 1)])
        real = parallel.shard(jnp.where(state.count == 0, inputs.real, found), 1)
        return inner.sample(state.networks, key, inputs._replace(real=real))

    def update(state: Chosen, key: PRNGKey, inputs: Inputs, synthetic: SyntheticSet) -> Chosen:
        k_inner, k_encoder, k_means = jax.random.split(key, 3)
        networks = inner.update(state.networks, k_inner, inputs, synthetic)

        def again(index: Array) -> Array:
            del index
            encoder, _ = inner.sample(networks, k_encoder, inputs)
            return _cluster(embed, encoder, preprocess, k_means, inputs, per_class, iterations)

        due = ((state.count + 1) % every == 0) | (state.count == 0)
        index = jax.lax.cond(due, again, lambda index: index, state.index)
        return Chosen(state.count + 1, index, networks)

    return method._replace(networks=Networks(init, sample, update))


def _cluster(
    embed: Model,
    encoder: Variables,
    preprocess: Callable[[Array], Array],
    key: PRNGKey,
    inputs: Inputs,
    per_class: int,
    iterations: int,
) -> Array:
    """`[K, B]` indices of the representatives, one class after the other:
    features of one class in memory."""

    def one(args):
        key, row = args
        # padding (-1) repeats the last image
        images = parallel.shard(inputs.candidates.images[row])
        features = passes.chunked(lambda x: embed.apply(encoder, preprocess(x)).features, images)
        return row[representatives(key, features, row >= 0, num=per_class, iterations=iterations)]

    members = inputs.candidates.members
    return jax.lax.map(one, (jax.random.split(key, len(members)), members))


def _require_candidates(inputs: Inputs, per_class: int) -> None:
    if inputs.candidates is None or inputs.real is None:
        raise ValueError(
            'representative sampling chooses from the whole training set, but the feed does not '
            'supply it; use data.with_candidates(feed, ...)'
        )
    if inputs.real.shape[1] != per_class:
        raise ValueError(
            f'representative sampling was built for {per_class} real images per class, but the '
            f'feed draws {inputs.real.shape[1]}'
        )
