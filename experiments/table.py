"""Many finished runs as one table; those of one protocol, which alone compare, stand together.

    python -m experiments.table runs/dm runs/dm-iid --sort accuracy

Reads results.json of every workdir, and evaluation.json where one lies beside it. Runs that cannot
be read are named, the others are shown.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from experiments.configs import finished
from jaxdd.exchange.catalogue import RESULTS
from jaxdd.reporting import markup, report, tables
from jaxdd.storage import records
from jaxdd.storage.atomic import expanded, write_whole
from jaxdd.storage.fingerprint import changes

SCORES = records.mapping(records.mapping(records.ACCURACY))  # training set -> student -> accuracy
PUBLISHED = {
    'type': 'object',
    'required': ['value'],
    'properties': {'value': records.FRACTION, 'std': records.or_none(records.FRACTION)},
}
RECORD = {
    'type': 'object',
    'required': ['method', 'plugins', 'dataset', 'ipc', 'protocol', 'accuracy'],
    'properties': {
        'method': records.TEXT,
        'plugins': records.listing(records.TEXT),
        'dataset': records.TEXT,
        'ipc': records.or_none(records.COUNT),
        'steps': records.COUNT,
        'protocol': {
            'type': 'object',
            'required': ['name'],
            'properties': {
                'name': records.TEXT,
                'changed': records.mapping({'type': 'object', 'required': ['here']}),
            },
        },
        'accuracy': {**SCORES, 'required': ['distilled']},
        'published': records.or_none(PUBLISHED),
        'budget': records.mapping({'type': 'object', 'required': ['published', 'here']}),
        'students': records.mapping(records.TEXT),
        'seconds': records.mapping(records.AMOUNT),
    },
}
# Of a protocol's settings, those that leave the number of one student as it is: which others there
# are, how many seeds, what is scored beside it; and what only repeats others.
BESIDE = (
    *('networks', 'pool', 'num_seeds', 'coresets', 'label_store', 'every', 'full_accuracy'),
    'changed',
)


class Line(NamedTuple):
    """One student of one run; accuracies are fractions, None where there is none."""

    run: str  # the folder
    method: str  # with its plug-ins
    dataset: str
    ipc: int | None
    protocol: str  # the name, and what was changed of it
    rules: dict[str, Any]  # the protocol's settings that the number depends on
    student: str
    random: float | None
    random_std: float | None
    accuracy: float
    std: float
    seeds: int
    published: float | None
    published_std: float | None
    budget: tuple[str, ...]  # where it is not the published one
    steps: int | None
    hours: float | None

    @property
    def difference(self) -> float | None:
        """Ours - published."""
        return None if self.published is None else self.accuracy - self.published


class Group(NamedTuple):
    """Lines whose numbers compare."""

    title: str
    lines: list[Line]


# how lines are ordered within their group
ORDERS: dict[str, Callable[[Line], Any]] = {
    'accuracy': lambda line: -line.accuracy,
    'method': lambda line: line.method,
    'dataset': lambda line: (line.dataset, line.ipc or 0),
    'ipc': lambda line: line.ipc or 0,
    'steps': lambda line: line.steps or 0,
    'hours': lambda line: line.hours or 0.0,
}


def main(argv: Sequence[str]) -> int:
    """Prints or writes the table; exit code 0, or 2 where nothing could be read or written."""
    options = _parser().parse_args(argv)
    lines: list[Line] = []
    for folder in options.workdirs:
        try:
            lines += of_workdir(expanded(folder), folder)
        except (ValueError, OSError) as error:
            print(f'left out: {error}', file=sys.stderr)
    if not lines:
        print('error: no workdir holds results that can be read', file=sys.stderr)
        return 2
    found = groups(lines, options.sort)
    try:
        print(_shown(found, options))
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m experiments.table', description=(__doc__ or '').partition('\n')[0]
    )
    parser.add_argument('workdirs', nargs='+', metavar='WORKDIR', help='of finished runs')
    parser.add_argument(
        '--sort', choices=ORDERS, help='within a protocol; default: the order of the workdirs'
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--markdown', action='store_true', help='as Markdown')
    form.add_argument('--html', metavar='FILE', help='written as one web page')
    form.add_argument('--json', action='store_true', help='every number, as JSON')
    return parser


def _shown(found: Sequence[Group], options: argparse.Namespace) -> str:
    if options.json:
        return as_json(found)
    if options.html:
        write_whole(path := expanded(options.html), as_html(found).encode())
        return f'table: {path}'
    return as_text(found, markdown=options.markdown)


def of_workdir(folder: pathlib.Path, called: str) -> list[Line]:
    """The lines of one run, a student each; of its evaluation.json those that are not there yet.

    Args:
        called: what the lines call the folder.

    Raises:
        ValueError: no results, or damaged ones; names the file. A damaged evaluation.json is only
            told.
    """
    finished.require(folder, (RESULTS,))
    record = records.load(folder / RESULTS, RECORD) or {}
    lines = list(_lines(record, called))
    try:
        more = records.load(folder / 'evaluation.json', RECORD)
    except records.Damaged as error:
        print(f'left out: {error}', file=sys.stderr)
        return lines
    known = [(line.rules, line.student) for line in lines]
    made = {name: record[name] for name in ('steps', 'budget') if name in record}
    for line in _lines({**made, **more}, called) if more else ():
        if (line.rules, line.student) not in known:
            lines.append(line)
    return lines


def _lines(record: dict, called: str) -> Iterator[Line]:
    """A published number, and where its budget differs, belong to the first student alone."""
    protocol, accuracy = record['protocol'], record['accuracy']
    seconds = [value for name, value in (record.get('seconds') or {}).items() if '(' not in name]
    rules = {name: value for name, value in protocol.items() if name not in BESIDE}
    changed = {
        name: value for name, value in protocol.get('changed', {}).items() if name not in BESIDE
    }
    for number, (student, ours) in enumerate(accuracy['distilled'].items()):
        random = accuracy.get('random', {}).get(student, {})
        published = (record.get('published') if number == 0 else None) or {}
        yield Line(
            run=called,
            method=report.name(record),
            dataset=record['dataset'],
            ipc=record['ipc'],
            protocol=report.protocol({**protocol, 'changed': changed}),
            rules=rules,
            student=record.get('students', {}).get(student, student),
            random=random.get('mean'),
            random_std=random.get('std'),
            accuracy=ours['mean'],
            std=ours['std'],
            seeds=len(ours['per_seed']),
            published=published.get('value'),
            published_std=published.get('std'),
            budget=tuple(record.get('budget', {})) if published else (),
            steps=record.get('steps'),
            hours=sum(seconds) / 3600 if seconds else None,
        )


def groups(lines: Sequence[Line], sort: str | None = None) -> list[Group]:
    """Lines by protocol, in the order in which protocols first come.

    Protocols of one name are told apart by the settings in which they differ.

    Args:
        sort: one of `ORDERS`, within each group; None leaves the order.
    """
    found: list[list[Line]] = []
    for line in lines:
        same = next((some for some in found if some[0].rules == line.rules), None)
        if same is None:
            found.append([line])
        else:
            same.append(line)
    if sort:
        found = [sorted(some, key=ORDERS[sort]) for some in found]
    alike: dict[str, list[dict]] = {}
    for some in found:
        alike.setdefault(some[0].protocol, []).append(some[0].rules)
    return [Group(_title(some[0], alike[some[0].protocol]), some) for some in found]


def _title(line: Line, alike: Sequence[dict]) -> str:
    """The protocol's name, and the settings in which those of its name differ."""
    paths = sorted({path for other in alike for path in changes(other, line.rules)})
    values = [f'{path} {json.dumps(line.rules.get(path))}' for path in paths]
    return f'{line.protocol} ({", ".join(values)})' if values else line.protocol


