"""Checkpoints: a run or a trained network to disk and back, bit for bit;
the only module that knows Orbax.

Beside its arrays a checkpoint carries a record: shape, dtype and CRC-32 of each leaf, the caller's
facts, whose run it is, and a checksum of all that. Orbax alone casts a wrong dtype silently and
returns wrong numbers when bytes inside an array file have changed.
"""

import logging
import math
import os
import pathlib
import re
import shutil
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxdd import hosts, parallel
from jaxdd.storage import leaves, records
from jaxdd.storage.fingerprint import differences as differences
from jaxdd.storage.fingerprint import fingerprint as fingerprint
from jaxdd.storage.fingerprint import plain
from jaxdd.types import Array, PyTree


def save_tree(path: str | os.PathLike, tree: PyTree, metadata: Mapping[str, Any]) -> None:
    """Stores one tree, such as a trained network, as a folder; replaces an older one.

    Args:
        path: the folder to make, parents too; never holds half a tree (written beside it, then
            renamed).
        tree: arrays (typed keys too) and numbers.
        metadata: JSON-able facts about it, for people: the file `record/metadata` holds them under
            'extra'.

    Raises:
        ValueError: a leaf is no array, or the metadata is not JSON.
        OSError: the disk refused; the folder that was there is untouched.
    """
    path = pathlib.Path(path).resolve()
    args = _pack(tree, metadata)
    token = os.getpid() if hosts.count() == 1 else 'shared'
    temporary, old = (path.with_name(f'.{path.name}.{kind}-{token}') for kind in ('new', 'old'))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(temporary, args=args, force=True)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(f'could not save {path}: {_reason(error)}') from error
    hosts.told(lambda: _replaced(path, temporary, old))


def _replaced(path: pathlib.Path, temporary: pathlib.Path, old: pathlib.Path) -> None:
    if path.exists():
        os.replace(path, old)
    os.replace(temporary, path)
    shutil.rmtree(old, ignore_errors=True)


def load_tree(
    path: str | os.PathLike, like: PyTree, metadata: Mapping[str, Any] | None = None
) -> PyTree | None:
    """Reads what `save_tree` stored, bitwise.

    Args:
        path: the folder.
        like: arrays or `jax.ShapeDtypeStruct`, the shapes, dtypes and (if set) shardings to return.
        metadata: what it must have been stored with; None = anything.

    Returns:
        The tree with the structure of `like`; None if there is no such folder.

    Raises:
        ValueError: the folder is unreadable or corrupt, or holds other names, shapes, dtypes or
            metadata; names them.
    """
    path = pathlib.Path(path).resolve()
    if not hosts.told(path.exists):
        return None
    tree, wrong, cause = None, None, None
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            tree = _read(
                lambda args: checkpointer.restore(path, args=args), like, metadata=metadata
            )[0]
    except leaves.Different as error:
        wrong, cause = f'{path} holds another tree: {error}', error
    except Exception as error:
        wrong, cause = f'{path} is unreadable ({_reason(error)})', error
    for one in hosts.agreed(wrong):  # what one process cannot read, none of them uses
        if one is not None:
            raise ValueError(one) from cause
    return tree


def recall_tree(
    path: str | os.PathLike,
    like: PyTree,
    metadata: Mapping[str, Any] | None = None,
    *,
    warn: Callable[[str], None] = print,
) -> PyTree | None:
    """Reads what `save_tree` stored.

    A folder that cannot be believed is set aside as if it were not there.

    Args:
        path, like, metadata: as in `load_tree`.
        warn: told one sentence: which folder, what is wrong, where it went.
    """
    try:
        return load_tree(path, like, metadata)
    except ValueError as error:
        warn(f'{error}; {records.set_aside(path)}, and what it held is made again')
        return None


