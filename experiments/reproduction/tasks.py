"""The papers' cells as tasks: their names, what each needs first, the order of doing them,
and a reduced budget."""

import difflib
import fnmatch
from collections.abc import Sequence
from typing import NamedTuple

from experiments.configs.cells import Cell
from experiments.methods import CELLS, METHODS
from experiments.stages import jobs

DATASETS = ('cifar10', 'cifar100', 'svhn_cropped', 'tiny_imagenet', 'imagenet')
# CIFAR-10 at 10 and 50 images per class comes first, in this order;
# then the rest as in `experiments.methods.CELLS`, by data set.
FIRST = (
    ('dm', ()),
    ('dm', ('cc', 'cm')),
    ('dm', ('cmi',)),
    ('idm', ()),
    ('idm', ('cc', 'cm')),
    ('dsa', ('cmi',)),
    ('infer', ()),
    ('sre2l', ()),
)

BUDGETS = ('published', 'reduced')


class Task(NamedTuple):
    """One thing to do: a cell, or the networks that cells of a data set share."""

    name: str
    words: tuple[str, ...]  # of `experiments.run`, without paths
    cell: Cell | None  # None: networks alone
    needs: tuple[str, ...]  # names of tasks that go before

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.name.partition('/')[0]


def name_of(cell: Cell) -> str:
    """'<dataset>/<method>[+plugins]/<ipc>', and '/<labels>-<student>' where the labels are
    teachers'."""
    soft = () if cell.labels == 'hard' else (f'{cell.labels}-{cell.student}',)
    return '/'.join((cell.dataset, '+'.join((cell.method, *cell.plugins)), str(cell.ipc), *soft))


def tasks(budget: str, *, proxies: int | None = None) -> dict[str, Task]:
    """name -> task, in the order of doing them:
    networks stand right before the first cell that needs them.

    Args:
        budget: 'published', the presets', or 'reduced', each method's own.
        proxies: networks in the pool of proxies, instead of the budget's.
    """
    ordered: dict[str, Task] = {}
    for cell in sorted(CELLS, key=_place):
        task = _task(cell, budget)
        for needed in task.needs:
            if needed not in ordered:
                ordered[needed] = _with_proxies(_networks(needed, budget, cell), proxies)
        ordered[task.name] = _with_proxies(task, proxies)
    return ordered


def _with_proxies(task: Task, count: int | None) -> Task:
    """A task with another number of proxies, if it has any."""
    if count is None or not any(name.endswith('/proxies') for name in (task.name, *task.needs)):
        return task
    return task._replace(words=(*task.words, '--proxies.count', str(count)))


def choose(patterns: Sequence[str], budget: str, *, proxies: int | None = None) -> list[Task]:
    """The tasks that any of some patterns names, with those that they need, in order.

    Args:
        patterns: names with the wildcards * ? [], where * also stands for '/'.
        budget, proxies: as in `tasks`.

    Raises:
        ValueError: a pattern that names nothing; says which names are nearest.
    """
    known, wanted = tasks(budget, proxies=proxies), set()
    for pattern in patterns:
        found = fnmatch.filter(known, pattern)
        if not found:
            near = difflib.get_close_matches(pattern, known, n=5, cutoff=0.3)
            raise ValueError(
                f'no cell is called {pattern!r}; nearest: {", ".join(near) or "none"}. '
                "Every name: --cells '*' --list"
            )
        wanted.update(found, *(known[name].needs for name in found))
    return [task for name, task in known.items() if name in wanted]


def _place(cell: Cell) -> tuple:
    kind = (cell.method, cell.plugins)
    if cell.dataset == 'cifar10' and cell.ipc in (10, 50) and kind in FIRST:
        return 0, FIRST.index(kind), cell.ipc
    return 1, DATASETS.index(cell.dataset), 0


def _task(cell: Cell, budget: str) -> Task:
    config = METHODS[cell.method].published(cell.dataset, cell.ipc, cell.plugins)
    needs = (f'{cell.dataset}/proxies',) if jobs.needs_proxy(config) else ()
    needs += (f'{cell.dataset}/teachers',) if config.recovers else ()
    needs += METHODS[cell.method].stage.needs(config) if budget == 'published' else ()
    return Task(name_of(cell), _words(cell.command, cell.method, cell.dataset, budget), cell, needs)


def _networks(name: str, budget: str, cell: Cell) -> Task:
    """A run that is only prepared: any cell with a proxy has the pool; INFER's teachers are SRe2L's
    and more; experts are those of the first cell that needs as many epochs of them."""
    dataset, _, kind = name.partition('/')
    method, ipc, more = {
        'proxies': ('dm', 10, ' --plugins cc'),
        'teachers': ('infer', 10, ''),
    }.get(kind, (cell.method, cell.ipc, ''))
    words = f'python -m experiments.run {method} --dataset {dataset} --ipc {ipc}{more}'
    return Task(name, _words(words, method, dataset, budget), None, ())


def _words(command: str, method: str, dataset: str, budget: str) -> tuple[str, ...]:
    words = tuple(command.split()[3:])
    if budget == 'published':
        return words
    return (*words, *METHODS[method].reduced(dataset).split())
