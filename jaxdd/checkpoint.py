"""Checkpoints: a run or a trained network to disk and back, bit for bit; the only module that knows Orbax.

Beside its arrays a checkpoint carries a record: shape, dtype and CRC-32 of each leaf. Orbax alone casts a
wrong dtype silently and returns wrong numbers when bytes inside an array file have changed.
"""
import json
import math
import os
import pathlib
import re
import shutil
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxdd.files import write_whole
from jaxdd.identity import differences as differences, fingerprint as fingerprint, plain
from jaxdd.types import PyTree


class _Different(ValueError):
    """A whole checkpoint, but of another tree."""


def _named(tree):
    pairs = [(jax.tree_util.keystr(path, simple=True, separator='.') or 'value', leaf)
             for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    if len(dict(pairs)) != len(pairs):
        raise ValueError(f'two leaves share a name; rename keys with dots: {[name for name, _ in pairs]}')
    return pairs


def _array(leaf):
    return jnp.asarray(leaf) if isinstance(leaf, (bool, int, float)) else leaf


def _described(name, leaf):
    leaf = _array(leaf)
    if not hasattr(leaf, 'shape') or not hasattr(leaf, 'dtype'):
        raise ValueError(f'{name}: a checkpoint holds arrays and numbers, got {type(leaf).__name__} {leaf!r}')
    return f'{leaf.dtype}{list(leaf.shape)}'


def _checksum(array):
    typed = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    words = jax.random.key_data(array) if typed else array
    if not (words.is_fully_addressable or words.is_fully_replicated):
        return None    # spread over hosts: none of them holds all the bytes
    return zlib.crc32(np.asarray(words).tobytes())


def _pack(tree, extra):
    """Copies of the leaves (the caller may donate the originals) and the record that describes them."""
    arrays, leaves = {}, {}
    for name, leaf in _named(tree):
        kind, array = _described(name, leaf), jnp.copy(leaf)
        if _described(name, array) != kind:
            raise ValueError(f'{name}: {kind} would be stored as {array.dtype}; convert it before saving')
        leaves[name] = {'kind': kind, 'checksum': _checksum(array)}
        if array.size:    # Orbax refuses empty arrays; their shape says it all
            arrays[name] = array
    return ocp.args.Composite(arrays=ocp.args.StandardSave(arrays or {'none': jnp.zeros(1)}),
                              record=ocp.args.JsonSave({'leaves': leaves, 'extra': plain(extra, 'extra')}))


def _compare(leaves, like):
    stored = {name: leaf['kind'] for name, leaf in leaves.items()}
    expected = {name: _described(name, leaf) for name, leaf in _named(like)}
    text = [f'{name}: stored {stored.get(name, "nothing")}, expected {expected.get(name, "nothing")}'
            for name in sorted({*stored, *expected}) if stored.get(name) != expected.get(name)]
    if text:
        raise _Different('; '.join(text[:5]) + (f' and {len(text) - 5} more' if len(text) > 5 else ''))


def _abstract(like):
    none = jnp.zeros(1)
    leaves = [(name, _array(leaf)) for name, leaf in _named(like) if math.prod(np.shape(leaf))]
    return {name: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=getattr(leaf, 'sharding', None) or none.sharding)
            for name, leaf in leaves} or {'none': none}


def _unpack(record, arrays, like):
    leaves = []
    for name, leaf in _named(like):
        array = arrays[name] if name in arrays else jnp.zeros(leaf.shape, leaf.dtype)
        found, stored = _checksum(array), record['leaves'][name]['checksum']
        if found != stored and None not in (found, stored):
            raise ValueError(f'the bytes of {name} have changed since they were saved')
        leaves.append(type(leaf)(array) if isinstance(leaf, (bool, int, float)) else _placed(array, leaf))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _placed(array, leaf):
    """Uncommitted like `leaf`: jit refuses arrays pinned to one device beside arrays spread over a mesh."""
    if getattr(leaf, 'committed', True):
        return array
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        words = np.asarray(jax.random.key_data(array))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(array))
    return jnp.asarray(np.asarray(array))


