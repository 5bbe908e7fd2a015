"""Class-incremental learning with a memory of distilled images (DM's protocol).

    python -m experiments.continual dm --dataset cifar100 --ipc 20 --tasks 5 --orders 5 \\
        --plugins cc cm --evaluation.coresets herding --workdir runs/continual

Classes come in, a task at a time, in random orders. Each task is distilled by itself, by any method
with any plug-in; random images, and core-sets where asked for, stand beside it. After every task
students are trained from scratch on the memory and tested on all classes seen; with --distillation
they go on from the task before and hold on to what they said then. Every option of
`experiments.run` holds for every task. The same command continues where it stopped.
"""

import argparse
import dataclasses
import math
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from experiments import methods
from experiments.configs import Config, papers, plugins, presets, rules
from experiments.stages import incremental, jobs, outputs, remembering, workplace
from experiments.stages.remembering import Distillation
from experiments.stages.scores import Stop
from jaxdd import data, hosts
from jaxdd.engine.distill import NonFiniteError
from jaxdd.reporting import incremental as reporting
from jaxdd.storage import records
from jaxdd.storage.atomic import write_whole
from jaxdd.types import SyntheticSet

STOPPED = 3
NUM_SEEDS = ('--evaluation.num-seeds', '3')  # DM's


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 done, 2 wrong input or a failed run, 3 stopped."""
    try:
        return run(*parse(argv), argv)
    except (ValueError, NonFiniteError, OSError, jax.errors.JaxRuntimeError) as error:
        return hosts.failed(error)


class Protocol(NamedTuple):
    """How the classes come in, and how students meet them."""

    tasks: int
    orders: int
    distillation: Distillation | None  # None: students begin anew at every task


def parse(argv: Sequence[str]) -> tuple[Config, Protocol]:
    """The configuration that every task's run has, and the protocol.

    Raises:
        ValueError: what `methods.parse` refuses, or what has no meaning over several tasks.
        SystemExit: an unknown or malformed option (code 2), or `--help` (0).
    """
    parser = argparse.ArgumentParser(
        prog='python -m experiments.continual METHOD',
        description=__doc__.partition('\n')[0],
        epilog='and every option of python -m experiments.run METHOD --help',
        allow_abbrev=False,
        add_help=not argv or argv[0].startswith('-'),
    )
    parser.add_argument('--tasks', type=int, default=5, help='groups of classes, one after another')
    parser.add_argument('--orders', type=int, default=5, help='random orders of the classes')
    parser.add_argument(
        '--distillation',
        type=float,
        metavar='BETA',
        help='students go on from the task before, with BETA times the divergence from what they '
        'said then; default: they begin anew',
    )
    parser.add_argument('--temperature', type=float, default=2.0, help='of the distillation')
    own, words = parser.parse_known_args(list(argv))
    seeds = () if any(word.startswith(NUM_SEEDS[0]) for word in words) else NUM_SEEDS
    config = methods.parse([*words[:1], *seeds, *words[1:]])
    _require(config, own)
    how = None if own.distillation is None else Distillation(own.distillation, own.temperature)
    return config, Protocol(own.tasks, own.orders, how)


def _require(config: Config, own: argparse.Namespace) -> None:
    for name, value in (('tasks', own.tasks), ('orders', own.orders)):
        rules.refuse(name, value, 'at least 1', value < 1)
    beta, temperature = own.distillation, own.temperature
    rules.refuse('distillation', beta, 'at least 0', beta is not None and not 0 <= beta < math.inf)
    rules.refuse('temperature', temperature, 'above 0', not 0 < temperature < math.inf)
    e = config.evaluation
    rules.refuse(
        'evaluation.labels',
        e.labels,
        "'hard' (--evaluation.protocol dsa): a teacher of one task knows no class of another",
        e.labels != 'hard',
    )
    rules.refuse(
        'evaluation.networks', ' '.join(e.networks), 'one architecture', len(e.networks) > 1
    )
    rules.refuse(
        'data.classes',
        ' '.join(map(str, config.data.classes)),
        'left alone: the tasks choose the classes',
        bool(config.data.classes),
    )
    rules.refuse('num_sets', config.num_sets, '1: --orders repeats', config.num_sets > 1)
    rules.refuse(
        'estimate',
        config.estimate,
        'left out: experiments.run takes it, over all classes at once',
        config.estimate is not None,
    )
    rules.refuse('evaluation.every', e.every, '0: what counts is the memory', e.every > 0)
    rules.refuse(
        'data.zca',
        config.data.zca,
        'False: what whitens the images would have to know the classes of later tasks',
        config.data.zca,
    )


def run(config: Config, protocol: Protocol, words: Sequence[str], stop: Stop | None = None) -> int:
    """Runs every task of every order from wherever the workdir stands.

    Args:
        words: the command line, for the record.
        stop: as in `experiments.run.run`.
    """
    stop = workplace.begun(stop, config.hosts, config.workdir)
    with workplace.entered(config) as workdir:
        every = jobs.load(config)  # refuses what no task could use, and gives the test images
        if why := jobs.no_baseline(every):
            raise ValueError(f'a memory holds ipc images of every class, but {why}')
        plan = [
            incremental.tasks(every.spec.num_classes, protocol.tasks, i)
            for i in range(protocol.orders)
        ]
        curves: dict[str, list] = {}
        for tasks in plan:
            score = _scorer(protocol.distillation)
            of_order = _one_order(config, every.dataset, tasks, workdir, stop, score)
            if of_order is None:
                print(f'stopped; the same command continues from what lies in {workdir}')
                return STOPPED
            for kind, row in of_order.items():
                curves.setdefault(kind, []).append(row)
            found = _results(config, every, plan, curves, words)
            print(_write(found | _how(protocol), workdir))
    return 0


def _one_order(
    config: Config,
    dataset: data.Dataset,
    tasks: Sequence[incremental.Task],
    workdir: pathlib.Path,
    stop: Stop,
    score: Callable[..., tuple[float, ...]],
) -> dict[str, list[tuple[float, ...]]] | None:
    """Kind of memory -> accuracies of the students after every task; None where it was stopped."""
    memories: dict[str, list[SyntheticSet]] = {}
    found: dict[str, list[tuple[float, ...]]] = {}
    for task in tasks:
        print(f'order {task.order}, task {task.number}: classes {" ".join(map(str, task.classes))}')
        own = incremental.of_task(config, task, workdir)
        sets = incremental.distilled(own, dataset.spec.num_classes, stop)
        if sets is None:
            return None
        for kind, one in sets.items():
            memories.setdefault(kind, []).append(jax.tree.map(np.asarray, one))
            memory = incremental.joined(memories[kind])
            scored = score(own, dataset, memory, task, stop, kind)
            found.setdefault(kind, []).append(scored)
        if stop():
            return None
    return found


def _scorer(how: Distillation | None) -> Callable[..., tuple[float, ...]]:
    if how is None:
        return lambda *given: incremental.score(*given)
    return lambda *given: remembering.score(*given, how)


def _how(protocol: Protocol) -> dict:
    """What the record says of students that go on."""
    how = protocol.distillation
    return {} if how is None else {'distillation': how._asdict()}


def _results(
    config: Config,
    every: jobs.Job,
    plan: Sequence[Sequence[incremental.Task]],
    curves: dict[str, list],
    words: Sequence[str],
) -> dict:
    """Everything that a reader needs to believe and repeat the curves, as JSON-able records."""
    e, done = config.evaluation, len(curves['distilled'])
    return {
        'method': config.method,
        'plugins': list(config.plugins),
        'dataset': every.spec.name,
        'ipc': config.ipc,
        'command': 'python -m experiments.continual ' + ' '.join(words),
        'config': dataclasses.asdict(config),
        **outputs.provenance(),
        'protocol': {**presets.identified(e), **dataclasses.asdict(e)},
        'steps per task': config.num_steps,
        'seen': [len(task.seen) for task in plan[0]],
        'orders': [sum((task.classes for task in tasks), ()) for tasks in plan[:done]],
        'accuracy': curves,
        'bibtex': [paper.bibtex for paper in papers.used(config, plugins.PLUGINS)],
    }


def _write(results: dict, workdir: pathlib.Path) -> str:
    """Writes results.json, the figure and both pages; returns what the terminal shows."""
    records.save(workdir / 'results.json', results)
    reporting.curves_png(workdir / 'curves.png', results)
    pages = [workdir / 'report.md', workdir / 'report.html']
    write_whole(pages[0], reporting.report(results, 'curves.png').encode())
    if hosts.first():
        drawn = (workdir / 'curves.png').read_bytes()
        write_whole(pages[1], reporting.page(results, drawn).encode())
    return f'\n{reporting.table(results)}\n\nreport: {", ".join(map(str, pages))}'


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
