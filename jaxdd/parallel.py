"""Devices: the only module that knows them.

The library is data-parallel through `jax.jit` over an ambient mesh with one axis, `'data'`. Code
marks an array axis that may be divided with `shard`; XLA inserts the reductions, so losses never
see a device. Without a mesh every function here leaves its argument alone.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxdd.hosts.processor import start as start
from jaxdd.types import Array, PyTree

AXIS = 'data'
# a part of what JAX remembers programs by, so that none is for another platform
_target = jax.make_user_context(None)
# rows per device of an axis that does not divide; sending fewer takes longer than computing all
_WORTH_SHARING = 4


def mesh(num_devices: int | None = None) -> Mesh:
    """A mesh of all devices (or the first `num_devices`) with the one axis 'data'.

    Raises:
        ValueError: more devices asked for than there are.
    """
    devices = jax.devices()
    if num_devices is not None and not 1 <= num_devices <= len(devices):
        raise ValueError(
            f'num_devices must be between 1 and {len(devices)}, the devices here, got {num_devices}'
        )
    if jax.process_count() > 1 and num_devices not in (None, len(devices)):
        raise ValueError(
            f'several processes use all of their {len(devices)} devices, got num_devices '
            f'{num_devices}; leave it out, or start fewer processes'
        )
    return jax.make_mesh(
        (num_devices or len(devices),),
        (AXIS,),
        axis_types=(AxisType.Auto,),
        devices=devices[:num_devices],
    )


def described(platform: str, **topology: Any) -> Mesh:
    """A mesh of accelerators that are not here, as `mesh` would make it there.

    Programs are compiled for it, with the platform's own compiler, and not run.

    Args:
        platform: 'tpu' or 'cuda'.
        topology: what the compiler asks for, as in `jax.experimental.topologies.get_topology_desc`.
    """
    found = topologies.get_topology_desc(platform=platform, **topology).devices
    return Mesh(np.array(found), (AXIS,), axis_types=(AxisType.Auto,))


def hosts(which: Mesh) -> int:
    """Machines that the devices of a mesh belong to."""
    return len({device.process_index for device in which.devices.flat})


def use(which: Mesh | None) -> contextlib.AbstractContextManager:
    """Makes a mesh the ambient one inside a `with` block; None leaves everything on one device."""
    return contextlib.nullcontext() if which is None else jax.set_mesh(which)


def shard(x: Array, axis: int = 0) -> Array:
    """Divides one axis of `x` among the devices of the ambient mesh.

    A no-op without a mesh and where the axis length is not a multiple of the number of devices
    (then every device computes the whole: the same value, no gain). Works inside and outside jit.
    """
    size = num_devices()
    if size == 1 or x.shape[axis] % size:
        return x
    where = PartitionSpec(*[None] * axis, AXIS)
    if isinstance(x, jax.core.Tracer):
        return jax.lax.with_sharding_constraint(x, where)
    return _put(x, NamedSharding(jax.sharding.get_mesh(), where))


def replicate(tree: PyTree) -> PyTree:
    """Keeps a whole copy of every array of `tree` on each device of the ambient mesh.

    It works inside and outside jit.
    """
    if not _has_axis():
        return tree
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, PartitionSpec()), tree)
    return _put(tree, NamedSharding(jax.sharding.get_mesh(), PartitionSpec()))


def sent(tree: PyTree) -> PyTree:
    """What the host holds, on every device of the ambient mesh, or on the one that there is.

    It is sent on purpose: a guard against transfers that nobody asked for lets it pass.
    """
    return replicate(tree) if _has_axis() else jax.device_put(tree)


def _put(tree: PyTree, where: NamedSharding) -> PyTree:
    """Lays arrays on devices, of other processes too: each of these gives its own devices' part of
    what all of them have."""
    if where.is_fully_addressable:
        return jax.device_put(tree, where)

    def one(x: Array) -> Array:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:  # it lies on all of them
            return _moved(x, where)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            drawn = one(jax.random.key_data(x))
            return jax.random.wrap_key_data(drawn, impl=jax.random.key_impl(x))
        own = np.asarray(jax.device_get(x))
        return jax.make_array_from_callback(own.shape, where, lambda part: own[part])

    return jax.tree.map(one, tree)


def fetched(x: Array) -> np.ndarray:
    """An array as this process holds it, even where it is divided among several processes.

    All of them must ask.
    """
    if not x.is_fully_addressable and not x.is_fully_replicated:
        x = _moved(x, NamedSharding(jax.sharding.get_mesh(), PartitionSpec()))
    return np.asarray(x)


@functools.partial(jax.jit, static_argnums=1)
def _moved(x: Array, where: NamedSharding) -> Array:
    return jax.lax.with_sharding_constraint(x, where)


def host() -> contextlib.AbstractContextManager:
    """Lets a thread that feeds the devices draw on the host's processor.

    No training step is in its way there.
    """
    try:
        return jax.default_device(jax.local_devices(backend='cpu')[0])
    except RuntimeError:  # the user has switched that backend off
        return contextlib.nullcontext()


def own_rows(size: int) -> np.ndarray:
    """Which rows of a divided axis of length `size` this process supplies to `assemble`:
    those of its own devices.

    All of them without a mesh, in a single process, and where `shard` would leave the axis whole.
    """
    if num_devices() == 1:
        return np.arange(size)
    return process_rows(
        size, [d.process_index for d in jax.sharding.get_mesh().devices.flat], jax.process_index()
    )


def process_rows(size: int, owners: Sequence[int], process: int) -> np.ndarray:
    """Which rows of an axis lie on one process's devices when all devices divide it evenly.

    Args:
        size: rows.
        owners: for each device, in the order of the mesh, the process that it belongs to.
        process: whose rows.

    Returns:
        Ascending indices; all of 0..size-1 where `size` is not a multiple of the number of devices.
    """
    if size % len(owners):
        return np.arange(size)
    return np.flatnonzero(np.repeat(np.asarray(owners) == process, size // len(owners)))


def assemble(rows: np.ndarray, size: int, axis: int = 0) -> Array:
    """The array of which every process holds some rows, divided among the devices as by `shard`.

    Args:
        rows: this process's part, those of `own_rows(size)` along `axis`.
        size: length of `axis` over all processes.
        axis: which one is divided.
    """
    devices = num_devices()
    if devices == 1:
        return jax.device_put(rows)
    where = PartitionSpec() if size % devices else PartitionSpec(*[None] * axis, AXIS)
    shape = (*rows.shape[:axis], size, *rows.shape[axis + 1 :])
    return jax.make_array_from_process_local_data(
        NamedSharding(jax.sharding.get_mesh(), where), rows, shape
    )


def on_cpu() -> bool:
    """Whether computations run on CPU devices, or are lowered as if they did (`lowering_for`)."""
    return (_target.value or jax.default_backend()) == 'cpu'


def lowering_for(platform: str) -> contextlib.AbstractContextManager:
    """Traces the programs of a block as this platform would be given them.

    They are there to be compiled and counted, not to be run.     What was compiled outside is traced anew inside, and the other way round. The block counts for its own thread.

    Args:
        platform: 'cpu', or anything else for an accelerator.
    """  # noqa: E501
    return _target(platform)


def memory() -> int:
    """Bytes of memory that all devices have together; on a CPU those of the host."""
    # another host's do not tell
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if on_cpu() or not all('bytes_limit' in one for one in stats):
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return sum(one['bytes_limit'] for one in stats) * jax.process_count()


def here() -> str:
    """How many devices this process has, of those that all have."""
    return f'{jax.local_device_count()} of {jax.device_count()} devices'


def hardware() -> str:
    """The devices of the ambient mesh in words, for records: e.g. '2 x cpu'."""
    return f'{num_devices()} x {jax.devices()[0].device_kind}'


def _has_axis() -> bool:
    ambient = jax.sharding.get_abstract_mesh()
    return AXIS in ambient.axis_names and ambient._name_to_type[AXIS] == AxisType.Auto


def num_devices() -> int:
    """Devices of the ambient mesh; 1 without one."""
    return jax.sharding.get_abstract_mesh().shape[AXIS] if _has_axis() else 1


def shard_uneven(x: Array, axis: int = 0, *, least: int = _WORTH_SHARING) -> Array:
    """Shards an axis inside jit even if its length is not a multiple of the device count.

    As `shard`; elsewhere XLA pads: of 100 images 8 devices compute 13 each, and what pads the last
    of them enters no sum. Fewer than `least` rows per device stay whole, and everything outside a
    program.

    Args:
        x: any array.
        axis: which one is divided.
        least: rows per device that are worth sending; 0 where memory counts.
    """
    devices = num_devices()
    if devices == 1 or not isinstance(x, jax.core.Tracer) or x.shape[axis] < least * devices:
        return shard(x, axis)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*[None] * axis, AXIS))


def shard_map_uneven(
    function: Callable[[Array], PyTree], batch: Array, *, least: int = _WORTH_SHARING
) -> PyTree:
    """Applies a function of independent images `[N, ...]`, divided as by `shard_uneven`.

    Where N is no multiple of the devices their parts are put together before anything else happens,
    and so is the gradient: no later axis would divide at the same places, and XLA would send more
    to find a compromise.

    Args:
        function: `[N, ...]` -> tree of arrays `[N, ...]`, each row from its own image alone, or
            reduced over them.
        batch: `[N, ...]`.
        least: as in `shard_uneven`.
    """
    if batch.shape[0] % num_devices() == 0:
        return function(shard(batch))
    return replicate(function(shard_uneven(replicate(batch), least=least)))


def shard_map_rows(function: Callable[..., PyTree], rows: PyTree, *whole: PyTree) -> PyTree:
    """Each device processes its own rows without communication.

    Where the rows do not divide, the last one is computed again: 5 rows keep 8 devices busy for as
    long as 8 rows do. A single row is left to what divides inside the function.

    Args:
        function: (arrays `[m, ...]`, *whole) -> tree of arrays `[m, ...]`, each row from its own
            row alone.
        rows: arrays `[N, ...]`.
        whole: what every device needs.
    """
    devices, count = num_devices(), jax.tree.leaves(rows)[0].shape[0]
    if devices == 1 or count == 1:
        return function(rows, *whole)
    index = jnp.minimum(jnp.arange(-(-count // devices) * devices), count - 1)
    where = PartitionSpec(AXIS), *[PartitionSpec()] * len(whole)
    found = jax.shard_map(function, in_specs=where, out_specs=PartitionSpec(AXIS), check_vma=False)(
        jax.tree.map(lambda x: x[index], rows), *whole
    )
    return jax.tree.map(lambda x: x[:count], found)
