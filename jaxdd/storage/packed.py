"""A tree as Orbax stores it: its leaves, and the record that describes them.

Beside its arrays a stored tree carries shape, dtype and CRC-32 of each leaf, the caller's facts,
whose run it is, and a checksum of all that. Orbax alone casts a wrong dtype silently and returns
wrong numbers when bytes inside an array file have changed.
"""

import logging
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxdd import hosts, parallel
from jaxdd.storage import leaves, records
from jaxdd.storage.fingerprint import differences, fingerprint, plain
from jaxdd.types import Array, PyTree


def pack(tree: PyTree, extra: Mapping[str, Any], config: str | None = None) -> ocp.args.Composite:
    """What Orbax is to store: copies of the leaves, and the record that describes them.

    Args:
        config: fingerprint of the run that they belong to; None = of no run.
    """
    arrays, about = leaves.copied(tree)
    if hosts.count() > 1:  # Orbax stores nothing that is one process's own
        arrays = parallel.replicate(arrays)
    record = {'leaves': about, 'extra': plain(extra, 'extra'), 'config': config}
    return ocp.args.Composite(
        arrays=ocp.args.StandardSave(arrays or {'none': jnp.zeros(1)}),
        record=ocp.args.JsonSave({**record, records.CHECKSUM: fingerprint(record)}),
    )


def _abstract(like: PyTree) -> dict[str, jax.ShapeDtypeStruct | Array]:
    """What Orbax is to give back, as `like` has it; empty leaves were never stored."""
    none = parallel.replicate(jnp.zeros(1)) if hosts.count() > 1 else jnp.zeros(1)

    def placed(leaf: Any) -> jax.sharding.Sharding:
        own = getattr(leaf, 'sharding', None)
        alone = hosts.count() == 1
        return own if own is not None and (alone or not own.is_fully_addressable) else none.sharding

    arrays = [
        (name, leaves.as_array(leaf))
        for name, leaf in leaves.named(like)
        if math.prod(np.shape(leaf))
    ]
    return {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed(leaf))
        for name, leaf in arrays
    } or {'none': none}


def read(
    restore: Callable[[ocp.args.Composite], Any],
    like: PyTree,
    config: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[PyTree, dict[str, Any]]:
    """Restores through `restore(Composite) -> Composite`:
    the record, then exactly the arrays it names."""
    record = leaves.believed(
        restore(ocp.args.Composite(record=ocp.args.JsonRestore())).record, config
    )
    if metadata is not None and (other := differences(record['extra'], metadata)):
        raise leaves.Different('; '.join(other))
    leaves.compare(record['leaves'], like)
    arrays = restore(ocp.args.Composite(arrays=ocp.args.StandardRestore(_abstract(like)))).arrays
    return leaves.rebuilt(record['leaves'], arrays, like), record['extra']


def reason(error: Exception) -> str:
    """What went wrong, in one line: the disk's own words where Orbax quotes them."""
    text = ' '.join(str(error).split())
    # tensorstore says it at the end of a long line
    cause = re.search(r': ([^:\[]+) \[os_error', text)
    return f'{type(error).__name__}: {cause.group(1) if cause else text[:200]}'


def _not_a_thread_of_orbax(record: logging.LogRecord) -> bool:
    """What Orbax's threads log about a failing disk:
    the same failure reaches the caller as one OSError."""
    return not (record.exc_info and 'orbax' in f'{record.pathname} {record.getMessage()}')


def _without_closed_loops(hook: Callable[[Any], Any]) -> Callable[[Any], None]:
    """What writes that were under way say when another one of the same save has failed:
    their event loop is gone."""

    def told(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == 'Event loop is closed'):
            hook(unraisable)

    return told


for name in ('absl', 'asyncio'):
    logging.getLogger(name).addFilter(_not_a_thread_of_orbax)
sys.unraisablehook = _without_closed_loops(sys.unraisablehook)
