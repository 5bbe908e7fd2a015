"""Where a command works: its devices, its folders, and nobody else in them."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from experiments.configs import Config
from experiments.stages import jobs, outputs
from experiments.stages.progress import StopSignal
from experiments.stages.scores import Stop
from jaxdd import models, parallel
from jaxdd.storage import locks
from jaxdd.storage.atomic import expanded

SHARED = 3600  # seconds after which a half-written file in a shared folder is nobody's any more


def begun(stop: Stop | None) -> Stop:
    """What says that a command shall end; without one, a process of its own that SIGTERM and SIGINT
    end, whose devices are set up now."""
    if stop is not None:
        return stop
    signal = StopSignal()
    parallel.start()
    return signal


@contextlib.contextmanager
def entered(config: Config) -> Iterator[pathlib.Path]:
    """The workdir of a configuration, alone in it and on all of its devices.

    Half-written files of killed commands are removed.

    Raises:
        ValueError: the workdir or the cache cannot be written, or another process works there.
    """
    workdir = expanded(config.workdir)
    outputs.require_writable(workdir, 'workdir')
    outputs.require_writable(jobs.cache(config), 'cache_dir')
    with locks.alone(workdir) if parallel.first_process() else contextlib.nullcontext():
        locks.sweep(workdir)
        for kind in jobs.real_rows(config):
            locks.sweep(jobs.cache(config) / kind, older_than=SHARED)
        with computing(config):
            yield workdir


@contextlib.contextmanager
def computing(options: Any) -> Iterator[None]:
    """On which devices, and in which precision, a block computes.

    Args:
        options: a record with `num_devices` and `precision`.

    Raises:
        ValueError: more devices asked for than there are.
    """
    with (
        parallel.use(parallel.mesh(options.num_devices)),
        models.precision(jobs.precision(options)),
    ):
        yield
