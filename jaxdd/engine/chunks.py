"""Distils a set in independent, individually resumable chunks.

SRe2L recovers one image of each of 100 classes at a time, INFER one compensator per set and
teacher. A chunk is a whole small run of `distill`; chunks of one shape share one compiled program,
and several may run as one.
"""

import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdd import hosts
from jaxdd.engine import distill, loop
from jaxdd.storage import checkpoint, claims, trees
from jaxdd.storage.fingerprint import Store
from jaxdd.types import DistillState, Feed, Inputs, Method, PRNGKey, PyTree, SyntheticSet

WORKING = 'working'  # the folder of the chunks in progress


class Chunk(NamedTuple):
    """One independent part of a synthetic set."""

    start: Callable[[], SyntheticSet]  # made when it is needed: all of them may not fit into memory
    feed: Feed[Inputs]  # supplies the network, and real images if a term reads them
    shape: tuple[int, ...]  # of the images that it starts from
    # of its own steps, or of the group that it is the first of
    callbacks: Sequence[loop.Callback] = ()


def cut(
    num_classes: int, num_images: int, *, classes: int, images: int
) -> list[tuple[slice, slice]]:
    """Cuts a set into parts of at most `classes` classes and `images` images per class.

    Images are outermost.

    Returns:
        (classes, images per class) of each part; the last ones may be smaller, and compile once
        more.

    Raises:
        ValueError: a size below 1.
    """
    if classes < 1 or images < 1:
        raise ValueError(
            f'a chunk holds at least one image of one class, got {images} images of {classes} '
            'classes'
        )
    return [
        (slice(c, min(c + classes, num_classes)), slice(i, min(i + images, num_images)))
        for i in range(0, num_images, images)
        for c in range(0, num_classes, classes)
    ]


def run(
    key: PRNGKey,
    method: Method,
    optimizer: optax.GradientTransformation,
    chunks: Sequence[Chunk],
    *,
    num_steps: int,
    store: Store,
    control: loop.Control = loop.Control(),
) -> list[PyTree]:
    """Distils every chunk and stores each when it is done; what is stored is not distilled again.

    Args:
        key: chunk i uses `fold_in(key, i)`, so its result does not depend on the others.
        method, optimizer: of every chunk.
        chunks: what they start from and see.
        num_steps: of each chunk.
        store: finished chunks go to `folder/<i>`, the state of those at work to `folder/working`; a
            folder of another identity is refused.
        control: as in `loop.run`. Its `together` chunks, 1 by default, are distilled as one
            program: neighbours of the same shape with the same device feed. Its `checkpoint_every`
            steps lie between saves of those at work.

    Returns:
        The stored parameters of the chunks, in order; fewer when stopped early.

    Raises:
        ValueError: `together` below 1, or a folder that holds chunks of another run.
    """
    together = loop.num_together(control, 1)
    claims.claim(store.folder, store.identity)
    step, done = distill.make_step(method, optimizer), []
    for group in _groups(chunks, together):
        first = chunks[group[0]]
        parts = _stored(store, group, method, first)
        if parts is None:
            states = [
                distill.init_state(jax.random.fold_in(key, i), method, optimizer, chunks[i].start())
                for i in group
            ]
            here = Store(store.folder / WORKING, {**store.identity, 'chunks': list(group)})
            own = control._replace(callbacks=[*control.callbacks, *first.callbacks])
            parts = _distilled(step, states, first.feed, num_steps, here, own)
            if parts is None:
                break
            _store(store, group, parts)
        done += parts
    return done


def finished(folder: pathlib.Path) -> int:
    """How many chunks a folder holds."""

    def number() -> int:
        return sum(child.name.isdigit() for child in folder.iterdir()) if folder.is_dir() else 0

    return hosts.told(number)


def _groups(chunks: Sequence[Chunk], together: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for i, chunk in enumerate(chunks):
        last = groups[-1] if groups else []
        if (
            last
            and len(last) < together
            and (chunks[last[0]].shape == chunk.shape and chunks[last[0]].feed is chunk.feed)
        ):
            last.append(i)
        else:
            groups.append([i])
    return groups


def _stored(
    store: Store, group: Sequence[int], method: Method, chunk: Chunk
) -> list[PyTree] | None:
    """The parameters of a group whose chunks are all stored."""
    if not hosts.told(lambda: all((store.folder / str(i)).exists() for i in group)):
        return None
    like = jax.eval_shape(lambda: method.parametrization.init(jax.random.key(0), chunk.start())[0])
    parts = [
        trees.recall_tree(store.folder / str(i), like, {'chunk': i, **store.identity})
        for i in group
    ]
    return None if any(params is None for params in parts) else parts


def _store(store: Store, group: Sequence[int], parts: Sequence[PyTree]) -> None:
    for i, params in zip(group, parts):
        trees.save_tree(store.folder / str(i), params, {'chunk': i, **store.identity})
    hosts.told(lambda: shutil.rmtree(store.folder / WORKING, ignore_errors=True))


def _distilled(
    step: loop.Step,
    states: Sequence[DistillState],
    feed: Feed[Inputs],
    num_steps: int,
    store: Store,
    control: loop.Control,
) -> list[PyTree] | None:
    """The parameters of one group, or None where it was stopped; what was reached is kept."""
    if len(states) == 1:
        state = _worked(step, states[0], feed, num_steps, store, control)
        parts = [state.params]
    else:
        stacked = loop.stack_states(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
        state = _worked(
            loop.vmap_step(step), stacked, loop.broadcast_feed(feed), num_steps, store, control
        )
        parts = [
            jax.tree.map(lambda leaf, i=i: leaf[i], state.states.params) for i in range(len(states))
        ]
    return parts if int(state.step) == num_steps else None


def _worked(
    step: loop.Step,
    state: loop.State,
    feed: Feed[Any],
    num_steps: int,
    store: Store,
    control: loop.Control,
) -> loop.State:
    """One group's run, from its last whole checkpoint if there is one."""
    with checkpoint.Checkpoints(store.folder, store.identity, keep=1) as saved:
        restored = saved.restore(state)
        state = restored[0] if restored else state
        save = loop.Callback(
            control.checkpoint_every,
            lambda state, at, _: saved.save(at, state) if at < num_steps else None,
        )
        options = control._replace(callbacks=[*control.callbacks, save]).of_run()
        state = loop.run(step, state, feed, num_steps=num_steps, **options)
        if int(state.step) < num_steps:
            saved.save(int(state.step), state)
    return state
