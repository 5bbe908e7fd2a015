"""Reproduces the papers' cells, a few minutes at a time, on whatever machine there is.

    python -m experiments.reproduce --cells 'cifar10/*' --minutes 8 --out DIR

runs the next unfinished cells until the minutes are over and saves where it stands; the same
command continues, on another machine too if it has a copy of DIR. DIR/results holds one record per
finished cell, DIR/cache the networks that cells share. `--list` shows what is done, `--reduced`
takes the small budget of experiments/reproduction/tasks.py instead of the papers'.
Machines without the prepared data set read the file of `experiments.prepare --export`: --npz
cifar10.npz.

A stop is acted on between dispatches of the compiled program, so a call takes somewhat longer than
its minutes. What goes on in the middle: the synthetic set, chunks of images, teachers. What starts
anew: the proxy and the student that were being trained (on accelerators all seeds of an
architecture, which are one program); finished ones stay. So the minutes must be enough for one of
them.

A machine that is taken away loses nothing if DIR is copied now and then; between two calls, so that
no file is half written. Of the papers' cells on CIFAR-10 those of DM, DC, DSA and IDC take 2 to 15
MiB each. Larger, with what they need in DIR/cache:
    IDM                the queue of 100 networks takes 244 MiB (--reduced: 8 networks, 20 MiB)
    cc, cmi            each proxy, a ResNet-18, takes 43 MiB (--reduced: 3). A run draws one of 20
                       at every step and so needs them all: --proxies lowers the count, and the
                       records say so
    SRe2L, INFER       ResNet-18 as a teacher takes 43 MiB, 85 while it is squeezed; all four of
                       INFER 69
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields

import jax

from experiments import methods, run
from experiments.configs import Config
from experiments.configs.base import Hosts
from experiments.reproduction import ledger, tasks
from experiments.reproduction.ledger import Ledger
from experiments.reproduction.tasks import Task
from experiments.stages import jobs, messages, outputs, preparing, scores, workplace
from experiments.stages.progress import Stages
from jaxdd import hosts
from jaxdd.engine.distill import NonFiniteError
from jaxdd.storage import locks, records
from jaxdd.storage.atomic import expanded

STOPPED = run.STOPPED


def main(argv: Sequence[str], *, clock: Callable[[], float] = time.monotonic) -> int:
    """Runs one command line; exit code 0 all chosen cells are done, 2 wrong input or a failed cell,
    3 there is more.

    Args:
        clock: tells seconds.
    """
    began = clock()
    try:
        options = parse(argv)
        where = Ledger(expanded(options.out), 'reduced' if options.reduced else 'published')
        chosen = tasks.choose(options.cells, where.budget, proxies=options.proxies)
        if options.list:
            print(ledger.table(where, chosen))
            return 0
        data_dir = _data_dir(options, chosen)
        outputs.require_writable(where.folder, 'out')
        place = Hosts(**{field.name: getattr(options, field.name) for field in fields(Hosts)})
        asked = workplace.begun(None, place, where.folder)
        hosts.require_alike('the cells', [task.name for task in chosen])
        hosts.require_shared(where.folder, 'out')
        with locks.alone(where.folder):
            return work(
                chosen,
                where,
                lambda: asked() or hosts.told(lambda: clock() - began >= 60 * options.minutes),
                data_dir=data_dir,
            )
    except (ValueError, OSError) as error:
        return hosts.failed(error)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command line.

    Raises:
        ValueError: no time, or no proxies.
        SystemExit: an unknown or malformed option (code 2), or `--help` (0).
    """
    parser = argparse.ArgumentParser(
        prog='python -m experiments.reproduce',
        allow_abbrev=False,
        description="Reproduces the papers' cells, a few minutes at a time.",
    )
    parser.add_argument(
        '--cells',
        nargs='+',
        default=['cifar10/*'],
        metavar='NAME',
        help='<dataset>/<method>[+plugins]/<ipc>[/<labels>-<student>], <dataset>/proxies or '
        '<dataset>/teachers, <dataset>/experts*, with wildcards (default: cifar10/*)',
    )
    parser.add_argument(
        '--minutes',
        type=float,
        default=float('inf'),
        help='when to stop (default: when all is done)',
    )
    parser.add_argument('--out', required=True, help='folder of everything that is kept')
    parser.add_argument('--data-dir', help='folder of the prepared data sets')
    parser.add_argument('--npz', help='<dataset>.npz, as written by experiments.prepare --export')
    parser.add_argument(
        '--reduced', action='store_true', help="a small budget, kept apart from the papers' own"
    )
    parser.add_argument(
        '--proxies',
        type=int,
        metavar='COUNT',
        help="networks in the pool of cc and cmi, in place of the budget's",
    )
    parser.add_argument('--list', action='store_true', help='show what is done, and do nothing')
    _add_hosts(parser)
    options = parser.parse_args(argv)
    if not options.minutes > 0:
        raise ValueError(f'--minutes must be above 0, got {options.minutes:g}')
    if options.proxies is not None and options.proxies < 1:
        raise ValueError(f'--proxies must be at least 1 network, got {options.proxies}')
    return options


