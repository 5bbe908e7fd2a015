"""What is watched beside `history.jsonl`: TensorBoard's scalars and pictures, and a profile."""

import atexit
import contextlib
import functools
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from PIL import Image

from experiments.configs import Config
from jaxdd import hosts
from jaxdd.engine.loop import Callback
from jaxdd.types import Accuracy

SECONDS = 10  # between writes of what is in memory


class Board:
    """Scalars and pictures by step, as TensorBoard shows them.

    Args:
        folder: of its files; None: nothing is written.
        after: the step that a run continues from; what was written of later ones is hidden.
    """

    def __init__(self, folder: pathlib.Path | None, *, after: int | None = None):
        self._writer: Any = None
        if folder is not None and hosts.first():
            import tensorboardX

            purge = None if after is None else after + 1
            self._writer = tensorboardX.SummaryWriter(
                str(folder), purge_step=purge, flush_secs=SECONDS
            )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Notes numbers, by name."""
        for name, value in values.items() if self._writer else ():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, path: pathlib.Path) -> None:
        """Notes a picture by its file."""
        if self._writer:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert('RGB'))
            self._writer.add_image(path.stem, pixels, step, dataformats='HWC')

    def close(self) -> None:
        """Writes what is still in memory; nothing can be noted afterwards."""
        if self._writer:
            self._writer.close()
        self._writer = None


def folder(config: Config, workdir: pathlib.Path) -> pathlib.Path | None:
    """Where TensorBoard's files of a run lie; None where it writes none."""
    return workdir / 'tensorboard' if config.tensorboard else None


def accuracies(measured: Mapping[str, Accuracy]) -> dict[str, float]:
    """Mean accuracies of students, by the names that TensorBoard shows."""
    return {f'accuracy/{name}': summary.mean for name, summary in measured.items()}


def require(config: Config) -> None:
    """Refuses to watch what nothing here can write.

    Raises:
        ValueError: says what to install.
    """
    if config.tensorboard and importlib.util.find_spec('tensorboardX') is None:
        raise ValueError(
            '--tensorboard writes with tensorboardX, which is not installed: pip install '
            'tensorboardX; or leave the option out (history.jsonl holds the same numbers)'
        )


def profiled(config: Config, workdir: pathlib.Path, steps_per_call: int) -> list[Callback]:
    """The callback that traces `config.profile` steps of a run, if any, after its first dispatch,
    which compiles."""
    if config.profile is None or not hosts.first():
        return []
    return [Callback(steps_per_call, _profile(workdir / 'profile', config.profile).tick)]


class _Profile:
    """One trace of some steps."""

    def __init__(self, where: pathlib.Path, steps: int):
        self._where, self._left, self._begun = where, steps, False

    def tick(self, state: Any, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        del state, step
        if not self._begun:
            self._begun = True
            jax.profiler.start_trace(self._where)
            atexit.register(self._end)
            return
        self._left -= len(next(iter(metrics.values()), ()))
        if self._left <= 0:
            self._end()

    def _end(self) -> None:
        """Writes what was traced, once; what a short run has not reached ends with it."""
        atexit.unregister(self._end)
        with contextlib.suppress(RuntimeError):  # it has ended
            jax.profiler.stop_trace()
            print(
                f'profile: {self._where}; https://ui.perfetto.dev and `xprof --logdir` open it',
                flush=True,
            )


@functools.lru_cache(maxsize=8)
def _profile(where: pathlib.Path, steps: int) -> _Profile:
    """One per workdir, whose chunks are runs of their own."""
    return _Profile(where, steps)
