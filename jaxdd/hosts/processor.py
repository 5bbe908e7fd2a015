"""What a host's own processor offers as devices."""

import os
import re

import jax

_THREADS_PER_SIMULATED_DEVICE = 32


def start(*, cpu_devices: int | None = None) -> None:
    """Gives a CPU host one device per core, which uses the cores better than XLA's own threads do.

    Call it before the first computation; accelerators are not affected.

    Args:
        cpu_devices: number of devices; by default what the user's environment says
            (`JAX_NUM_CPU_DEVICES`, or `--xla_force_host_platform_device_count` in `XLA_FLAGS`),
            else the largest power of two within the usable cores, at most 8.
    """
    cores = min(
        len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1, 8
    )
    count = cpu_devices or _asked_for() or 2 ** (cores.bit_length() - 1)
    jax.config.update('jax_num_cpu_devices', count)
    # XLA cuts every kernel into as many pieces as it has threads: more threads than cores make a
    # step up to twice as long. Devices that share a core are there for tests and block a thread
    # each while they wait for the others.
    os.environ.setdefault(
        'PJRT_NPROC', str(count if count <= cores else _THREADS_PER_SIMULATED_DEVICE * count)
    )


def _asked_for() -> int | None:
    """CPU devices that the user's environment asks for."""
    flag = re.search(
        r'--xla_force_host_platform_device_count[= ](\d+)', os.environ.get('XLA_FLAGS', '')
    )
    return int(flag[1]) if flag else int(os.environ.get('JAX_NUM_CPU_DEVICES', '0')) or None
