"""Checkpoints: the newest states of a run to disk and back, bit for bit."""

import functools
import os
import pathlib
import shutil
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import orbax.checkpoint as ocp

from jaxdd import hosts
from jaxdd.storage import claims, leaves, packed
from jaxdd.storage.fingerprint import fingerprint
from jaxdd.types import PyTree


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
        claims.claim(self._directory, config)
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
        args = packed.pack(state, extra, self._config)
        self._guard(lambda: self._manager.save(step, args=args))

    def restore(
        self,
        like: PyTree,
        *,
        warn: Callable[[str], None] = warnings.warn,
        up_to: int | None = None,
    ) -> tuple[PyTree, int, dict[str, Any]] | None:
        """Reads the newest whole checkpoint, bitwise, on any number of devices.

        A checkpoint that cannot be read is renamed to `unreadable-<step>` and the one before is
        used.

        Args:
            like: arrays or `jax.ShapeDtypeStruct`; the shapes, dtypes and (if set) shardings to
                return.
            warn: receives one sentence for every checkpoint moved aside.
            up_to: the newest step that is wanted, whose successors are removed, since the run goes
                on from it; None: any.

        Returns:
            `(state, step, extra)`, or None if there is no checkpoint left.

        Raises:
            ValueError: the checkpoints are whole, but none fits `like`: the run or the code has
                changed.
        """
        self.wait()
        failed, found = {}, None
        for step in self.steps:
            if up_to is not None and step > up_to:
                self._guard(functools.partial(self._manager.delete, step))
        for step in reversed(self.steps):
            wrong = None
            try:
                state, extra = packed.read(
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
            whole = claims.stored_steps(self._directory)
            kept = (
                f'the newest whole checkpoint is step {max(whole)}'
                if whole
                else 'no checkpoint is stored'
            )
            raise OSError(
                f'could not save a checkpoint in {self._directory}: {packed.reason(error)}; {kept}'
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
                f'the checkpoint of step {step} is unreadable ({packed.reason(error)}); moved to '
                f'{target.name}, {used}'
            )
        if failed:
            hosts.agreed(None)
            self._manager.reload()
