"""What records say in the page's tables: a row per finished cell, or per student of a run."""

import pathlib
from collections.abc import Iterable, Iterator, Mapping

from experiments.configs.cells import Cell
from experiments.methods import CELLS
from experiments.reproduction import ledger
from experiments.reproduction.ledger import Ledger
from experiments.reproduction.tasks import Task
from jaxdd.coresets.selection import RULES
from jaxdd.reporting import incremental, report

OF_CELLS, OF_RUNS = 1, 2  # digits behind the point, in percent
MINUTES_AT_MOST = 120  # longer times are told in hours
Row = Mapping[str, str]  # header -> text; '' where the record says nothing


def of_cell(where: Ledger, task: Task, record: dict) -> Row:
    """The row of a finished cell, from what `ledger.finish` wrote.

    Note:
        Options beside those of the budget, such as fewer proxies, have a column of their own.
    """
    budget = ' '.join(('python -m experiments.run', *task.words))
    return {
        'cell': _link(task.name, ledger.path(where, task)),
        **_accuracies(task.cell, record, OF_CELLS),
        'steps': f'{record["steps"]:,}',
        'other options': record['command'].removeprefix(budget).strip(),
        'students': _students(record['ours'], task.cell.student, record['protocol']),
        'updates per student': _updates(**record['student_updates']),
        'hardware': record['hardware'],
        'time': time_of_cells([record]),
    }


def of_networks(where: Ledger, task: Task, record: dict) -> str:
    """What a record of networks that cells share says, in a few words."""
    count = record['proxies'] or record.get('experts')
    made = f'{count} networks' if count else f'{_teachers(record)} %'
    return f'{_link(task.name, ledger.path(where, task))}: {made}, {time(record["seconds"])}'


def of_run(called: str, record: dict, path: pathlib.Path) -> Iterator[Row]:
    """The rows of a run, one per student.

    Args:
        called: what the page calls it.
        record: a `results.json`, or what `experiments.evaluate` writes.
        path: of the record.
    """
    accuracy = record['accuracy']
    # Soft labels take memory beside the images; with hard ones the images' number says it all.
    size = record.get('bytes', {}) if record.get('teachers') else {}
    made = {
        'steps': f'{record["steps"]:,}' if 'steps' in record else '',
        'teachers, %': _teachers(record),
        'image bytes': f'{size["images"]:,}' if size else '',
        'label bytes': _label_bytes(size),
        'hardware': record['hardware'],
        'time': _time_of_run(record),
    }
    for student, ours in accuracy['distilled'].items():
        scores = {'ours': ours, 'random': accuracy.get('random', {}).get(student)}
        yield {
            'set': _link(called, path),
            'λ': _weights(record),
            **_accuracies(_cell(record, student), scores, OF_RUNS),
            **{
                f'{rule}, %': ledger.percent(accuracy.get(rule, {}).get(student), OF_RUNS)
                for rule in RULES
            },
            'students': _students(ours, student, record['protocol']),
            **made,
        }


def of_curves(called: str, record: dict, path: pathlib.Path) -> Iterator[Row]:
    """The rows of a run of continual learning, one per memory.

    Args:
        called: what the page calls the distilled memory.
        record: the `results.json` of `experiments.continual`.
        path: of the record.
    """
    for kind, name, means, stds in incremental.summaries(record):
        students = len(record['accuracy'][kind][0][0])
        yield {
            'memory': _link(called, path) if kind == 'distilled' else name,
            **{
                f'{seen} classes, %': f'{mean:.2f} ± {std:.2f}'
                for seen, mean, std in zip(record['seen'], means, stds)
            },
            'orders x students': f'{len(record["orders"])} x {students}',
            'protocol': report.protocol(record['protocol']),
            'hardware': record['hardware'],
        }


def time(seconds: float) -> str:
    """Seconds in minutes, or in hours where these are many."""
    minutes = seconds / 60
    return f'{minutes:.1f} min' if minutes <= MINUTES_AT_MOST else f'{minutes / 60:.1f} h'


def time_of_cells(found: Iterable[dict]) -> str:
    """What the calls of some records took; at least, where a set was there before its calls.

    Note:
        Then they are shorter than its steps: `experiments.run` or `together` had taken these.
    """
    found = list(found)
    before = any(one['seconds'] < _of_steps(one) for one in found)
    return ('≥ ' if before else '') + time(sum(one['seconds'] for one in found))


def _of_steps(record: dict) -> float:
    """Seconds of a cell's steps alone; 0 where nobody knows them."""
    return record.get('steps', 0) * (record.get('seconds_per_step') or 0.0)


def _time_of_run(record: dict) -> str:
    """At least the stages of the last call: a `results.json` does not know those before it."""
    stages = [seconds for name, seconds in record.get('seconds', {}).items() if '(' not in name]
    return f'≥ {time(sum(stages))}' if stages else ''


def _cell(record: dict, student: str) -> Cell | None:
    """The papers' cell that a run is of; None where there is none, or a set was only evaluated."""
    labels = record['protocol'].get('labels') or 'hard'
    labels = 'dynamic' if labels in ('replayed', 'stored') else labels
    asked = (
        record['method'],
        tuple(sorted(record['plugins'])),
        record['dataset'],
        record['ipc'],
        labels,
        student,
    )
    same = (cell for cell in CELLS if (*cell[:4], cell.labels, cell.student) == asked)
    some = record.get('config', {}).get('data', {}).get('classes')
    return next(same, None) if 'steps' in record and not some else None


def _accuracies(cell: Cell | None, found: dict, digits: int) -> Row:
    return {
        'published, %': ledger.percent(ledger.published(cell)),
        'ours, %': ledger.percent(found['ours'], digits),
        'random images, %': ledger.percent(found['random'], digits),
    }


def _students(accuracy: dict, student: str, protocol: dict) -> str:
    """How many there are, of what network, and the protocol that trains them."""
    width = f' of width {protocol["width"]}' if protocol.get('width') else ''
    return f'{len(accuracy["per_seed"])} x {student}{width}, {report.protocol(protocol)}'


def _updates(distilled: int, random: int) -> str:
    return f'{distilled:,}' if distilled == random else f'{distilled:,} (random images: {random:,})'


def _weights(record: dict) -> str:
    return ', '.join(
        f'{name.upper()} {weight["value"]:g}' for name, weight in record.get('weights', {}).items()
    )


def _teachers(record: dict) -> str:
    """Their accuracies, where anybody knows them."""
    return ', '.join(
        f'{name} {"?" if accuracy is None else f"{100 * accuracy:.1f}"}'
        for name, accuracy in record.get('teachers', {}).items()
    )


def _label_bytes(size: Mapping[str, int]) -> str:
    """What soft labels take; in brackets what they would if kept, and what random images' take."""
    if_kept, random = size.get('labels, were all kept', 0), size.get('random labels', 0)
    notes = [f'{if_kept:,} if kept'] if if_kept else []
    notes += [f'random images: {random:,}'] if random else []
    if not (size.get('labels') or notes):
        return ''
    return ' '.join((f'{size["labels"]:,}', *([f'({"; ".join(notes)})'] if notes else [])))


def _link(text: str, path: pathlib.Path) -> str:
    return f'[{text}](results/{path.name})'
