"""Pools of networks trained before distillation: cached on disk, drawn inside the compiled program."""
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxdd.engine import fit, loop
from jaxdd.storage import checkpoint
from jaxdd.types import Array, Inputs, Model, PRNGKey, Recipe, Stream, Variables

_DRAW = 0x9001  # separates the draw of a network from the feed's other draws


def proxies(key: PRNGKey, model: Model, sample: fit.Sample, recipe: Recipe, *, count: int, cache: pathlib.Path,
            identity: Mapping, vectorized: bool = False, steps_per_call: int = 1,
            callbacks: Sequence[loop.Callback] = (), should_stop: Callable[[], bool] = lambda: False,
            log: Callable[[str], None] = lambda message: None) -> list[Variables]:
    """Loads a pool of trained networks from the cache and trains what is missing.

    IID and CMI judge synthetic images by ResNet-18s trained on the real set, which differ by their seed only.

    Args:
        key: network i uses `fold_in(key, i)`.
        model, sample, recipe: as in `fit.fit`.
        count: networks wanted. A larger pool of the same identity extends a smaller one.
        cache: folder; each finished network is stored at once, so an interrupted run keeps what it has.
        identity: JSON-able description of everything that determines the weights: architecture, recipe,
            data, key. Its fingerprint names the pool.
        vectorized, steps_per_call, callbacks, should_stop: as in `fit.fit_seeds`.
        log: told what is loaded and what is trained.

    Returns:
        The networks; fewer than `count` when stopped early.

    Raises:
        ValueError: `count` below 1.
    """
    if count < 1:
        raise ValueError(f'a pool needs at least one network, got count={count}')
    folder = pathlib.Path(cache) / checkpoint.fingerprint(dict(identity))
    like = jax.eval_shape(model.init, key)
    cached = {i: checkpoint.recall_tree(folder / str(i), like, identity, warn=log) for i in range(count)}
    found = {i: network for i, network in cached.items() if network is not None}
    missing = [i for i in range(count) if i not in found]
    log(f'proxy pool {folder.name}: {len(found)} of {count} networks cached'
        + (f', training {len(missing)}' if missing else ''))
    for group in [missing] if vectorized else [[i] for i in missing]:
        trained = fit.fit_seeds([jax.random.fold_in(key, i) for i in group], model, sample, recipe,
                                vectorized=vectorized, steps_per_call=steps_per_call, callbacks=callbacks,
                                should_stop=should_stop) if group else []
        for i, variables in zip(group, trained):
            checkpoint.save_tree(folder / str(i), variables, dict(identity))
            found[i] = variables
        if len(trained) < len(group):
            break
    return [found[i] for i in sorted(found)]


def attach(feed: loop.DeviceFeed | Stream, role: str, pool: Sequence[Variables]) -> loop.DeviceFeed | Stream:
    """A feed that also supplies one network of a pool, drawn uniformly at every step.

    Args:
        feed: a device feed, e.g. `data.stratified(...)`, or a `Stream`.
        role: what terms call the network, e.g. 'proxy'.
        pool: at least one network; all of them stay in device memory.

    Raises:
        ValueError: an empty pool.
    """
    if not pool:
        raise ValueError(f'the pool for the role {role!r} is empty; it needs at least one network')
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pool)
    if isinstance(feed, Stream):
        add = jax.jit(_added)
        return Stream(lambda key, step: (add(inputs, {role: stacked}, key, at)
                                         for at, inputs in enumerate(feed.start(key, step), step)))
    return jax.tree_util.Partial(_drawn, feed, {role: stacked})


def _drawn(feed, stacked: Mapping[str, Variables], key: PRNGKey, step: Array) -> Inputs:
    return _added(feed(key, step), stacked, key, step)


def _added(inputs: Inputs, stacked: Mapping[str, Variables], key: PRNGKey, step: Array) -> Inputs:
    drawn = {}
    for role in sorted(stacked):
        size = jax.tree.leaves(stacked[role])[0].shape[0]
        own = jax.random.fold_in(jax.random.fold_in(key, _DRAW), zlib.crc32(role.encode()))
        # The only network needs no draw, and stays one network when runs are mapped.
        index = jax.random.randint(jax.random.fold_in(own, step), (), 0, size) if size > 1 else 0
        drawn[role] = jax.tree.map(lambda leaf, index=index: leaf[index], stacked[role])
    return inputs._replace(pretrained={**inputs.pretrained, **drawn})
