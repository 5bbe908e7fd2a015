"""Files that are whole or absent."""
import os
import pathlib


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file through a temporary sibling, so that no reader ever sees a part of it.

    Args:
        path: the file; parents are made.
        content: all of it.

    Raises:
        OSError: the disk refused; an older file is untouched.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
