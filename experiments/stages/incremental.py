"""Class-incremental learning: classes come in one task after the other,
and a memory of a few images per class is all that is kept of them."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.configs import Config
from experiments.stages import (
    choosing,
    identity,
    jobs,
    labelling,
    packing,
    preparing,
    scores,
    students,
)
from experiments.stages.scores import Stop
from jaxdd import data
from jaxdd.storage.fingerprint import fingerprint
from jaxdd.types import SyntheticSet

Sets = dict[str, SyntheticSet]  # 'distilled', 'random', or a core-set's rule -> images


class Task(NamedTuple):
    """The classes that come in together, and those that have come in by then."""

    order: int  # which order of the classes
    number: int  # of the task within it
    classes: tuple[int, ...]
    seen: tuple[int, ...]


def tasks(num_classes: int, num_tasks: int, order: int) -> list[Task]:
    """The tasks of one order of the classes, which is that of DM's script.

    Zhao & Bilen, "Dataset Condensation with Distribution Matching" (WACV 2023),
    https://arxiv.org/abs/2110.04181, section 4.3.

    Raises:
        ValueError: `num_tasks` does not divide the classes into groups of two or more.
    """
    if not 1 <= num_tasks <= num_classes // 2 or num_classes % num_tasks:
        fitting = [n for n in range(1, num_classes // 2 + 1) if num_classes % n == 0]
        raise ValueError(
            f'tasks must divide {num_classes} classes into equal groups of two or more: '
            f'{", ".join(map(str, fitting))}; got {num_tasks}'
        )
    every = np.random.RandomState(order).permutation(num_classes)
    rows = [tuple(map(int, row)) for row in np.split(every, num_tasks)]
    return [Task(order, i, row, sum(rows[: i + 1], ())) for i, row in enumerate(rows)]


def of_task(config: Config, task: Task, workdir: pathlib.Path) -> Config:
    """The run that distils one task's classes, knowing nothing of the others."""
    return dataclasses.replace(
        config,
        seed=config.seed + task.order,
        data=dataclasses.replace(config.data, classes=task.classes),
        workdir=str(workdir / f'order-{task.order}' / f'task-{task.number}'),
    )


def distilled(config: Config, num_classes: int, stop: Stop) -> Sets | None:
    """What each kind of memory takes in for one task; None where it was stopped.

    Args:
        config: of the task.
        num_classes: of all tasks, for the labels.
    """
    workdir, job = pathlib.Path(config.workdir), jobs.load(config)
    workdir.mkdir(parents=True, exist_ok=True)
    config.entry.stage.require_continuable(job, workdir)
    prepared = preparing.prepare(job, stop)
    if stop():
        return None
    job = choosing.started(job, prepared)
    found = config.entry.stage.distil(job, prepared, workdir, stop)
    if stop() or found is None:
        return None
    packing.write(job, prepared.teachers, found, workdir)
    sets = {kind: choosing.real(job, prepared, kind) for kind in jobs.real_rows(config)}
    sets['distilled'] = found.synthetic
    return {kind: widened(one, config.data.classes, num_classes) for kind, one in sets.items()}


def widened(synthetic: SyntheticSet, classes: Sequence[int], num_classes: int) -> SyntheticSet:
    """A set of some classes with labels `[k, n, Y]` over all of them, 0 for the others."""
    images, labels, rate = synthetic
    wide = jnp.zeros((*labels.shape[:2], num_classes), labels.dtype)
    return SyntheticSet(images, wide.at[..., jnp.array(classes)].set(labels), rate)


def joined(sets: Sequence[SyntheticSet]) -> SyntheticSet:
    """The sets of all tasks as one; a learned step size is their mean."""
    rates = [one.learning_rate for one in sets if one.learning_rate is not None]
    return SyntheticSet(
        jnp.concatenate([one.images for one in sets]),
        jnp.concatenate([one.labels for one in sets]),
        jnp.mean(jnp.stack(rates)) if rates else None,
    )


def score(
    own: Config, dataset: data.Dataset, memory: SyntheticSet, task: Task, stop: Stop, kind: str
) -> tuple[float, ...]:
    """Accuracies of students trained from scratch on a memory (GDumb), over all classes seen.

    Prabhu, Torr & Dokania, "GDumb" (ECCV 2020): a network starts anew at every task and trains on
    the memory alone. It chooses among the classes of all tasks.

    Args:
        own: configuration of the task, in whose workdir finished students are kept.
        dataset: all classes.
    """
    e = own.evaluation
    shown = labelling.Labelled(memory, students.student_supervision(e, dataset.spec), 0)
    seen = dataset._replace(test=data.only(dataset.test, task.seen))
    who = fingerprint(identity.of_set(own, seen, shown))
    found = scores.score(
        own,
        seen,
        shown,
        stop,
        title=f'order {task.order}, {len(task.seen)} classes ({kind})',
        path=pathlib.Path(own.workdir) / 'students' / f'{who}.json',
    )
    return found[e.networks[0]].per_seed if found else ()
