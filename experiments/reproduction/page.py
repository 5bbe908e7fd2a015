"""Writes the tables of the ledger page, experiments/README.md, from experiments/results.

    python -m experiments.reproduction.page [--add RESULTS NAME]

The page is its own template: a table stands between a marker and `<!-- end -->`, and every other
word is a person's and stays. There are three markers. `cells BUDGET` shows each cell that has a
record at that budget, so a new record appears by itself. `runs` shows runs that somebody made by
hand: each of its lines has a record's name and what the page calls it. `curves` does so for runs of
`experiments.continual`, a row per memory, and draws them in docs/continual.png.

`--add` takes a run's results.json in as results/NAME.json, without the folders of the machine that
it ran on.

A damaged record is refused. Runs from before records had checksums have theirs in
results/checksums.json.
"""

import argparse
import json
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

from experiments.configs.base import CORESETS
from experiments.reproduction import ledger, rows, tasks
from experiments.reproduction.ledger import Ledger
from experiments.reproduction.tasks import Task
from jaxdd.reporting import incremental, tables
from jaxdd.storage import records
from jaxdd.storage.atomic import write_whole

PAGE = pathlib.Path(__file__).parents[1] / 'README.md'
END = '<!-- end -->'
FIGURE = PAGE.parents[1] / 'docs' / 'continual.png'
BEGIN = re.compile(r'<!-- (?:cells|runs|curves)\s')
TABLE = re.compile(rf'(<!-- (cells|runs|curves)\s+(.*?)\s*-->\n).*?{END}', re.DOTALL)
UNSEALED = 'checksums.json'  # of records that carry none; in the folder of the records
CHECKSUMS = records.fields(checksums=records.mapping(records.TEXT))
SCORES = records.mapping(records.ACCURACY)
_OF_TASKS = records.listing(records.listing(records.FRACTION, least=1), least=1)
RUN = {
    'type': 'object',
    'required': ['method', 'plugins', 'dataset', 'ipc', 'hardware', 'protocol', 'accuracy'],
    'properties': {
        'accuracy': records.fields(dict.fromkeys(('random', *CORESETS), SCORES), distilled=SCORES)
    },
}