HEADER = (
    *('method', 'data set', 'ipc', 'student', 'random, %', 'ours, %', 'seeds'),
    *('published, %', 'Δ', 'budget differs in', 'steps', 'hours', 'run'),
)
NUMBERS = (2, 4, 5, 6, 7, 8, 10, 11)
ALWAYS = ('method', 'data set', 'ipc', 'student', 'ours, %', 'seeds', 'run')


def cells(lines: Sequence[Line]) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and which columns hold numbers; one in which no line says anything is left
    out."""
    rows = [
        [
            line.method,
            line.dataset,
            _or_blank(line.ipc, '{:,}'),
            line.student,
            _percent(line.random, line.random_std),
            _percent(line.accuracy, line.std),
            str(line.seeds),
            _percent(line.published, line.published_std),
            '' if line.difference is None else f'{100 * line.difference:+.2f}',
            _budget(line.budget),
            _or_blank(line.steps, '{:,}'),
            _or_blank(line.hours, '{:.2f}'),
            line.run,
        ]
        for line in lines
    ]
    kept = [
        column
        for column, name in enumerate(HEADER)
        if name in ALWAYS or any(row[column] for row in rows)
    ]
    numbers = [place for place, column in enumerate(kept) if column in NUMBERS]
    return [HEADER[i] for i in kept], [[row[i] for i in kept] for row in rows], numbers


def as_text(found: Sequence[Group], *, markdown: bool = False) -> str:
    """Every group's table under its protocol's name, for a terminal or as Markdown."""
    parts = []
    for group in found:
        header, rows, numbers = cells(group.lines)
        table = (
            tables.markdown(header, rows, numbers=numbers)
            if markdown
            else tables.aligned(header, rows, rule=True, numbers=numbers)
        )
        parts.append(f'{"## " if markdown else ""}protocol {group.title}\n\n{table}')
    return '\n\n'.join(parts)


def as_html(found: Sequence[Group]) -> str:
    """Every group's table as a page that needs nothing beside itself."""
    parts = ['<p class="over">Dataset distillation</p>\n<h1>Runs by protocol</h1>']
    parts.append(
        markup.paragraph('Test accuracy in %, last step, mean ± std over students.', 'soft')
    )
    for group in found:
        header, rows, numbers = cells(group.lines)
        parts.append(markup.section(group.title, markup.table(header, rows, numbers=numbers)))
    return markup.document('Runs by protocol', '\n'.join(parts), kind='broad')


def as_json(found: Sequence[Group]) -> str:
    """Every number as it was read: a list of groups, fractions and hours."""
    return json.dumps(
        [
            {
                'protocol': group.title,
                'runs': [{**line._asdict(), 'difference': line.difference} for line in group.lines],
            }
            for group in found
        ],
        indent=2,
    )


def _percent(mean: float | None, std: float | None) -> str:
    if mean is None:
        return ''
    return f'{100 * mean:.2f}' + ('' if std is None else f' ± {100 * std:.2f}')


def _budget(fields: Sequence[str]) -> str:
    """Which settings are not the published ones; of many the first two and how many more."""
    more = f' and {len(fields) - 2} more' if len(fields) > 2 else ''
    return f'{", ".join(fields[:2])}{more}'


def _or_blank(value: Any, form: str) -> str:
    return '' if value is None else form.format(value)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
