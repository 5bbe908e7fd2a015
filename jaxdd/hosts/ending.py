"""How several processes end: all of them, soon, and with a sentence.

Each gives a sign of life every second and looks at those of the others. JAX has a watch of its own,
which aborts without words; this one is quicker.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

import jax

from jaxdd.hosts import agreement

GONE = 4  # exit code where another process is gone
FAILED = 2
INTERRUPTED = 130  # as shells have it
ORDERLY = (0, 3)  # done, and stopped on request
_BROKEN = (jax.errors.JaxRuntimeError, OSError)
_SOON = 6.0  # seconds without a sign of life that are enough once a connection has broken
_FAREWELL = 10.0  # seconds that a failing process waits for the others to have heard of it
_PERIOD = 1.0

_leaving = threading.Lock()


class _Watch:
    """What this process knows of the others."""

    def __init__(self, patience: float):
        self.patience = patience
        self.continued = lambda: 'continues'
        self.message = ''  # why this process fails
        self._over = threading.Event()  # the command has ended in all of them
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._call, self._judge)]
        self.answered = time.monotonic()  # when the service last did
        self._failed: dict[int, str] = {}  # of the others, and why
        self._seen = {i: ('', time.monotonic()) for i in range(agreement.count())}

    def begin(self) -> None:
        """Looks after the others from now on."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Looks after them no longer."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _pause(self) -> None:
        self._over.wait(min(_PERIOD, self.patience / 10))

    def _call(self) -> None:
        """Gives signs of life, and notes those of the others."""
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                agreement.say('alive', str(number))
                self._note(agreement.heard('alive'), agreement.heard('failed'))
                for work in _works:
                    work()
            except jax.errors.JaxRuntimeError:
                pass  # who judges sees that nothing is noted
            self._pause()

    def _judge(self) -> None:
        """Ends this process where another one is gone or has failed."""
        while not self._over.is_set():
            self._pause()
            for i in self.gone():
                leave(
                    GONE,
                    f'process {i} is gone; the same command, also with fewer processes, '
                    f'{self.continued()}',
                )
            for i, message in self._failed.items():
                agreement.say('left', '')
                leave(FAILED, f'error: process {i}: {message}')

    def gone(self) -> list[int]:
        """The processes without a sign of life for too long; process 0 where nobody answers."""
        now = time.monotonic()
        if now - self.answered > self.patience:
            return [0]
        return [
            i
            for i, (_, since) in self._seen.items()
            if now - since > self.patience and i != agreement.index()
        ]

    def _note(self, alive: dict[int, str], failed: dict[int, str]) -> None:
        self.answered = now = time.monotonic()
        for i, sign in alive.items():
            if self._seen[i][0] != sign:
                self._seen[i] = sign, now
        self._failed = {i: why for i, why in failed.items() if i != agreement.index()}


_watch: _Watch | None = None
_works: list[Callable[[], None]] = []


def regularly(work: Callable[[], None]) -> None:
    """Has a function called about every second, in a thread, while several processes compute."""
    _works.append(work)


def watch(patience: float) -> None:
    """Begins to look after the other processes.

    Args:
        patience: seconds without a sign of life after which one counts as gone.
    """
    global _watch
    _watch = _Watch(patience)
    _watch.begin()


def continues(how: Callable[[], str]) -> None:
    """Sets what is said of the same command where a process is gone: 'continues from ...'."""
    if _watch is not None:
        _watch.continued = how


def failed(error: BaseException) -> int:
    """Prints why a command failed; returns its exit code, with which `together` ends the others."""
    if _watch is not None:
        if isinstance(error, _BROKEN) or 'Gloo' in str(error):
            # a broken connection is what others see of a process that is gone, or has failed
            _watch.patience = min(_watch.patience, _SOON)
            time.sleep(_SOON + 2 * _PERIOD)
        _watch.message = str(error)
    with _leaving:
        print(f'error: {error}', file=sys.stderr, flush=True)
    return FAILED


def together(main: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """Runs a command whose processes all end, however one of them does.

    Args:
        main: returns the exit code.
        words: of the command line.

    Returns:
        What `main` returned, or 130 where the user would not wait for it (a second Ctrl-C).
    """
    try:
        code = main(words)
    except Exception:
        if _watch is None:
            raise
        traceback.print_exc()
        code, _watch.message = 1, 'it ended with an error that nobody foresaw'
    except KeyboardInterrupt:
        print(
            'interrupted; the same command goes on from what was saved, if anything was',
            file=sys.stderr,
        )
        code = INTERRUPTED
    if _watch is None:
        return code
    if code in ORDERLY:
        agreement.agreed(code)  # the first one may still be writing
        _watch.end()
        return code
    agreement.say('failed', _watch.message or f'it ended with code {code}')
    _until_all_left()
    leave(code)
    return code


def leave(code: int, sentence: str | None = None) -> None:
    """Ends this process at once, whatever its other threads wait for."""
    with _leaving:
        if sentence is not None:
            print(f'\n{sentence}', file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(code)


def _until_all_left() -> None:
    """Gives the others time to read why."""
    end = time.monotonic() + _FAREWELL
    while time.monotonic() < end and len(agreement.heard('left')) < agreement.count() - 1:
        time.sleep(0.1)
