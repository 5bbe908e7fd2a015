"""Machines that programs are compiled for without being there: TPU slices and NVIDIA cards.

A TPU's compiler comes with libtpu (`pip install '.[tpu]'`), a card's with JAX's CUDA plug-in (`pip
install '.[cuda-aot]'`, Linux). Neither needs the hardware. The figures of chips are their vendors':
TPU v5e, v5p and v6e at https://cloud.google.com/tpu/docs, H100 SXM's at NVIDIA's data sheet; clocks
follow from the peak and the size of the matrix units.
"""

import importlib.metadata
import importlib.util
import os
import re
from typing import Any, NamedTuple

import jax

from jaxdd import parallel

NAMES = ('v5e:1x1', 'v5e:2x4', 'v5e:8x8', 'v5p:2x2x2', 'v6e:2x4', 'h100:1', 'h100:8')


class Chip(NamedTuple):
    """One accelerator."""

    platform: str  # JAX's name
    memory: float  # bytes
    per_cycle: int | None  # FLOPs of a cycle of its matrix units, bfloat16
    clock: float | None  # Hz


CHIPS = {
    'v5e': Chip('tpu', 16e9, 4 * 128 * 128 * 2, 1.5e9),
    'v5p': Chip('tpu', 95e9, 8 * 128 * 128 * 2, 1.75e9),
    'v6e': Chip('tpu', 32e9, 4 * 256 * 256 * 2, 1.75e9),
    'h100': Chip('cuda', 80e9, None, None),
}
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84978434048 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 8 patch: 0 } runtime_version { major: 12 minor: 9 patch: 0 }
"""
# libtpu asks a machine that is not there, and refuses a second process, unless it is told not to
QUIET = {
    'TPU_SKIP_MDS_QUERY': '1',
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    'TPU_ACCELERATOR_TYPE': 'v5litepod-16',
    'TPU_MIN_LOG_LEVEL': '3',
    'JAX_SKIP_CUDA_CONSTRAINTS_CHECK': '1',
    # there is no card to try kernels on, and of Triton's products some need that
    'XLA_FLAGS': '--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false',
}
EXTRAS = {'tpu': ('libtpu', 'tpu'), 'cuda': ('jax_cuda12_plugin', 'cuda-aot')}


class Target(NamedTuple):
    """A machine by its name: its chip, and all of its chips as a mesh."""

    name: str
    chip: Chip
    mesh: Any  # of `parallel`


def find(name: str) -> Target:
    """A machine by its name.

    Args:
        name: a TPU slice such as 'v5e:2x4' (any size that libtpu knows), or 'h100:<cards>'.

    Raises:
        ValueError: an unknown name, or a compiler that is not installed.
    """
    kind, _, size = name.partition(':')
    if kind not in CHIPS or not re.fullmatch(r'\d+(x\d+)*', size):
        raise ValueError(
            f'unknown target {name!r}; known are {", ".join(NAMES)}, and other sizes of these chips'
        )
    chip = CHIPS[kind]
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    require(chip.platform)
    try:
        return Target(name, chip, parallel.described(chip.platform, **_described(kind, size)))
    except Exception as error:  # of many kinds
        raise ValueError(f'no target {name}: {str(error).splitlines()[0]}') from error


def require(platform: str) -> None:
    """Refuses a platform whose compiler is not installed.

    Raises:
        ValueError: says what to install.
    """
    package, extra = EXTRAS[platform]
    library = os.environ.get('TPU_LIBRARY_PATH', '') if platform == 'tpu' else ''
    if importlib.util.find_spec(package) is None and not os.path.exists(library):
        raise ValueError(
            f"compiling for {platform} needs its compiler: pip install -e '.[{extra}]' (about "
            f'{"140 MB" if platform == "tpu" else "500 MB"}; no {platform} device is needed)'
        )


def _described(kind: str, size: str) -> dict[str, Any]:
    if kind == 'h100':
        shape = f'1x1x{size}'
        return {'topology_name': shape, 'topology': shape, 'target_config': H100}
    if size == '1x1':
        return {'topology_name': f'{kind}:1x1', 'chips_per_host_bounds': (1, 1, 1)}
    return {'topology_name': f'{kind}:{size}'}


def versions() -> dict[str, str]:
    """Versions of what compiles."""
    found = {'jax': jax.__version__}
    for package, name in (('libtpu', 'libtpu'), ('jax_cuda12_plugin', 'jax-cuda12-plugin')):
        if importlib.util.find_spec(package):
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = 'unknown'
    return found