def _read(restore, like):
    """Restores through `restore(Composite) -> Composite`: the record, then exactly the arrays it names."""
    record = restore(ocp.args.Composite(record=ocp.args.JsonRestore())).record
    _compare(record['leaves'], like)
    arrays = restore(ocp.args.Composite(arrays=ocp.args.StandardRestore(_abstract(like)))).arrays
    return _unpack(record, arrays, like), record['extra']


def save_tree(path: str | os.PathLike, tree: PyTree, metadata: Mapping[str, Any]) -> None:
    """Stores one tree, such as a trained network, as a folder; replaces an older one.

    Args:
        path: the folder to make, parents too; never holds half a tree (written beside it, then renamed).
        tree: arrays (typed keys too) and numbers.
        metadata: JSON-able facts about it, for people: the file `record/metadata` holds them under 'extra'.

    Raises:
        ValueError: a leaf is no array, or the metadata is not JSON.
        OSError: the disk refused; the folder that was there is untouched.
    """
    path = pathlib.Path(path).resolve()
    args = _pack(tree, metadata)
    token = os.getpid() if jax.process_count() == 1 else 'shared'
    temporary, old = (path.with_name(f'.{path.name}.{kind}-{token}') for kind in ('new', 'old'))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(temporary, args=args, force=True)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(f'could not save {path}: {_reason(error)}') from error
    if jax.process_index() == 0:
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    _barrier(f'save {path.name}')


def load_tree(path: str | os.PathLike, like: PyTree) -> PyTree | None:
    """Reads what `save_tree` stored, bitwise.

    Args:
        path: the folder.
        like: arrays or `jax.ShapeDtypeStruct`, the shapes, dtypes and (if set) shardings to return.

    Returns:
        The tree with the structure of `like`; None if there is no such folder.

    Raises:
        ValueError: the folder is unreadable or corrupt, or holds other names, shapes or dtypes; names them.
    """
    path = pathlib.Path(path).resolve()
    if not path.exists():
        return None
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            return _read(lambda args: checkpointer.restore(path, args=args), like)[0]
    except _Different as error:
        raise ValueError(f'{path} holds another tree: {error}') from error
    except Exception as error:
        raise ValueError(f'{path} is unreadable ({_reason(error)}); delete it to make it again') from error