class Checkpoints:
    """The newest states of one run, in one folder that belongs to one configuration.

    Use as a context manager: leaving it waits for the save in progress. Half-written checkpoints
    are never counted. With several hosts the folder must be shared and every host must make the
    same calls: Orbax synchronises inside them.

    Args:
        directory: the folder; made if missing.
        config: what must stay the same when a run is continued; kept there as `config.json`, and
            its fingerprint in every checkpoint.
        keep: how many of the newest checkpoints stay on disk.

    Raises:
        ValueError: the folder holds checkpoints of another configuration (listed line by line),
            `config` is not JSON, or `keep` is below 1.
        OSError: the folder cannot be made.
    """

    def __init__(self, directory: str | os.PathLike, config: Mapping[str, Any], *, keep: int = 2):
        if keep < 1:
            raise ValueError(f'keep must be at least 1 checkpoint, got {keep}')
        self._directory = pathlib.Path(directory).resolve()
        claim(self._directory, config)
        self._config = fingerprint(config)
        # Folders are made in the foreground: else a failing disk leaves Orbax's threads waiting for
        # a signal.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except OSError as late:
            if kind is None:  # else the error already on its way out is the one to see
                raise
            warnings.warn(str(late), stacklevel=2)
        finally:
            self._manager.close()

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the whole checkpoints, oldest first, in synthetic-set updates."""
        return tuple(sorted(self._manager.all_steps()))

    def save(self, step: int, state: PyTree, extra: Mapping[str, Any] = {}) -> None:
        """Copies the state and writes it in the background.

        The caller may donate its buffers at once.

        Args:
            step: number of synthetic-set updates done. Saving a step that is stored is a no-op.
            state: arrays (typed keys, optimiser states) and numbers.
            extra: JSON-able facts, such as the position of the feed.

        Raises:
            ValueError: a leaf is no array, `extra` is not JSON, or a newer step is stored.
            OSError: this or the previous save failed; says why, and which checkpoint is the newest
                whole one.
        """
        self.wait()
        step, stored = int(step), self.steps
        if step in stored:
            return
        if stored and step < stored[-1]:
            raise ValueError(
                f'{self._directory} already holds step {stored[-1]}, which is newer than step '
                f'{step}; restore it first, or use another workdir'
            )
        args = _pack(state, extra, self._config)
        self._guard(lambda: self._manager.save(step, args=args))

    def restore(
        self, like: PyTree, *, warn: Callable[[str], None] = warnings.warn
    ) -> tuple[PyTree, int, dict[str, Any]] | None:
        """Reads the newest whole checkpoint, bitwise, on any number of devices.

        A checkpoint that cannot be read is renamed to `unreadable-<step>` and the one before is
        used.

        Args:
            like: arrays or `jax.ShapeDtypeStruct`; the shapes, dtypes and (if set) shardings to
                return.
            warn: receives one sentence for every checkpoint moved aside.

        Returns:
            `(state, step, extra)`, or None if there is no checkpoint left.

        Raises:
            ValueError: the checkpoints are whole, but none fits `like`: the run or the code has
                changed.
        """
        self.wait()
        failed, found = {}, None
        for step in reversed(self.steps):
            wrong = None
            try:
                state, extra = _read(
                    lambda args, step=step: self._manager.restore(step, args=args),
                    like,
                    self._config,
                )
                found = state, step, extra
            except Exception as error:
                wrong = error
            elsewhere = [one for one in hosts.agreed(wrong and str(wrong)) if one is not None]
            if not elsewhere:
                break
            failed[step], found = wrong or OSError(elsewhere[0]), None
        strange = [error for error in failed.values() if isinstance(error, leaves.Different)]
        if found is None and strange:
            raise ValueError(
                f'{self._directory} holds a state that does not fit this run: {strange[0]}; '
                'use another workdir'
            )
        used = f'continuing from step {found[1]}' if found else 'no checkpoint is left'
        self._set_aside(failed, used, warn)
        return found

    def wait(self) -> None:
        """Blocks until the save in progress is on disk.

        Raises:
            OSError: it failed; says why, and which checkpoint is the newest whole one.
        """
        self._guard(self._manager.wait_until_finished)

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            whole = _stored_steps(self._directory)
            kept = (
                f'the newest whole checkpoint is step {max(whole)}'
                if whole
                else 'no checkpoint is stored'
            )
            raise OSError(
                f'could not save a checkpoint in {self._directory}: {_reason(error)}; {kept}'
            ) from error

    def _set_aside(
        self, failed: Mapping[int, Exception], used: str, warn: Callable[[str], None]
    ) -> None:
        for step, error in failed.items():
            target = self._directory / f'unreadable-{step}'
            if hosts.first():
                shutil.rmtree(target, ignore_errors=True)
                os.replace(self._directory / str(step), target)
            warn(
                f'the checkpoint of step {step} is unreadable ({_reason(error)}); moved to '
                f'{target.name}, {used}'
            )
        if failed:
            hosts.agreed(None)
            self._manager.reload()


def claim(directory: str | os.PathLike, config: Mapping[str, Any]) -> None:
    """Makes a folder of numbered results this configuration's.

    Args:
        directory: made if missing.
        config: what must stay the same; kept there as `config.json`.

    Raises:
        ValueError: the folder holds results (numbered folders) of another configuration (listed
            line by line), or `config` is not JSON.
    """
    directory, config = pathlib.Path(directory).resolve(), plain(config, 'config')
    hosts.told(lambda: _claim(directory, config))


def _claim(directory: pathlib.Path, config: Mapping[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / 'config.json'
    if _stored_steps(directory):
        stored = _stored_config(path, config)
        if fingerprint(stored) != fingerprint(config):
            raise ValueError(
                '\n  '.join(
                    (
                        (
                            f'{directory} holds checkpoints of a run with another configuration; '
                            'use another workdir or the stored configuration:'
                        ),
                        *differences(stored, config),
                    )
                )
            )
    else:
        records.save(path, config)


def _pack(tree: PyTree, extra: Mapping[str, Any], config: str | None = None) -> ocp.args.Composite:
    """What Orbax is to store: copies of the leaves, and the record that describes them.

    Args:
        config: fingerprint of the run that they belong to; None = of no run.
    """
    arrays, about = leaves.copied(tree)
    if hosts.count() > 1:  # Orbax stores nothing that is one process's own
        arrays = parallel.replicate(arrays)
    record = {'leaves': about, 'extra': plain(extra, 'extra'), 'config': config}
    return ocp.args.Composite(
        arrays=ocp.args.StandardSave(arrays or {'none': jnp.zeros(1)}),
        record=ocp.args.JsonSave({**record, records.CHECKSUM: fingerprint(record)}),
    )


def _abstract(like: PyTree) -> dict[str, jax.ShapeDtypeStruct | Array]:
    """What Orbax is to give back, as `like` has it; empty leaves were never stored."""
    none = parallel.replicate(jnp.zeros(1)) if hosts.count() > 1 else jnp.zeros(1)

    def placed(leaf: Any) -> jax.sharding.Sharding:
        own = getattr(leaf, 'sharding', None)
        alone = hosts.count() == 1
        return own if own is not None and (alone or not own.is_fully_addressable) else none.sharding

    arrays = [
        (name, leaves.as_array(leaf))
        for name, leaf in leaves.named(like)
        if math.prod(np.shape(leaf))
    ]
    return {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed(leaf))
        for name, leaf in arrays
    } or {'none': none}


def _read(
    restore: Callable[[ocp.args.Composite], Any],
    like: PyTree,
    config: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[PyTree, dict[str, Any]]:
    """Restores through `restore(Composite) -> Composite`:
    the record, then exactly the arrays it names."""
    record = leaves.believed(
        restore(ocp.args.Composite(record=ocp.args.JsonRestore())).record, config
    )
    if metadata is not None and (other := differences(record['extra'], metadata)):
        raise leaves.Different('; '.join(other))
    leaves.compare(record['leaves'], like)
    arrays = restore(ocp.args.Composite(arrays=ocp.args.StandardRestore(_abstract(like)))).arrays
    return leaves.rebuilt(record['leaves'], arrays, like), record['extra']


def _stored_steps(directory: pathlib.Path) -> list[int]:
    children = directory.iterdir() if directory.is_dir() else ()
    return [int(child.name) for child in children if child.name.isdigit()]


def _stored_config(path: pathlib.Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a folder's results are of; where that cannot be read any more,
    every checkpoint still tells its own."""
    stored = records.recall(path, records.ANYTHING, warn=warnings.warn)
    if stored is None and not path.with_name(f'{path.name}.damaged').exists():
        raise ValueError(
            f'{path.parent} holds checkpoints but no config.json, so they may be of another run; '
            'use another workdir'
        )
    if stored is None:
        records.save(path, config)
    return config if stored is None else stored


def _reason(error: Exception) -> str:
    text = ' '.join(str(error).split())
    # tensorstore says it at the end of a long line
    cause = re.search(r': ([^:\[]+) \[os_error', text)
    return f'{type(error).__name__}: {cause.group(1) if cause else text[:200]}'


def _not_a_thread_of_orbax(record: logging.LogRecord) -> bool:
    """What Orbax's threads log about a failing disk:
    the same failure reaches the caller as one OSError."""
    return not (record.exc_info and 'orbax' in f'{record.pathname} {record.getMessage()}')


def _without_closed_loops(hook: Callable[[Any], Any]) -> Callable[[Any], None]:
    """What writes that were under way say when another one of the same save has failed:
    their event loop is gone."""

    def told(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == 'Event loop is closed'):
            hook(unraisable)

    return told


for name in ('absl', 'asyncio'):
    logging.getLogger(name).addFilter(_not_a_thread_of_orbax)
sys.unraisablehook = _without_closed_loops(sys.unraisablehook)
