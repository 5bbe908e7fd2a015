"""What a run tells while it works:
stages, a bar with steps/s and time left, and the history of its metrics."""

import contextlib
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tqdm

from experiments.stages.watching import Board
from jaxdd import hosts
from jaxdd.engine.loop import Callback
from jaxdd.storage import records
from jaxdd.storage.atomic import naming, write_whole


def bar(title: str, total: int, *, initial: int = 0, every: int = 1) -> tuple[tqdm.tqdm, Callback]:
    """A progress bar and the callback that moves it: steps/s, time left and the latest losses."""
    shown = tqdm.tqdm(
        total=total,
        initial=initial,
        desc=title,
        unit='step',
        file=sys.stderr,
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 15.0,
        disable=not hosts.first(),
    )
    last = {'step': initial}

    def move(state, step, metrics):
        del state
        shown.set_postfix(
            {
                name.removeprefix('loss/'): f'{values[-1]:.4g}'
                for name, values in sorted(metrics.items())
                if name.startswith(('loss/', 'accuracy/'))
            },
            refresh=False,
        )
        shown.update(step - last['step'] if step > last['step'] else step)
        last['step'] = step

    return shown, Callback(every, move)


ROW = {
    'type': 'object',
    'properties': {'step': records.COUNT},
    'required': ['step'],
    'additionalProperties': {'type': 'number'},
}


def rows_of(
    path: pathlib.Path, *, warn: Callable[[str], None] = lambda sentence: None
) -> list[dict]:
    """The rows of a `history.jsonl` that can be believed, in the order of their steps.

    Args:
        warn: told one sentence if others were left out: damaged ones, and steps that do not go on.
            A last line that a kill has torn is no news.
    """
    lines = path.read_text(errors='replace').splitlines(keepends=True) if path.exists() else []
    lines = lines[:-1] if lines and not lines[-1].endswith('\n') else lines
    rows = []
    for line in lines:
        with contextlib.suppress(records.Damaged):
            row = records.opened(line, ROW)
            if not rows or row['step'] > rows[-1]['step']:
                rows.append(row)
    if len(rows) < len(lines):
        warn(f'{path}: {len(lines) - len(rows)} of {len(lines)} rows were damaged and are left out')
    return rows


class History:
    """Rows of `history.jsonl` in a workdir:
    the metrics of a run by step; a resumed run drops what it repeats."""

    def __init__(self, path: pathlib.Path, *, up_to: int, board: Board = Board(None)):
        self.path, self._board = path, board
        every = hosts.told(lambda: rows_of(path, warn=print))
        kept = [row for row in every if row['step'] <= up_to]
        write_whole(path, ''.join(map(records.sealed, kept)).encode())

    def rows(self) -> list[dict]:
        """Every row so far."""
        return hosts.told(lambda: rows_of(self.path))

    def add(self, step: int, values: dict) -> None:
        """Appends one row."""
        if hosts.first():
            with naming(self.path), self.path.open('a') as file:
                file.write(records.sealed({'step': step, **values}))
            self._board.scalars(step, values)

    def callback(
        self, every: int, *, offset: int = 0, more: Callable[[Any], dict] = lambda state: {}
    ) -> Callback:
        """Writes the mean of each metric over the steps since the last dispatch,
        every `every` steps.

        Args:
            offset: steps of the run before this part of it.
            more: what the state shows beside its metrics, by name.
        """

        def write(state, step, metrics):
            means = {name: float(np.mean(values)) for name, values in sorted(metrics.items())}
            self.add(offset + step, {**means, **more(state)})

        return Callback(every, write)


SECONDS = records.fields(run=records.TEXT, seconds=records.mapping(records.AMOUNT))


class Stages:
    """Announces the stages of a run and keeps their seconds."""

    def __init__(self, count: int):
        self.count, self.seconds, self._name, self._since, self._number = count, {}, None, 0.0, 0
        self._save = lambda: None

    def keep(self, path: pathlib.Path, run: str) -> None:
        """Adds the seconds that earlier processes of the same run took,
        and keeps those of this one with them.

        Args:
            path: the file.
            run: a name of the run; seconds of another one are not taken over.
        """
        found = records.recall(path, SECONDS)
        for name, spent in (found['seconds'] if found and found['run'] == run else {}).items():
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 2)
        self._save = lambda: records.save(path, {'run': run, 'seconds': self.seconds})

    def begin(self, name: str, message: str) -> None:
        """Ends the current stage and names the next."""
        self.end()
        self._name, self._since, self._number = name, time.perf_counter(), self._number + 1
        print(f'[{self._number}/{self.count}] {message}', flush=True)

    def end(self) -> None:
        """Ends the current stage."""
        if self._name:
            spent = time.perf_counter() - self._since
            self.seconds[self._name] = round(self.seconds.get(self._name, 0.0) + spent, 2)
            self._name = None
            self._save()


class StopSignal:
    """Becomes true once SIGTERM or SIGINT asked the process to end;
    a second SIGINT ends it at once.

    Of several processes any one may be asked: it becomes true in all of them at the same call, so
    each must make the same calls. Make it before they join (`hosts.join`).
    """

    def __init__(self):
        self.asked, self._interrupted, self._together = False, False, hosts.Preemption()
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGINT, self._note)

    def _note(self, number, frame):
        del frame
        if number == signal.SIGINT and (self.asked or self._interrupted):
            raise KeyboardInterrupt
        self._interrupted = True
        if hosts.count() > 1:
            self._together.request()
        else:
            self._stop()

    def _stop(self) -> None:
        self.asked = True
        print('\nstopping: saving where the run stands', flush=True)

    def __call__(self) -> bool:
        if hosts.count() > 1 and not self.asked and self._together():
            self._stop()
        return self.asked


class Clock:
    """Times dispatches; the first one compiles.

    Args:
        before: the summary of the process that this one continues; stands where too little was left
            to time.
    """

    def __init__(self, before: tuple[float, float]):
        self.times, self._before = [time.perf_counter()], before

    def tick(self, state, step, metrics) -> None:
        """Notes that a dispatch has ended."""
        del state, step, metrics
        self.times.append(time.perf_counter())

    def summary(self, steps_per_call: int) -> tuple[float, float]:
        """(median seconds per step without the first dispatch, seconds that the first took
        longer)."""
        spans = np.diff(self.times)
        if len(spans) < 2:
            return self._before if self._before[0] or not len(spans) else (0.0, float(spans.sum()))
        typical = float(np.median(spans[1:]))
        return typical / steps_per_call, float(max(0.0, spans[0] - typical))
