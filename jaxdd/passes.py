"""Passes over a batch in parts: what fits a CPU's cache, or what fits into memory."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxdd import parallel
from jaxdd.parallel import AXIS
from jaxdd.types import Array, PyTree

_WORTH_CHUNKING = 16 * 32 * 32 * 3  # numbers in a batch of images; less fits the cache anyway


def each(function: Callable[..., PyTree], *args: PyTree) -> PyTree:
    """Maps over the leading axis.

    CPUs run one compiled body after the other, accelerators all at once.

    On a CPU `vmap` would compute every branch of a switch and keep all the temporaries; an
    accelerator wants the width.
    """
    if parallel.on_cpu():
        return jax.lax.map(lambda one: function(*one), args)
    return jax.vmap(function)(*args)


def chunked(
    function: Callable[[Array], PyTree], batch: Array, *, per_device: int = 8, least: int = 4
) -> PyTree:
    """Applies a function of independent images `[N, ...]`.

    On CPUs it goes in chunks that stay in the cache.

    Several times faster on a CPU, whose caches hold what a few images need; accelerators take the
    whole batch at once.

    Args:
        function: `[m, ...]` -> tree of arrays `[m, ...]`, each row from its own image alone.
        batch: `[N, ...]`, may be split among the devices.
        per_device: most images per chunk and device.
        least: fewest; a batch that does not divide into such chunks stays whole.
    """
    chunk = _chunk(batch.shape[0], per_device, least)
    if chunk is None:
        return function(batch)
    return jax.tree.map(_joined, jax.lax.map(function, _rows(batch, chunk)))


def microbatched(
    function: Callable[[Array], tuple[PyTree, PyTree]], batch: Array, *, per_device: int
) -> tuple[PyTree, list[PyTree]]:
    """Applies a function to a large batch a part at a time, and again in the backward pass.

    That saves memory.

    Full parts go through one compiled body, what is left of the batch through another. The rest is
    divided among the devices even where it does not divide: else each device would hold all of it,
    which may be more than a part.

    Args:
        function: `[m, ...]` -> (tree of arrays `[m, ...]`, each row from its own image alone;
            another tree).
        batch: `[N, ...]`, may be split among the devices.
        per_device: most images per part and device.

    Returns:
        The first tree, rows in the order of the batch; the second once per size of part, full parts
        first, with the parts of that size stacked in front.

    Raises:
        ValueError: `per_device` below 1.
    """
    if per_device < 1:
        raise ValueError(f'a part must hold at least 1 image per device, got {per_device}')
    again, rest = jax.checkpoint(function), batch.shape[0] % (parallel.num_devices() * per_device)
    if not rest:
        rows, others = jax.lax.map(again, _rows(batch, per_device))
        return jax.tree.map(_joined, rows), [others]
    if rest == batch.shape[0]:
        rows, others = parallel.shard_map_uneven(again, batch, least=0)
        return rows, [jax.tree.map(lambda x: jnp.asarray(x)[None], others)]
    full, last = (
        microbatched(function, part, per_device=per_device)
        for part in (batch[:-rest], batch[-rest:])
    )
    return jax.tree.map(lambda *rows: jnp.concatenate(rows), full[0], last[0]), full[1] + last[1]


def chunked_sum(
    function: Callable[..., PyTree],
    *batch: Array,
    whole: Sequence[PyTree] = (),
    per_device: int = 5,
    least: int = 4,
) -> PyTree:
    """Adds up what a function that sums over independent images gives.

    On CPUs the chunks stay in the cache.

    For gradients of a sum over images: the one of ConvNet-3 to its weights takes 1.4 ms per image
    on a CPU core, in chunks of 16 images 2.0, in batches of 64 3.6. Accelerators, and small
    batches, go through at once.

    Args:
        function: (arrays `[m, ...]`, *whole) -> tree of arrays that are sums over the m images.
        batch: arrays `[N, ...]` with one row per image, may be split among the devices; the first
            holds the images.
        whole: what every chunk needs; what `function` closes over cannot be differentiated.
        per_device, least: most and fewest images per chunk and device, as for `chunked`.
    """
    chunk = _chunk(batch[0].shape[0], per_device, least)
    if chunk is None or batch[0].size < _WORTH_CHUNKING:
        return function(*batch, *whole)

    def own(batch: tuple[Array, ...], whole: Sequence[PyTree]) -> PyTree:
        rows = tuple(x.reshape(-1, chunk, *x.shape[1:]) for x in batch)
        shapes = jax.eval_shape(function, *(x[0] for x in rows), *whole)
        start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.scan(
            lambda total, row: (jax.tree.map(jnp.add, total, function(*row, *whole)), None),
            start,
            rows,
        )[0]

    if parallel.num_devices() == 1:
        return own(batch, tuple(whole))
    # Every device adds up its own chunks before they meet, once:
    # left to itself, XLA reduces after every chunk.
    where = PartitionSpec(AXIS), PartitionSpec()
    return jax.shard_map(
        lambda *given: jax.lax.psum(own(*given), AXIS),
        in_specs=where,
        out_specs=PartitionSpec(),
        check_vma=False,
    )(batch, tuple(whole))


def _chunk(size: int, per_device: int, least: int) -> int | None:
    """Images per chunk and device; None where the batch had better stay whole."""
    shares = parallel.num_devices()
    share = size // shares
    chunk = max((c for c in range(1, per_device + 1) if share % c == 0), default=1)
    return (
        None if not parallel.on_cpu() or size % shares or chunk < least or chunk == share else chunk
    )


def _rows(x: Array, chunk: int) -> Array:
    """`[N, ...]` -> `[chunks, devices * chunk, ...]`, every device keeping its own rows."""
    shares = parallel.num_devices()
    count = x.shape[0] // (shares * chunk)
    rows = x.reshape(shares, count, chunk, *x.shape[1:]).swapaxes(0, 1)
    return parallel.shard(rows.reshape(count, shares * chunk, *x.shape[1:]), 1)


def _joined(x: Array) -> Array:
    """Undoes `_rows` on what was computed from it:
    `[chunks, devices * chunk, ...]` -> `[N, ...]`."""
    count, rows = x.shape[:2]
    shares = parallel.num_devices()
    return (
        x.reshape(count, shares, rows // shares, *x.shape[2:])
        .swapaxes(0, 1)
        .reshape(count * rows, *x.shape[2:])
    )
