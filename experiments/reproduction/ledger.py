"""What is kept of the cells that are reproduced:
a record of each that is finished, and the calls that worked on it."""

import pathlib
from typing import NamedTuple

from experiments.configs.cells import Cell
from experiments.reproduction.tasks import Task
from experiments.stages import outputs
from experiments.stages.progress import rows_of
from jaxdd import hosts, parallel
from jaxdd.reporting import tables
from jaxdd.storage import records

HEADER = ('cell', 'state', 'published, %', 'ours, %', 'random, %')
KEPT = (
    'seed',
    'steps',
    'weights',
    'seconds_per_step',
    'bytes',
    'images',
    'student_updates',
    'teachers',
    'versions',
)


_CALL = records.fields(
    seconds=records.AMOUNT, hardware=records.TEXT, commit=records.TEXT, ended=records.TEXT
)
CALLS = records.fields(calls=records.listing(_CALL))
RECORD = {
    'type': 'object',
    'required': ['cell', 'budget', 'workdir', 'calls'],
    'properties': {
        'ours': records.ACCURACY,
        'random': records.or_none(records.ACCURACY),
        'calls': records.listing(_CALL),
    },
}


class Ledger(NamedTuple):
    """A folder of results under one budget."""

    folder: pathlib.Path
    budget: str  # 'published' or 'reduced': each has files of its own


def workdir(ledger: Ledger, task: Task) -> pathlib.Path:
    """Where a cell is worked on; cells that differ in labels or students alone share one distilled
    set."""
    return ledger.folder / _stem(ledger, '/'.join(task.name.split('/')[:3]))


def path(ledger: Ledger, task: Task) -> pathlib.Path:
    """The record of a finished cell."""
    return ledger.folder / 'results' / f'{_stem(ledger, task.name)}.json'


def _stem(ledger: Ledger, name: str) -> str:
    return name.replace('/', '-').replace('+', '-') + (
        '' if ledger.budget == 'published' else f'-{ledger.budget}'
    )


def _calls_path(ledger: Ledger, task: Task) -> pathlib.Path:
    return workdir(ledger, task) / f'calls-{_stem(ledger, task.name)}.json'


def finished(ledger: Ledger, task: Task) -> dict | None:
    """The record of a finished cell; None where there is none that can be believed."""
    return records.recall(path(ledger, task), RECORD)


def calls(ledger: Ledger, task: Task) -> list[dict]:
    """The calls that have worked on a cell; one that was killed took no known time."""
    return (records.recall(_calls_path(ledger, task), CALLS) or {'calls': []})['calls']


def students(ledger: Ledger, task: Task) -> list[str] | None:
    """The accuracies of the students that are finished, as their files hold them;
    None before the evaluation."""
    where = workdir(ledger, task)

    def found() -> list[str] | None:
        if not (where / 'distilled.npz').exists():
            return None
        return sorted(path.read_text() for path in (where / 'students').glob('*.json'))

    return hosts.told(found)


def begin(ledger: Ledger, task: Task) -> None:
    """Notes that a call works on a cell."""
    _note(ledger, task, calls(ledger, task), 0.0, 'killed')


def end(ledger: Ledger, task: Task, seconds: float, ended: str) -> None:
    """Notes how the call that began last has gone.

    Args:
        seconds: of this call.
        ended: 'finished', 'stopped' or 'failed'.
    """
    _note(ledger, task, calls(ledger, task)[:-1], seconds, ended)


def _note(ledger: Ledger, task: Task, before: list[dict], seconds: float, ended: str) -> None:
    call = {
        'seconds': round(seconds, 1),
        'hardware': parallel.hardware(),
        'commit': outputs.COMMIT,
        'ended': ended,
    }
    records.save(_calls_path(ledger, task), {'calls': [*before, call]})


def finish(ledger: Ledger, task: Task, found: dict) -> None:
    """Writes a finished cell's record.

    Args:
        found: what only its kind has: accuracies of a cell, networks of a preparation.
    """
    spent = calls(ledger, task)
    records.save(
        path(ledger, task),
        {
            'cell': task.name,
            'budget': ledger.budget,
            **found,
            'command': ' '.join(('python -m experiments.run', *task.words)),
            'workdir': workdir(ledger, task).name,
            'hardware': ', '.join(dict.fromkeys(call['hardware'] for call in spent)),
            'seconds': round(sum(call['seconds'] for call in spent), 1),
            'commit': spent[-1]['commit'],
            'calls': spent,
        },
    )


def of_cell(task: Task, results: dict) -> dict:
    """What a record keeps of a run's results.json:
    the student that the cell names, and how it was made.

    Note:
        The seconds of a set that several cells share are those of the cell that was done first.
    """
    cell, accuracy = task.cell, results['accuracy']
    config = {
        name: value
        for name, value in results['config'].items()
        if name not in ('workdir', 'cache_dir')
    }
    config['data'] = {name: value for name, value in config['data'].items() if name != 'data_dir'}
    return {
        'protocol': results['protocol'],
        'seeds': results['protocol']['num_seeds'],
        'published': {'value': cell.value, 'std': cell.std, 'source': cell.source},
        'ours': accuracy['distilled'][cell.student],
        'random': accuracy['random'].get(cell.student),
        **{name: results[name] for name in KEPT},
        'config': config,
    }


def table(ledger: Ledger, chosen: list[Task]) -> str:
    """Every chosen cell: its state, the published accuracy and ours, in percent."""
    rows = [_row(ledger, task) for task in chosen]
    done = sum(row[1] == 'done' for row in rows)
    return '\n'.join(
        (tables.aligned(HEADER, rows), f'{done} of {len(chosen)} done, budget: {ledger.budget}')
    )


def _row(ledger: Ledger, task: Task) -> tuple[str, ...]:
    found = finished(ledger, task) or {}
    accuracies = (published(task.cell), found.get('ours'), found.get('random'))
    return (
        task.name,
        'done' if found else _state(ledger, task),
        *(percent(one) or '-' for one in accuracies),
    )


def _state(ledger: Ledger, task: Task) -> str:
    """'to do', or how far the calls so far have come."""
    spent, where = calls(ledger, task), workdir(ledger, task)
    if not spent:
        return 'to do'
    minutes = f'{sum(call["seconds"] for call in spent) / 60:.1f} minutes so far'
    if (where / 'distilled.npz').exists():
        return f'running (evaluation, {minutes})'
    step = _step(where)
    return f'running ({minutes})' if step is None else f'running (step {step}, {minutes})'


def _step(where: pathlib.Path) -> int | None:
    """The newest checkpoint's step; where images are recovered in chunks,
    the last one in the history."""
    steps = [
        int(folder.name) for folder in (where / 'checkpoints').glob('*') if folder.name.isdigit()
    ]
    if steps:
        return max(steps)
    rows = rows_of(where / 'history.jsonl')
    return rows[-1]['step'] if rows else None


def published(cell: Cell | None) -> dict | None:
    """A cell's published accuracy, as fractions 'mean' and 'std'; None where there is none."""
    return None if cell is None or cell.value is None else {'mean': cell.value, 'std': cell.std}


def percent(accuracy: dict | None, digits: int = 1) -> str:
    """'mean ± std' of fractions, in percent; '' where there is no accuracy.

    Args:
        digits: behind the point.
    """
    if not accuracy:
        return ''
    spread = '' if accuracy['std'] is None else f' ± {100 * accuracy["std"]:.{digits}f}'
    return f'{100 * accuracy["mean"]:.{digits}f}{spread}'
