"""Paths as a user writes them, and files that are whole or absent."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from jaxdd import hosts


def expanded(path: str | os.PathLike) -> pathlib.Path:
    """A path with `~` and `~user` replaced by the home folder.

    Raises:
        ValueError: nobody knows that user's home.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f'{os.fspath(path)}: no home folder of that name is known; write the folder out'
        ) from error


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Adds the file's name to an error of the disk:
    a full one does not say which file it refused."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # in words of its own
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file through a temporary sibling, so that no reader ever sees a part of it.

    Of several processes the first one writes.

    Args:
        path: the file; parents are made.
        content: all of it.

    Raises:
        OSError: the disk refused; names the file. An older one is untouched.
    """
    if not hosts.first():
        return
    path = pathlib.Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
