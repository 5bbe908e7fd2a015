"""What the record beside stored arrays says of them:
describing a tree's leaves, comparing, and checking them."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.storage import records
from jaxdd.storage.fingerprint import fingerprint
from jaxdd.types import Array, PyTree


class Different(ValueError):
    """Whole arrays, but of another tree or of another run."""


def named(tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves with their paths as names.

    Raises:
        ValueError: two leaves share a name.
    """
    pairs = [
        (jax.tree_util.keystr(path, simple=True, separator='.') or 'value', leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    if len(dict(pairs)) != len(pairs):
        raise ValueError(
            f'two leaves share a name; rename keys with dots: {[name for name, _ in pairs]}'
        )
    return pairs


def as_array(leaf: Any) -> Any:
    """A number as an array; anything else as it is."""
    return jnp.asarray(leaf) if isinstance(leaf, (bool, int, float)) else leaf


def described(name: str, leaf: Any) -> str:
    """Dtype and shape of a leaf in words.

    Raises:
        ValueError: it is neither an array nor a number.
    """
    leaf = as_array(leaf)
    if not hasattr(leaf, 'shape') or not hasattr(leaf, 'dtype'):
        raise ValueError(
            f'{name}: a checkpoint holds arrays and numbers, got {type(leaf).__name__} {leaf!r}'
        )
    return f'{leaf.dtype}{list(leaf.shape)}'


def checksum(array: Array) -> int | None:
    """CRC-32 of an array's bytes.

    It is None where they are spread over hosts, of which none holds them all.
    """
    typed = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    words = jax.random.key_data(array) if typed else array
    if not (words.is_fully_addressable or words.is_fully_replicated):
        return None
    return zlib.crc32(np.asarray(words).tobytes())


def copied(tree: PyTree) -> tuple[dict[str, Array], dict[str, dict]]:
    """Copies of the leaves (the caller may donate the originals), and what the record says of each.

    Raises:
        ValueError: a leaf that JAX would store as something else.
    """
    arrays, about = {}, {}
    for name, leaf in named(tree):
        kind, array = described(name, leaf), jnp.copy(leaf)
        if described(name, array) != kind:
            raise ValueError(
                f'{name}: {kind} would be stored as {array.dtype}; convert it before saving'
            )
        about[name] = {'kind': kind, 'checksum': checksum(array)}
        if array.size:  # Orbax refuses empty arrays; their shape says it all
            arrays[name] = array
    return arrays, about


def believed(record: dict, config: str | None) -> dict:
    """A record whose checksum is right and that is of the run asked for.

    Args:
        record: as it was read.
        config: fingerprint of the run; None = any.

    Raises:
        ValueError: it has changed since it was saved.
        Different: it is of another run.
    """
    record = dict(record)
    # of the first version, which had checksums of the arrays alone
    if set(record) == {'leaves', 'extra'}:
        return record
    stated = record.pop(records.CHECKSUM, None)
    if set(record) != {'leaves', 'extra', 'config'} or stated != fingerprint(record):
        raise ValueError('the record beside the arrays has changed since it was saved')
    if config is not None and record['config'] != config:
        raise Different(f'it is of the configuration {record["config"]}, this run is {config}')
    return record


def compare(about: dict[str, dict], like: PyTree) -> None:
    """Refuses leaves of other names, shapes or dtypes than those of `like`.

    Raises:
        Different: names the first five.
    """
    stored = {name: leaf['kind'] for name, leaf in about.items()}
    expected = {name: described(name, leaf) for name, leaf in named(like)}
    text = [
        f'{name}: stored {stored.get(name, "nothing")}, expected {expected.get(name, "nothing")}'
        for name in sorted({*stored, *expected})
        if stored.get(name) != expected.get(name)
    ]
    if text:
        raise Different(
            '; '.join(text[:5]) + (f' and {len(text) - 5} more' if len(text) > 5 else '')
        )


def rebuilt(about: dict[str, dict], arrays: dict[str, Array], like: PyTree) -> PyTree:
    """The tree with the structure of `like`, every leaf placed as there.

    Raises:
        ValueError: bytes that have changed since they were saved.
    """
    leaves = []
    for name, leaf in named(like):
        array = arrays[name] if name in arrays else jnp.zeros(leaf.shape, leaf.dtype)
        found, stored = checksum(array), about[name]['checksum']
        if found != stored and None not in (found, stored):
            raise ValueError(f'the bytes of {name} have changed since they were saved')
        leaves.append(
            type(leaf)(array) if isinstance(leaf, (bool, int, float)) else _placed(array, leaf)
        )
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _placed(array: Array, leaf: Any) -> Array:
    """Uncommitted like `leaf`: jit refuses arrays pinned to one device beside arrays spread over a
    mesh."""
    if getattr(leaf, 'committed', True):
        return array
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        words = jnp.asarray(np.asarray(jax.random.key_data(array)))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(array))
    return jnp.asarray(np.asarray(array))
