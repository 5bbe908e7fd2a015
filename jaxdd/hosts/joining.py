"""How processes that compute one program find each other."""

import contextlib
import os
import pathlib
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib import util
from typing import Any, NamedTuple

import jax
from jax._src import distributed

from jaxdd.hosts import agreement, ending, service

_MARGIN = 60  # seconds by which JAX's own limits are longer than ours, which have words


class Place(NamedTuple):
    """Where a process stands among those that compute one program."""

    coordinator: str | None = None  # 'ADDRESS:PORT' of process 0
    num_processes: int | None = None
    process_id: int | None = None  # from 0


def join(place: Place = Place(), *, wait: float = 300.0, patience: float = 30.0) -> None:
    """Joins the processes that compute one program, if there are any; alone it does nothing.

    Call it before the first computation. Without a place, the one that a scheduler tells counts: a
    TPU pod with several workers, Slurm with several tasks in the step, Open MPI, GKE, or
    `JAX_COORDINATOR_ADDRESS` with `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`. From then on none
    outlives another by more than `patience`.

    Args:
        place: as the user gave it: all of it or nothing.
        wait: seconds for the others to appear; then the process ends with code 2.
        patience: seconds without a sign of life after which a process counts as gone.

    Raises:
        ValueError: half a place, or one that cannot be.
    """
    found = _whole(place) or told_by_scheduler(os.environ)
    if found is None or found.num_processes == 1:
        return
    # several devices of one CPU process can wait for each other for ever
    jax.config.update('jax_num_cpu_devices', 1)
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    # its signal handler would take the place of the command's (see `Preemption`)
    jax.config.update('jax_enable_preemption_service', False)
    limit = threading.Timer(wait, _lonely, (found, wait))
    limit.daemon = True
    limit.start()
    try:
        with _service_apart(patience):
            jax.distributed.initialize(
                *found,
                initialization_timeout=int(wait + _MARGIN),
                heartbeat_timeout_seconds=int(patience + _MARGIN),
            )
    finally:
        limit.cancel()
    ending.watch(patience)


def told_by_scheduler(environment: Mapping[str, str]) -> Place | None:
    """What the environment says of several processes; None where this one is alone.

    What it does not say, such as Slurm's coordinator, JAX finds out.
    """
    tasks = environment.get('SLURM_STEP_NUM_TASKS') or '1'
    if 'JAX_COORDINATOR_ADDRESS' in environment:
        return _whole(
            Place(
                environment['JAX_COORDINATOR_ADDRESS'],
                *(
                    int(environment[name]) if name in environment else None
                    for name in ('JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')
                ),
            )
        )
    if 'SLURM_STEP_NODELIST' in environment and int(tasks) > 1:
        return Place(num_processes=int(tasks))
    if int(environment.get('OMPI_COMM_WORLD_SIZE', '1')) > 1:
        return Place()
    workers = environment.get('TPU_PROCESS_ADDRESSES', environment.get('TPU_WORKER_HOSTNAMES', ''))
    slices = environment.get('MEGASCALE_NUM_SLICES') or '1'
    if ',' in workers or int(slices) > 1 or (not workers and _workers_of_tpu() > 1):
        return Place()
    return None


def _whole(place: Place) -> Place | None:
    """A place of which every part is given, or None where none is."""
    missing = [name for name, value in place._asdict().items() if value is None]
    if len(missing) == len(place):
        return None
    if missing:
        raise ValueError(
            f'{", ".join(place._fields)} belong together, in an environment as '
            f'JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; missing: '
            f'{", ".join(missing)}'
        )
    host, _, port = str(place.coordinator).rpartition(':')
    if not host or not port.isdigit():
        raise ValueError(
            f'coordinator must be ADDRESS:PORT of process 0, such as 10.0.0.2:9876, got '
            f'{place.coordinator}'
        )
    number, size = place.process_id or 0, place.num_processes or 0
    if not 0 <= number < size:
        raise ValueError(
            f'process_id must be from 0 to num_processes - 1, got {place.process_id} of '
            f'{place.num_processes}'
        )
    return place


def _workers_of_tpu() -> int:
    """Workers of the TPU slice that this machine is part of; 1 where it has no TPU."""
    dev = pathlib.Path('/dev')
    chips = [*dev.glob('accel[0-9]*'), *dev.glob('vfio/[0-9]*')]
    if not chips or util.find_spec('libtpu') is None:
        return 1
    # of a machine with a TPU alone: it asks Google's metadata server
    from jax._src.clusters.cloud_tpu_cluster import GceTpuCluster

    return GceTpuCluster.get_process_count() if GceTpuCluster.is_env_present() else 1


def _lonely(place: Place, wait: float) -> None:
    where = f' at {place.coordinator}' if place.coordinator else ''
    ending.leave(
        2,
        f'error: not all processes met{where} within {wait:g} seconds; start the same command on '
        'every host, each with its own process_id',
    )


@contextlib.contextmanager
def _service_apart(patience: float) -> Iterator[None]:
    """Lets JAX start its service as a process of its own (see `service`)."""
    module: Any = getattr(distributed, '_jax', None)
    inside = getattr(module, 'get_distributed_runtime_service', None)
    if inside is None:  # another JAX; then the loss of process 0 has no words
        yield
        return

    def started(*args: Any, **options: Any) -> Any:
        try:
            return service.Apart(*args, grace=2 * patience + 10, **options)
        except service.Unavailable:
            return inside(*args, **options)

    module.get_distributed_runtime_service = started
    try:
        yield
    finally:
        module.get_distributed_runtime_service = inside


def greet(words: str) -> None:
    """Says who this process is and what it has; of several, the first alone prints from then on.

    Errors and warnings still come out everywhere.

    Args:
        words: that follow.
    """
    if agreement.count() == 1:
        return
    print(f'process {agreement.index()} of {agreement.count()}: {words}', flush=True)
    if not agreement.first():
        sys.stdout = open(os.devnull, 'w')
