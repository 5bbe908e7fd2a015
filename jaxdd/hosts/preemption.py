"""One step at which all processes stop, whichever of them was asked to."""

import threading

from jaxdd.hosts import agreement, ending


class Preemption:
    """Becomes true in every process at the same question, after one of them was asked to stop.

    Each must ask equally often and in the same order. Once one is asked to stop, every process
    tells how many questions it has put, and its next one waits until all have told: the first
    question that nobody had put is the one. Make it before the processes join.
    """

    def __init__(self):
        self._asked, self._said, self._last = 0, 0, 0
        self._requested, self._told = False, False
        self._lock, self._decided = threading.Lock(), threading.Event()
        ending.regularly(self._look)

    def __call__(self) -> bool:
        with self._lock:
            self._asked += 1
            told = self._told
        if told:
            self._decided.wait()
        return told and self._asked >= self._last

    def request(self) -> None:
        """Asks all processes to stop."""
        self._requested = True

    def _look(self) -> None:
        """What a thread beside the computation does every second."""
        if self._decided.is_set() or not (self._requested or agreement.heard('stop')):
            return
        with self._lock:
            if not self._told:  # once: others may have decided with it while the next one waits
                self._told, self._said = True, self._asked
        agreement.say('stop', str(self._said))
        every = agreement.heard('stop')
        if len(every) == agreement.count():
            self._last = max(map(int, every.values())) + 1
            self._decided.set()
