"""Distillation in independent chunks, each resumable by itself: what does not couple need not run together.

SRe2L recovers one image of each of 100 classes at a time, INFER one compensator per set and teacher. A chunk is a whole
small run of `distill`; chunks of one shape share one compiled program, and several may run as one.
"""
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdd.engine import distill, loop
from jaxdd.storage import checkpoint
from jaxdd.types import DistillState, Method, PRNGKey, PyTree, SyntheticSet

WORKING = 'working'    # the folder of the chunks in progress


class Chunk(NamedTuple):
    """One independent part of a synthetic set."""
    start: Callable[[], SyntheticSet]    # made when it is needed: all of them may not fit into memory
    feed: loop.Feed                      # supplies the network, and real images if a term reads them
    shape: tuple[int, ...]               # of the images that it starts from


def cut(num_classes: int, num_images: int, *, classes: int, images: int) -> list[tuple[slice, slice]]:
    """Cuts a set into parts of at most `classes` classes and `images` images per class, images outermost.

    Returns:
        (classes, images per class) of each part; the last ones may be smaller, and compile once more.

    Raises:
        ValueError: a size below 1.
    """
    if classes < 1 or images < 1:
        raise ValueError(f'a chunk holds at least one image of one class, got {images} images of {classes} classes')
    return [(slice(c, min(c + classes, num_classes)), slice(i, min(i + images, num_images)))
            for i in range(0, num_images, images) for c in range(0, num_classes, classes)]


def run(key: PRNGKey, method: Method, optimizer: optax.GradientTransformation, chunks: Sequence[Chunk], *,
        num_steps: int, folder: pathlib.Path, identity: Mapping, together: int = 1, steps_per_call: int = 1,
        checkpoint_every: int = 500, callbacks: Callable[[int], Sequence[loop.Callback]] = lambda first: (),
        should_stop: Callable[[], bool] = lambda: False) -> list[PyTree]:
    """Distils every chunk and stores each when it is done; what is stored is not distilled again.

    Args:
        key: chunk i uses `fold_in(key, i)`, so its result does not depend on the others.
        method, optimizer: of every chunk.
        chunks: what they start from and see.
        num_steps: of each chunk.
        folder: finished chunks go to `folder/<i>`, the state of those at work to `folder/working`.
        identity: JSON-able description of everything that determines the result; another one is refused.
        together: chunks distilled as one program, neighbours of the same shape with the same device feed.
        steps_per_call, should_stop: as in `loop.run`.
        checkpoint_every: steps between saves of the chunks at work.
        callbacks: number of the first chunk of a group -> callbacks of its run.

    Returns:
        The stored parameters of the chunks, in order; fewer when stopped early.

    Raises:
        ValueError: `together` below 1, or a folder that holds chunks of another run.
    """
    if together < 1:
        raise ValueError(f'together must be at least 1 chunk, got {together}')
    checkpoint.claim(folder, identity)
    step, done = distill.make_step(method, optimizer), []
    steps = {True: step, False: loop.vmap_step(step)}
    for group in _groups(chunks, together):
        found = _stored(folder, group, method, chunks[group[0]], identity)
        if found is None:
            alone = len(group) == 1
            states = [distill.init_state(jax.random.fold_in(key, i), method, optimizer, chunks[i].start())
                      for i in group]
            state = states[0] if alone else loop.stack_states(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
            feed = chunks[group[0]].feed
            state = _worked(steps[alone], state, feed if alone else loop.broadcast_feed(feed), num_steps, folder / WORKING,
                            {**identity, 'chunks': list(group)}, checkpoint_every, steps_per_call=steps_per_call,
                            callbacks=callbacks(group[0]), should_stop=should_stop)
            if int(state.step) < num_steps:
                break
            found = [state.params] if alone else _unstacked(state.states, len(group))
            _store(folder, group, found, identity)
        done += found
    return done


def finished(folder: pathlib.Path) -> int:
    """How many chunks a folder holds."""
    return sum(child.name.isdigit() for child in folder.iterdir()) if folder.is_dir() else 0


def _groups(chunks: Sequence[Chunk], together: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for i, chunk in enumerate(chunks):
        last = groups[-1] if groups else []
        if last and len(last) < together and (chunks[last[0]].shape == chunk.shape
                                              and chunks[last[0]].feed is chunk.feed):
            last.append(i)
        else:
            groups.append([i])
    return groups


def _stored(folder: pathlib.Path, group: Sequence[int], method: Method, chunk: Chunk,
            identity: Mapping) -> list[PyTree] | None:
    """The parameters of a group whose chunks are all stored."""
    if not all((folder / str(i)).exists() for i in group):
        return None
    like = jax.eval_shape(lambda: method.parametrization.init(jax.random.key(0), chunk.start())[0])
    found = [checkpoint.recall_tree(folder / str(i), like, {'chunk': i, **identity}) for i in group]
    return None if any(params is None for params in found) else found


def _store(folder: pathlib.Path, group: Sequence[int], found: Sequence[PyTree], identity: Mapping) -> None:
    for i, params in zip(group, found):
        checkpoint.save_tree(folder / str(i), params, {'chunk': i, **identity})
    shutil.rmtree(folder / WORKING, ignore_errors=True)


def _worked(step, state, feed, num_steps: int, folder: pathlib.Path, identity: Mapping, checkpoint_every: int, *,
            callbacks, **options):
    """One group's run, from its last whole checkpoint if there is one."""
    with checkpoint.Checkpoints(folder, identity, keep=1) as saved:
        found = saved.restore(state)
        state = found[0] if found else state
        save = loop.Callback(checkpoint_every, lambda state, at, _: saved.save(at, state) if at < num_steps else None)
        state = loop.run(step, state, feed, num_steps=num_steps, callbacks=[*callbacks, save], **options)
        if int(state.step) < num_steps:
            saved.save(int(state.step), state)
    return state


def _unstacked(states: DistillState, count: int) -> list[PyTree]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], states.params) for i in range(count)]
