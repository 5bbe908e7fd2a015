"""Where a command works: its devices, its folders, and nobody else in them."""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from experiments.configs import Config
from experiments.configs.base import Hosts
from experiments.stages import jobs, outputs
from experiments.stages.progress import StopSignal
from experiments.stages.scores import Stop
from jaxdd import hosts, models, parallel
from jaxdd.engine import loop
from jaxdd.storage import locks
from jaxdd.storage.atomic import expanded

SHARED = 3600  # seconds after which a half-written file in a shared folder is nobody's any more


def begun(stop: Stop | None, place: Hosts, folder: str | os.PathLike) -> Stop:
    """What says that a command shall end; without one, a process of its own that SIGTERM and SIGINT
    end, whose devices are set up now, together with those of the other processes. Of several the
    first one prints from then on.

    Args:
        folder: where the command writes, for the greeting of several processes.

    Raises:
        ValueError: half a place among several processes, or one that cannot be.
    """
    if stop is not None:
        return stop
    signal = StopSignal()
    parallel.start()
    where = hosts.Place(place.coordinator, place.num_processes, place.process_id)
    hosts.join(where, patience=place.patience)
    hosts.greet(f'{parallel.here()}, workdir {expanded(folder)}')
    return signal


@contextlib.contextmanager
def entered(config: Config) -> Iterator[pathlib.Path]:
    """The workdir of a configuration, alone in it and on all of its devices.

    Half-written files of killed commands are removed.

    Raises:
        ValueError: the workdir or the cache cannot be written or is another one on another host,
            another process works there, or the processes were not given the same command.
    """
    workdir, cache = expanded(config.workdir), jobs.cache(config)
    hosts.require_alike('the command', _words(config))
    for folder, option in ((workdir, 'workdir'), (cache, 'cache_dir')):
        outputs.require_writable(folder, option)
        hosts.require_shared(folder, option)
    hosts.continues(functools.partial(_continues, workdir))
    with locks.alone(workdir):
        locks.sweep(workdir)
        for kind in jobs.real_rows(config):
            locks.sweep(cache / kind, older_than=SHARED)
        with loop.guarded(config.transfer_guard or 'allow'), computing(config):
            yield workdir


def _continues(workdir: pathlib.Path) -> str:
    """What the same command will do, for who reads why it ended."""
    steps = [int(p.name) for p in (workdir / 'checkpoints').glob('*') if p.name.isdigit()]
    return f'continues from {f"step {max(steps)}" if steps else f"what lies in {workdir}"}'


def _words(config: Config) -> str:
    """What all processes must have been told alike."""
    return str(dataclasses.replace(config, hosts=Hosts()))


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
