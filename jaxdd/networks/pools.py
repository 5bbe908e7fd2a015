"""Pools of networks trained before distillation:
cached on disk, drawn inside the compiled program."""

import zlib
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxdd import feeds
from jaxdd.bound import bind
from jaxdd.engine import fit, loop
from jaxdd.storage import trees
from jaxdd.storage.fingerprint import Store
from jaxdd.types import Array, Feed, Inputs, Model, PRNGKey, Recipe, Variables

_DRAW = 0x9001  # separates the draw of a network from the feed's other draws


def proxies(
    key: PRNGKey,
    model: Model,
    sample: fit.Sample,
    recipe: Recipe,
    *,
    count: int,
    store: Store,
    control: loop.Control = loop.Control(),
) -> list[Variables]:
    """Loads a pool of trained networks from the cache and trains what is missing.

    IID and CMI judge synthetic images by ResNet-18s trained on the real set, which differ by their
    seed only.

    Args:
        key: network i uses `fold_in(key, i)`.
        model, sample, recipe: as in `fit.fit`.
        count: networks wanted. A larger pool of the same identity extends a smaller one.
        store: the folder of all pools, and the architecture, recipe, data and key of this one,
            whose fingerprint names its folder there. Each finished network is stored at once, so an
            interrupted run keeps what it has.
        control: as in `fit.fit_seeds`, but one network after the other by default. Its `log` is
            told what is loaded and what is trained.

    Returns:
        The networks; fewer than `count` when stopped early.

    Raises:
        ValueError: `count` below 1.
    """
    if count < 1:
        raise ValueError(f'a pool needs at least one network, got count={count}')
    folder = store.named()
    like = jax.eval_shape(model.init, key)
    cached = {
        i: trees.recall_tree(folder / str(i), like, store.identity, warn=control.log)
        for i in range(count)
    }
    pool = {i: network for i, network in cached.items() if network is not None}
    missing = [i for i in range(count) if i not in pool]
    control.log(
        f'pool {folder.parent.name}/{folder.name}: {len(pool)} of {count} networks cached'
        + (f', training {len(missing)}' if missing else '')
    )
    size = loop.num_together(control, 1)
    for group in (missing[first : first + size] for first in range(0, len(missing), size)):
        trained = fit.fit_seeds(
            [jax.random.fold_in(key, i) for i in group],
            model,
            sample,
            recipe,
            control=control._replace(together=size),
        )
        for i, variables in zip(group, trained):
            trees.save_tree(folder / str(i), variables, dict(store.identity))
            pool[i] = variables
        if len(trained) < len(group):
            break
    return [pool[i] for i in sorted(pool)]


def attach(
    feed: Feed[Inputs], role: str, pool: Sequence[Variables], *, every: int = 1
) -> Feed[Inputs]:
    """A feed that also supplies one network of a pool, drawn uniformly at every step.

    Args:
        feed: a device feed, e.g. `data.stratified(...)`, or a `Stream`.
        role: what terms call the network, e.g. 'proxy'.
        pool: at least one network; all of them stay in device memory.
        every: steps that a drawn network serves.

    Raises:
        ValueError: an empty pool, or `every` below 1.
    """
    if every < 1:
        raise ValueError(f'a drawn network must serve at least 1 step, got every={every}')
    if not pool:
        raise ValueError(f'the pool for the role {role!r} is empty; it needs at least one network')
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pool)
    return feeds.transform(feed, bind(_with_networks, every), {role: stacked})


def _with_networks(
    every: int, stacked: Mapping[str, Variables], inputs: Inputs, key: PRNGKey, step: Array
) -> Inputs:
    drawn, turn = {}, step if every == 1 else step // every
    for role in sorted(stacked):
        size = jax.tree.leaves(stacked[role])[0].shape[0]
        own = jax.random.fold_in(jax.random.fold_in(key, _DRAW), zlib.crc32(role.encode()))
        # The only network needs no draw, and stays one network when runs are mapped.
        index = jax.random.randint(jax.random.fold_in(own, turn), (), 0, size) if size > 1 else 0
        drawn[role] = jax.tree.map(lambda leaf, index=index: leaf[index], stacked[role])
    return inputs._replace(pretrained={**inputs.pretrained, **drawn})