CURVES = {
    'type': 'object',
    'required': ['method', 'plugins', 'dataset', 'ipc', 'protocol', 'seen', 'orders', 'accuracy'],
    'properties': {'accuracy': records.mapping(records.listing(_OF_TASKS, least=1))},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Brings the page up to date; exit code 0, or 2 where a record or a marker is wrong."""
    parser = argparse.ArgumentParser(
        prog='python -m experiments.reproduction.page', description=__doc__.partition('\n')[0]
    )
    parser.add_argument(
        '--add',
        nargs=2,
        metavar=('RESULTS', 'NAME'),
        help='first take a results.json in as results/NAME.json',
    )
    added = parser.parse_args(arguments).add
    try:
        if added:
            add(pathlib.Path(added[0]), added[1])
        text = written(PAGE.read_text(), PAGE.parent)
        write_whole(PAGE, text.encode())
        figure(text, PAGE.parent, FIGURE)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{PAGE} is up to date')
    return 0


def add(path: pathlib.Path, name: str) -> None:
    """Takes a run's record in under a name.

    Folders of its machine are replaced: the workdir by `runs/<name>`, the cache by the usual one,
    the data's by DATA_DIR.

    Raises:
        ValueError: no record of a run, a damaged one, or one that still names a folder.
        OSError: it cannot be read or written.
    """
    text = path.read_text()
    record = records.opened(text, CURVES if 'seen' in json.loads(text) else RUN)
    text, config = json.dumps(record), record['config']
    for folder, shown in (
        (config['workdir'], f'runs/{name}'),
        (config['cache_dir'], '~/.cache/jaxdd'),
        (config['data']['data_dir'], 'DATA_DIR'),
    ):
        text = text.replace(json.dumps(folder)[1:-1], shown) if folder else text
    if left := machine_folders(text):
        raise ValueError(f'{path} names {left[0]}, a folder of the machine that it ran on')
    records.save(PAGE.parent / 'results' / f'{name}.json', json.loads(text))


def machine_folders(text: str) -> list[str]:
    """Absolute paths in a text: words that begin with a slash."""
    return re.findall(r'(?:^|(?<=[\s"\'=]))/[^\s"\']+', text)


def written(text: str, folder: pathlib.Path) -> str:
    """The page with every table made anew.

    Args:
        text: of the page.
        folder: holds `results`, as the ledger's does.

    Raises:
        ValueError: a marker has no end or names what nobody knows, or a record is damaged.
        OSError: a record that a marker names cannot be read.
    """
    if not len(TABLE.findall(text)) == len(BEGIN.findall(text)) == text.count(END):
        raise ValueError(
            f'each marker `cells`, `runs` or `curves` of the page needs one {END} after it'
        )
    made = {'cells': _cells, 'runs': _runs, 'curves': _curves}
    return TABLE.sub(lambda found: f'{found[1]}\n{made[found[2]](found[3], folder)}\n\n{END}', text)


def _cells(budget: str, folder: pathlib.Path) -> str:
    """A budget's finished cells in the order of doing them; then their number and networks."""
    if budget not in tasks.BUDGETS:
        raise ValueError(f'`cells {budget}` must name a budget: {", ".join(tasks.BUDGETS)}')
    where, known = Ledger(folder, budget), tasks.tasks(budget).values()
    done = {task: record for task in known if (record := _finished(where, task))}
    cells = [rows.of_cell(where, task, done[task]) for task in done if task.cell]
    networks = [rows.of_networks(where, task, done[task]) for task in done if not task.cell]
    if not cells:
        return f'**No cell was run at its {budget} budget yet.**'
    total = sum(task.cell is not None for task in known)
    spent = rows.time_of_cells(done.values())
    shared = f', networks that they share included: {"; ".join(networks)}' if networks else ''
    return f'{_table(cells)}\n\n{len(cells)} of {total} cells in {spent}{shared}.'


def _finished(where: Ledger, task: Task) -> dict | None:
    """A task's record. A copy under the name of another cell or budget is refused, too."""
    itself = {'properties': {'cell': {'const': task.name}, 'budget': {'const': where.budget}}}
    return records.load(ledger.path(where, task), {'allOf': [ledger.RECORD, itself]})


def _runs(lines: str, folder: pathlib.Path) -> str:
    """The runs that a marker's lines name."""
    folder = folder / 'results'
    unsealed = (records.load(folder / UNSEALED, CHECKSUMS) or {'checksums': {}})['checksums']
    found = []
    for called, path in _named(lines, folder):
        found += rows.of_run(called, _run(path, unsealed.get(path.name)), path)
    if not found:
        raise ValueError('a marker `runs` of the page names no record')
    return _table(found)


def _named(lines: str, folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """What a marker's lines call their records, and where these lie."""
    for line in lines.splitlines():
        stem, _, called = line.strip().partition(' ')
        yield called.strip() or stem, folder / f'{stem}.json'


def _curves(lines: str, folder: pathlib.Path) -> str:
    """The memories of the runs of continual learning that a marker's lines name."""
    found = []
    for called, path in _named(lines, folder / 'results'):
        record = records.load(path, CURVES)
        if record is None:
            raise ValueError(f'a marker `curves` of the page names {path}, which is not there')
        # real images are the same under the same protocol, on the same hardware
        found += [row for row in rows.of_curves(called, record, path) if row not in found]
    if not found:
        raise ValueError('a marker `curves` of the page names no record')
    return _table(found)


def figure(text: str, folder: pathlib.Path, path: pathlib.Path) -> None:
    """Draws the memories of continual learning that the page names, all in one figure."""
    for _, kind, lines in (found.groups() for found in TABLE.finditer(text)):
        if kind == 'curves':
            first, *others = [
                (called, records.load(where, CURVES))
                for called, where in _named(lines, folder / 'results')
            ]
            incremental.curves_png(path, first[1], dict(others))


def _run(path: pathlib.Path, checksum: str | None) -> dict:
    """A run's record, held to its own checksum or to one that is kept apart."""
    try:
        content = json.loads(path.read_text())
        kept_apart = {} if checksum is None else {records.CHECKSUM: checksum}
        return records.opened(json.dumps({**content, **kept_apart}), RUN)
    except (ValueError, TypeError) as error:
        raise records.Damaged(f'{path} is damaged or no record of a run: {error}') from error


def _table(found: Sequence[rows.Row]) -> str:
    """Rows as Markdown; a column in which no row says anything is left out."""
    headers = [header for header in found[0] if any(row[header] for row in found)]
    return tables.markdown(headers, ([row[key] for key in headers] for row in found))


if __name__ == '__main__':
    sys.exit(main())
