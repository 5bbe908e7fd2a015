"""Reads `.npz` files that anybody may have written:
nothing in them is believed before it is checked."""

import math
import os
import zipfile
from collections.abc import Callable, Iterable
from typing import IO, TypeVar

import numpy as np

from jaxdd.storage import seal
from jaxdd.storage.seal import END

DEFLATE = 1032  # no deflated byte becomes more bytes than this
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
T = TypeVar('T')


def read(
    path: str | os.PathLike, names: Iterable[str] | None = None, *, advice: str
) -> dict[str, np.ndarray]:
    """Reads arrays of an `.npz` file, numbers or text; no code of the file runs.

    A header that claims more than the file can hold is refused before anything of that size is
    allocated. Checksums are compared, so that what comes back is what was written; of a sealed file
    (`seal.sealed`) every byte counts.

    Args:
        path: the file.
        names: of the arrays; those that the file lacks are left out. None: all of them.
        advice: what to do where the file is of no use, the end of every message.

    Returns:
        The arrays by name.

    Raises:
        ValueError: no such file, no `.npz` file, a damaged one, or an array that is none, holds
            Python objects or does not fit into memory. Names the file, the array and the reason.
    """
    wanted = None if names is None else set(names)
    with _opened(path, advice) as archive:
        for entry in archive.infolist():
            failed = f'{path}: {_name(entry)} cannot be read'
            _attempt(failed, advice, _check_entry, path, archive, entry)
        return {
            _name(entry): _attempt(
                f'{path}: {_name(entry)} cannot be read', advice, _array, archive, entry
            )
            for entry in archive.infolist()
            if wanted is None or _name(entry) in wanted
        }


def names(path: str | os.PathLike, *, advice: str) -> list[str]:
    """Lists the arrays of an `.npz` file.

    Raises:
        ValueError: as `read`.
    """
    with _opened(path, advice) as archive:
        return [_name(entry) for entry in archive.infolist()]


def _opened(path: str | os.PathLike, advice: str) -> zipfile.ZipFile:
    if not os.path.lexists(path):
        raise ValueError(f'{path} does not exist; {advice}')
    return _attempt(f'{path} cannot be read as npz', advice, _whole, path)


def _whole(path: str | os.PathLike) -> zipfile.ZipFile:
    """A zip file that fits its seal, if it has one, and whose directory lists as many entries as
    its end counts: a damaged directory hides some silently."""
    archive = zipfile.ZipFile(path)
    try:
        with open(path, 'rb') as file:
            seal.check(file, archive)
            file.seek(-END.size - len(archive.comment), os.SEEK_END)
            counted = END.unpack(file.read(END.size))[4]
        if counted != len(archive.infolist()):
            raise ValueError(f'it counts {counted} arrays, but lists {len(archive.infolist())}')
    except ValueError:
        archive.close()
        raise
    return archive


def _attempt(failed: str, advice: str, function: Callable[..., T], *args) -> T:
    """The result of a function; whatever it raises becomes one ValueError."""
    try:
        return function(*args)
    except Exception as error:
        # a damaged file shows in a dozen ways, from zlib.error to UnicodeDecodeError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(f'{failed} ({reason or type(error).__name__}); {advice}') from error


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix('.npy')


def _check_entry(path: str | os.PathLike, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Opens an array without reading it:
    names in the file and in its directory must agree, sizes must be possible."""
    stored = entry.compress_size
    growth = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE}.get(
        entry.compress_type, math.inf
    )
    if stored > os.path.getsize(path) or entry.file_size > stored * growth:
        raise ValueError(f'it claims {entry.file_size:,} bytes, more than are stored')
    # Python 3.13 refuses impossible sizes here too, in words of its own
    archive.open(entry).close()


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as stream:
        shape, dtype = _header(stream)
        claimed = stream.tell() + math.prod(shape) * dtype.itemsize
    if claimed != entry.file_size:
        raise ValueError(
            f'its header claims an array {shape} of {dtype}, {claimed:,} bytes, where the file '
            f'holds {entry.file_size:,}'
        )
    with archive.open(entry) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read(1)  # at the end of the entry its checksum is compared
    return array


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type that an array claims to have."""
    try:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(stream)](stream)
    except Exception as error:
        # NumPy's advice for what it cannot read is to trust the file, which nobody should
        raise ValueError('it is no array of numbers or text') from error
    if dtype.hasobject:
        raise ValueError(
            'it holds Python objects, which are never loaded: store it as an array of numbers or '
            'text'
        )
    return shape, dtype
