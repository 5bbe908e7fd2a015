"""A checksum of a whole zip file in the file's own comment: any byte that changed is found."""

import hashlib
import os
import struct
import zipfile
from typing import IO

MARK = b'sha256:'
SIZE = len(MARK) + 64  # bytes of a seal
END = struct.Struct('<4s4H2LH')  # of a zip file, before its comment
SIGNATURE = b'PK\x05\x06'
_BLOCK = 2**20


def sealed(content: bytes) -> bytes:
    """A zip file without a comment, with its seal: every reader of zip files reads it as before.

    Raises:
        ValueError: the content is no zip file, or has a comment.
    """
    if len(content) < END.size or END.unpack(content[-END.size :])[::7] != (SIGNATURE, 0):
        raise ValueError('only a zip file without a comment can be sealed')
    covered = content[:-2] + struct.pack('<H', SIZE)
    return covered + MARK + hashlib.sha256(covered).hexdigest().encode()


def check(file: IO[bytes], archive: zipfile.ZipFile) -> None:
    """Refuses a file whose seal does not fit it; one that carries none is not sealed.

    Args:
        file: opened for reading.
        archive: the same file, as zip reads it.

    Raises:
        ValueError: the end of the file is not where it says, its comment is no seal, or a byte
            differs from what was sealed.
    """
    comment = archive.comment
    file.seek(0, os.SEEK_END)
    start = file.tell() - len(comment)
    file.seek(start - END.size)
    end = END.unpack(file.read(END.size))
    if end[0] != SIGNATURE or end[-1] != len(comment):
        raise ValueError('bytes follow where it should end')
    if not comment:
        return
    if len(comment) != SIZE or not comment.startswith(MARK):
        raise ValueError(f'its comment is no checksum, but {comment[:80]!r}')
    if comment != MARK + _digest(file, start).encode():
        raise ValueError('its bytes are not those that were sealed: at least one has changed')


def _digest(file: IO[bytes], size: int) -> str:
    file.seek(0)
    found = hashlib.sha256()
    while size:
        block = file.read(min(size, _BLOCK))
        found.update(block)
        size -= len(block)
    return found.hexdigest()
