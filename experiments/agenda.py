"""The papers' cells as tasks: their names, what each needs first, the order of doing them, and a reduced budget."""
import difflib
import fnmatch
from collections.abc import Sequence
from typing import NamedTuple

from experiments import build, cells, jobs
from experiments.configs import PRESETS

DATASETS = ('cifar10', 'cifar100', 'svhn_cropped', 'tiny_imagenet', 'imagenet')
# CIFAR-10 at 10 and 50 images per class comes first, in this order; then the rest as in `cells.CELLS`, by data set.
FIRST = (('dm', ()), ('dm', ('cc', 'cm')), ('dm', ('cmi',)), ('idm', ()), ('idm', ('cc', 'cm')), ('dsa', ('cmi',)),
         ('infer', ()), ('sre2l', ()))

# What two CPU cores do in a few minutes per cell, and in about 45 for every method at 10 images per class of CIFAR-10:
# options beside the cell's own. Learning rates are above the published ones because the steps are so few. Numbers
# compare with each other and with the random images beside them.
_STUDENTS = '--evaluation.epochs 60 --evaluation.num-seeds 2'
_PROXIES = '--proxies.count 2 --proxies.network.width 16 --proxies.epochs 0.5 --proxies.batch-size 64'
_MATCHING = f'{_STUDENTS} {_PROXIES} --checkpoint-every 20'
_SOFT = ('--num-steps 100 --teachers.width 16 --teachers.epochs 1 --evaluation.width 16 --evaluation.epochs 20 '
         '--evaluation.num-seeds 2')
REDUCED = {
    'dc': f'--num-steps 50 --data.per-class 32 --training.epochs 5 --optimizer.learning-rate 1.0 {_MATCHING}',
    'dsa': f'--num-steps 50 --data.per-class 32 --training.epochs 5 --optimizer.learning-rate 1.0 {_MATCHING}',
    'dm': f'--num-steps 100 --data.per-class 64 {_MATCHING}',
    'idm': '--num-steps 60 --data.per-class 32 --training.num-batches 2 --training.batch-size 64 --training.every 8 '
           f'--training.queue-size 8 --optimizer.learning-rate 1.0 {_MATCHING}',
    'idc': '--num-steps 40 --data.per-class 32 --training.num-batches 4 --training.every 20 '
           f'--optimizer.learning-rate 0.1 {_MATCHING}',
    'sre2l': _SOFT,
    'infer': _SOFT,
}
# On CIFAR's images a ConvNet is INFER's second and last teacher, at a fraction of the others' cost.
FEW = '--teachers.networks resnet18_stem3 convnet_bn'
BUDGETS = ('published', 'reduced')


class Task(NamedTuple):
    """One thing to do: a cell, or the networks that cells of a data set share."""
    name: str
    words: tuple[str, ...]       # of `experiments.run`, without paths
    cell: cells.Cell | None      # None: networks alone
    needs: tuple[str, ...]       # names of tasks that go before

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.name.partition('/')[0]


def name_of(cell: cells.Cell) -> str:
    """'<dataset>/<method>[+plugins]/<ipc>', and '/<labels>-<student>' where the labels are teachers'."""
    soft = () if cell.labels == 'hard' else (f'{cell.labels}-{cell.student}',)
    return '/'.join((cell.dataset, '+'.join((cell.method, *cell.plugins)), str(cell.ipc), *soft))


def tasks(budget: str, *, proxies: int | None = None) -> dict[str, Task]:
    """name -> task, in the order of doing them: networks stand right before the first cell that needs them.

    Args:
        budget: 'published', the presets', or 'reduced' (`REDUCED`).
        proxies: networks in the pool of proxies, instead of the budget's.
    """
    ordered: dict[str, Task] = {}
    for cell in sorted(cells.CELLS, key=_place):
        task = _task(cell, budget)
        for needed in task.needs:
            if needed not in ordered:
                ordered[needed] = _with_proxies(_networks(needed, budget), proxies)
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
            raise ValueError(f'no cell is called {pattern!r}; nearest: {", ".join(near) or "none"}. '
                             "Every name: --cells '*' --list")
        wanted.update(found, *(known[name].needs for name in found))
    return [task for name, task in known.items() if name in wanted]


def _place(cell: cells.Cell) -> tuple:
    kind = (cell.method, cell.plugins)
    if cell.dataset == 'cifar10' and cell.ipc in (10, 50) and kind in FIRST:
        return 0, FIRST.index(kind), cell.ipc
    return 1, DATASETS.index(cell.dataset), 0


def _task(cell: cells.Cell, budget: str) -> Task:
    config = PRESETS[cell.method](cell.dataset, cell.ipc, cell.plugins)
    needs = (f'{cell.dataset}/proxies',) if jobs.needs_proxy(config) else ()
    needs += (f'{cell.dataset}/teachers',) if cell.method in build.DECOUPLED else ()
    return Task(name_of(cell), _words(cell.command, cell.method, cell.dataset, budget), cell, needs)


def _networks(name: str, budget: str) -> Task:
    """A run that is only prepared: any cell with a proxy has the pool; INFER's teachers are SRe2L's and more."""
    dataset, _, kind = name.partition('/')
    method, more = {'proxies': ('dm', ' --plugins cc'), 'teachers': ('infer', '')}[kind]
    words = f'python -m experiments.run {method} --dataset {dataset} --ipc 10{more}'
    return Task(name, _words(words, method, dataset, budget), None, ())


def _words(command: str, method: str, dataset: str, budget: str) -> tuple[str, ...]:
    words = tuple(command.split()[3:])
    if budget == 'published':
        return words
    few = FEW if method == 'infer' and dataset.startswith('cifar') else ''
    return (*words, *REDUCED[method].split(), *few.split())