class Checkpoints:
    """The newest states of one run, in one folder that belongs to one configuration.

    Use as a context manager: leaving it waits for the save in progress. Half-written checkpoints are never
    counted. With several hosts the folder must be shared and every host must make the same calls: Orbax
    synchronises inside them. When a background save fails, Orbax logs tracebacks of its own threads besides.

    Args:
        directory: the folder; made if missing.
        config: what must stay the same when a run is continued; kept there as `config.json`.
        keep: how many of the newest checkpoints stay on disk.

    Raises:
        ValueError: the folder holds checkpoints of another configuration (listed line by line), `config` is
            not JSON, or `keep` is below 1.
        OSError: the folder cannot be made.
    """

    def __init__(self, directory: str | os.PathLike, config: Mapping[str, Any], *, keep: int = 2):
        if keep < 1:
            raise ValueError(f'keep must be at least 1 checkpoint, got {keep}')
        self._directory = pathlib.Path(directory).resolve()
        claim(self._directory, config)
        # Folders are made in the foreground: else a failing disk leaves Orbax's threads waiting for a signal.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False))
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            self.wait()
        except OSError as late:
            if kind is None:    # else the error already on its way out is the one to see
                raise
            warnings.warn(str(late))
        finally:
            self._manager.close()

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the whole checkpoints, oldest first, in synthetic-set updates."""
        return tuple(sorted(self._manager.all_steps()))

    def save(self, step: int, state: PyTree, extra: Mapping[str, Any] = {}) -> None:
        """Copies the state and writes it in the background; the caller may donate its buffers at once.

        Args:
            step: number of synthetic-set updates done. Saving a step that is stored is a no-op.
            state: arrays (typed keys, optimiser states) and numbers.
            extra: JSON-able facts, such as the position of the feed.

        Raises:
            ValueError: a leaf is no array, `extra` is not JSON, or a newer step is stored.
            OSError: this or the previous save failed; says why, and which checkpoint is the newest whole one.
        """
        self.wait()
        step, stored = int(step), self.steps
        if step in stored:
            return
        if stored and step < stored[-1]:
            raise ValueError(f'{self._directory} already holds step {stored[-1]}, which is newer than step '
                             f'{step}; restore it first, or use another workdir')
        args = _pack(state, extra)
        self._guard(lambda: self._manager.save(step, args=args))

    def restore(self, like: PyTree, *, warn: Callable[[str], None] = warnings.warn
                ) -> tuple[PyTree, int, dict[str, Any]] | None:
        """Reads the newest whole checkpoint, bitwise, on any number of devices.

        A checkpoint that cannot be read is renamed to `unreadable-<step>` and the one before is used.

        Args:
            like: arrays or `jax.ShapeDtypeStruct`; the shapes, dtypes and (if set) shardings to return.
            warn: receives one sentence for every checkpoint moved aside.

        Returns:
            `(state, step, extra)`, or None if there is no checkpoint left.

        Raises:
            ValueError: the checkpoints are whole, but none fits `like`: the run or the code has changed.
        """
        self.wait()
        failed, found = {}, None
        for step in reversed(self.steps):
            try:
                state, extra = _read(lambda args, step=step: self._manager.restore(step, args=args), like)
            except Exception as error:
                failed[step] = error
            else:
                found = state, step, extra
                break
        strange = [error for error in failed.values() if isinstance(error, _Different)]
        if found is None and strange:
            raise ValueError(f'{self._directory} holds a state that does not fit this run: {strange[0]}; '
                             'use another workdir')
        used = f'continuing from step {found[1]}' if found else 'no checkpoint is left'
        self._set_aside(failed, used, warn)
        return found

    def wait(self) -> None:
        """Blocks until the save in progress is on disk.

        Raises:
            OSError: it failed; says why, and which checkpoint is the newest whole one.
        """
        self._guard(self._manager.wait_until_finished)

    def _guard(self, action):
        try:
            action()
        except Exception as error:
            whole = _stored_steps(self._directory)
            kept = f'the newest whole checkpoint is step {max(whole)}' if whole else 'no checkpoint is stored'
            raise OSError(f'could not save a checkpoint in {self._directory}: {_reason(error)}; '
                          f'{kept}') from error

    def _set_aside(self, failed, used, warn):
        for step, error in failed.items():
            target = self._directory / f'unreadable-{step}'
            if jax.process_index() == 0:
                shutil.rmtree(target, ignore_errors=True)
                os.replace(self._directory / str(step), target)
            warn(f'the checkpoint of step {step} is unreadable ({_reason(error)}); moved to {target.name}, '
                 f'{used}')
        if failed:
            _barrier('set aside')
            self._manager.reload()


def _stored_steps(directory):
    children = directory.iterdir() if directory.is_dir() else ()
    return [int(child.name) for child in children if child.name.isdigit()]


def claim(directory: str | os.PathLike, config: Mapping[str, Any]) -> None:
    """Makes a folder of numbered results this configuration's.

    Args:
        directory: made if missing.
        config: what must stay the same; kept there as `config.json`.

    Raises:
        ValueError: the folder holds results (numbered folders) of another configuration (listed line by line), or
            `config` is not JSON.
    """
    directory, config = pathlib.Path(directory).resolve(), plain(config, 'config')
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / 'config.json'
    if _stored_steps(directory):
        try:
            stored = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f'{directory} holds checkpoints but no readable config.json, so they may be of '
                             'another run; use another workdir') from error
        if fingerprint(stored) != fingerprint(config):
            raise ValueError('\n  '.join((
                f'{directory} holds checkpoints of a run with another configuration; use another workdir or '
                'the stored configuration:', *differences(stored, config))))
    elif jax.process_index() == 0:
        write_whole(path, (json.dumps(config, indent=2, sort_keys=True) + '\n').encode())
    _barrier('config')


def _barrier(name):
    if jax.process_count() > 1:
        ocp.multihost.sync_global_processes(f'jaxdd {name}')


def _reason(error):
    text = ' '.join(str(error).split())
    cause = re.search(r': ([^:\[]+) \[os_error', text)    # tensorstore says it at the end of a long line
    return f'{type(error).__name__}: {cause.group(1) if cause else text[:200]}'