def _add_hosts(parser: argparse.ArgumentParser) -> None:
    """The options of several processes, those of `experiments.run`."""
    kinds = {'coordinator': str, 'num_processes': int, 'process_id': int, 'patience': float}
    for name, kind in kinds.items():
        parser.add_argument(
            f'--hosts.{name.replace("_", "-")}',
            dest=name,
            type=kind,
            default=getattr(Hosts(), name),
            help='as of experiments.run',
        )


def _data_dir(options: argparse.Namespace, chosen: Sequence[Task]) -> str | None:
    """Where the data lies: the folder of an exported file, or of the prepared data sets."""
    if options.npz is None:
        return options.data_dir
    path = expanded(options.npz)
    if options.data_dir is not None:
        raise ValueError('give either --data-dir or --npz')
    others = sorted({task.dataset for task in chosen} - {path.stem})
    if others or path.suffix != '.npz':
        raise ValueError(
            f'--npz {path} must be called <dataset>.npz and hold the only data set of the chosen '
            f'cells; they also need {", ".join(others) or path.stem}'
        )
    if not path.is_file():
        raise ValueError(f'{path}: no such file')
    return str(path.parent)


def work(
    chosen: Sequence[Task],
    where: Ledger,
    stop: scores.Stop,
    *,
    data_dir: str | None = None,
    more: Sequence[str] = (),
) -> int:
    """Does the unfinished ones of some tasks in their order, until it is told to stop.

    Args:
        chosen: from `tasks.choose`.
        where: the ledger; finished tasks have a record there.
        stop: becomes true when time is over.
        data_dir: folder of the prepared data sets; None: the usual one.
        more: options of `experiments.run` for every task that change no result, such as
            --num-devices 1.

    Returns:
        0: all are done; 2: all but those that failed (diverged, or too large for the machine); 3:
        stopped.

    Raises:
        ValueError, OSError: wrong input, such as data that is not there.
    """
    failed = []
    for task in chosen:
        if ledger.finished(where, task) is not None:
            continue
        if stop():
            print('stopped; the same command continues with the rest')
            return STOPPED
        try:
            ended = _do(task, where, stop, data_dir, more)
        except (NonFiniteError, jax.errors.JaxRuntimeError) as error:
            print(f'error: {task.name}: {error}', file=sys.stderr)
            failed.append(task.name)
        else:
            if ended == 'stopped':
                return STOPPED
    print(ledger.table(where, list(chosen)))
    return 2 if failed else 0


def _do(
    task: Task, where: Ledger, stop: scores.Stop, data_dir: str | None, more: Sequence[str]
) -> str:
    """Works on one task and notes the time; 'finished' or 'stopped'."""
    print(f'\n== {task.name} ({where.budget} budget)', flush=True)
    folder, began, ended = ledger.workdir(where, task), time.monotonic(), 'failed'
    words = (
        *task.words,
        *more,
        '--workdir',
        str(folder),
        '--cache-dir',
        str(where.folder / 'cache'),
        *(('--data.data-dir', data_dir) if data_dir else ()),
    )
    before, config = ledger.students(where, task), methods.parse(words)
    # so that the ledger knows what is computed on
    with workplace.computing(config):
        ledger.begin(where, task)
        try:
            found = (
                _cell(task, config, words, folder, stop) if task.cell else _networks(config, stop)
            )
            ended = 'finished' if found is not None else 'stopped'
        finally:
            ledger.end(where, task, time.monotonic() - began, ended)
            # compiled programs of many cells exceed what Linux lets one process map
            jax.clear_caches()
    if found is not None:
        ledger.finish(where, task, found)
    elif before is not None and before == ledger.students(where, task):
        print(
            f'{task.name}: the whole call was not enough for one student, which starts anew: give '
            'more --minutes'
        )
    return ended


def _cell(
    task: Task, config: Config, words: Sequence[str], folder: pathlib.Path, stop: scores.Stop
) -> dict | None:
    """Runs a cell; what its record keeps, None when stopped."""
    if run.run(config, words, stop) == STOPPED:
        return None
    return ledger.of_cell(task, records.load(folder / 'results.json', records.ANYTHING))


def _networks(config: Config, stop: scores.Stop) -> dict | None:
    """Trains the networks that cells share into the cache;
    what their record keeps, None when stopped."""
    progress = Stages(2)
    progress.begin('data', f'reading {config.dataset}')
    job = jobs.load(config)
    progress.begin('prepare', messages.prepare(job))
    prepared = preparing.prepare(job, stop)
    proxies = config.proxies.count if job.models else 0
    if (
        stop()
        or len(prepared.proxies) < proxies
        or len(prepared.teachers) < len(config.teachers.networks)
    ):
        print('stopped; the same command continues')
        return None
    return {
        'proxies': proxies,
        'teachers': {teacher.name: teacher.accuracy for teacher in prepared.teachers},
        **({'experts': len(prepared.experts)} if prepared.experts else {}),
    }


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
