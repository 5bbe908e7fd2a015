"""One process at a time in a folder, by a lock that dies with its process;
and what killed processes left behind.

Processes that compute together count as one: the first of them holds the lock.
"""

import contextlib
import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from jaxdd import hosts

try:
    import fcntl
except ImportError:  # no such locks on this system: nothing is kept out
    fcntl = None

NAME = '.lock'
_FILE = re.compile(r'\..+\.(jsonl?|png|md|npz)\.\d+')  # of `atomic.write_whole`
# of `trees.save_tree`
_FOLDER = re.compile(r'\.(?P<name>.+)\.(?P<kind>new|old)-[^.]+(\.orbax.*)?')


class Taken(ValueError):
    """Another process works in the folder.

    Args:
        folder: which.
        pid: the other process's number as it wrote it down, '' where it has not yet.
    """

    def __init__(self, folder: pathlib.Path, pid: str):
        who = f'process {pid}' if pid else 'another process'
        super().__init__(f'{who} works in {folder}; wait until it ends, or choose another folder')
        self.who = who


@contextlib.contextmanager
def alone(folder: str | os.PathLike, *, name: str = NAME) -> Iterator[None]:
    """Keeps other processes that ask for the same lock out of a folder.

    It ends with the block or the process.

    Args:
        folder: made if missing.
        name: of the lock's file, which stays there and means nothing by itself.

    Raises:
        Taken: another process has it, or this process has it already.
    """
    with contextlib.ExitStack() as held:
        hosts.told(lambda: _take(held, pathlib.Path(folder), name))
        yield


@contextlib.contextmanager
def in_turn(
    folder: str | os.PathLike,
    *,
    should_stop: Callable[[], bool],
    say: Callable[[str], None] = print,
    pause: float = 1.0,
) -> Iterator[bool]:
    """Waits until no other process works in a folder, then as `alone`.

    Args:
        folder: made if missing.
        should_stop: asked while waiting; True ends that.
        say: told once whom one waits for.
        pause: seconds between looks.

    Yields:
        Whether the folder is this process's; False when stopped.
    """
    waits = False
    with contextlib.ExitStack() as held:
        while not should_stop():
            who = hosts.told(lambda: _other(held, pathlib.Path(folder)))
            if who is None:
                yield True
                return
            if not waits:
                say(f'waiting for {who}, which works in {folder}')
            waits = True
            time.sleep(pause)
        yield False


def sweep(folder: str | os.PathLike, *, older_than: float = 0.0) -> None:
    """Removes what killed processes left half done in a folder and the folders in it.

    Of several processes that compute together the first one does.

    A folder that was about to be replaced when the process died gets its place back.

    Args:
        folder: where no other process works, or one that several share.
        older_than: seconds since the last change; for shared folders, longer than any file takes to
            be written.
    """
    hosts.told(lambda: _sweep(pathlib.Path(folder), time.time() - older_than))


def _sweep(folder: pathlib.Path, latest: float) -> None:
    for path in [path for path in folder.rglob('.*') if path.lstat().st_mtime <= latest]:
        if path.is_file() and _FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)
        elif path.is_dir() and (found := _FOLDER.fullmatch(path.name)):
            whole = path.with_name(found['name'])
            if found['kind'] == 'old' and not whole.exists():
                os.replace(path, whole)
            else:
                shutil.rmtree(path, ignore_errors=True)


def _take(held: contextlib.ExitStack, folder: pathlib.Path, name: str) -> None:
    """Locks a folder for as long as `held` is open."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / name).open('a+')
    try:
        _lock(file, folder)
    except Taken:
        file.close()
        raise
    held.enter_context(file)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()


def _other(held: contextlib.ExitStack, folder: pathlib.Path) -> str | None:
    """Who works in a folder; None where it is now this process's."""
    try:
        _take(held, folder, NAME)
    except Taken as other:
        return other.who
    return None


def _lock(file: TextIO, folder: pathlib.Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise Taken(folder, file.read().strip()) from None
    except OSError:  # a file system without locks
        return
