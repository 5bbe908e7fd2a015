"""One tree, such as a trained network, as a folder and back, bit for bit."""

import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import orbax.checkpoint as ocp

from jaxdd import hosts
from jaxdd.storage import leaves, packed, records
from jaxdd.types import PyTree


def save_tree(path: str | os.PathLike, tree: PyTree, metadata: Mapping[str, Any]) -> None:
    """Stores one tree, such as a trained network, as a folder; replaces an older one.

    Args:
        path: the folder to make, parents too; never holds half a tree (written beside it, then
            renamed).
        tree: arrays (typed keys too) and numbers.
        metadata: JSON-able facts about it, for people: the file `record/metadata` holds them under
            'extra'.

    Raises:
        ValueError: a leaf is no array, or the metadata is not JSON.
        OSError: the disk refused; the folder that was there is untouched.
    """
    path = pathlib.Path(path).resolve()
    args = packed.pack(tree, metadata)
    token = os.getpid() if hosts.count() == 1 else 'shared'
    temporary, old = (path.with_name(f'.{path.name}.{kind}-{token}') for kind in ('new', 'old'))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(temporary, args=args, force=True)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(f'could not save {path}: {packed.reason(error)}') from error
    hosts.told(lambda: _replaced(path, temporary, old))


def _replaced(path: pathlib.Path, temporary: pathlib.Path, old: pathlib.Path) -> None:
    if path.exists():
        os.replace(path, old)
    os.replace(temporary, path)
    shutil.rmtree(old, ignore_errors=True)


def load_tree(
    path: str | os.PathLike, like: PyTree, metadata: Mapping[str, Any] | None = None
) -> PyTree | None:
    """Reads what `save_tree` stored, bitwise.

    Args:
        path: the folder.
        like: arrays or `jax.ShapeDtypeStruct`, the shapes, dtypes and (if set) shardings to return.
        metadata: what it must have been stored with; None = anything.

    Returns:
        The tree with the structure of `like`; None if there is no such folder.

    Raises:
        ValueError: the folder is unreadable or corrupt, or holds other names, shapes, dtypes or
            metadata; names them.
    """
    path = pathlib.Path(path).resolve()
    if not hosts.told(path.exists):
        return None
    tree, wrong, cause = None, None, None
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            tree = packed.read(
                lambda args: checkpointer.restore(path, args=args), like, metadata=metadata
            )[0]
    except leaves.Different as error:
        wrong, cause = f'{path} holds another tree: {error}', error
    except Exception as error:
        wrong, cause = f'{path} is unreadable ({packed.reason(error)})', error
    for one in hosts.agreed(wrong):  # what one process cannot read, none of them uses
        if one is not None:
            raise ValueError(one) from cause
    return tree


def recall_tree(
    path: str | os.PathLike,
    like: PyTree,
    metadata: Mapping[str, Any] | None = None,
    *,
    warn: Callable[[str], None] = print,
) -> PyTree | None:
    """Reads what `save_tree` stored.

    A folder that cannot be believed is set aside as if it were not there.

    Args:
        path, like, metadata: as in `load_tree`.
        warn: told one sentence: which folder, what is wrong, where it went.
    """
    try:
        return load_tree(path, like, metadata)
    except ValueError as error:
        warn(f'{error}; {records.set_aside(path)}, and what it held is made again')
        return None
