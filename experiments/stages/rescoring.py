"""Students of a distilled set under a budget that everybody can afford: once, and again later."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.configs import presets, scoring
from experiments.stages import existing, jobs, scores, workplace
from jaxdd import parallel
from jaxdd.reporting import report

EPOCHS, SEEDS = 60, 1
TOLERANCE = 0.02  # of an accuracy, a fraction, beside the seeds' spread: other hardware, one seed


class Stopped(Exception):
    """The process was asked to end while students trained."""


class Budget(NamedTuple):
    """What students are trained with; the set's own protocol holds otherwise."""

    epochs: int
    seeds: int
    data_dir: str | None  # None: that of the set, or TensorFlow Datasets' own
    num_devices: int | None  # None: all


class Comparison(NamedTuple):
    """Accuracies of a set's students now and then, fractions."""

    now: float
    then: float
    allowed: float  # difference of the two

    @property
    def holds(self) -> bool:
        """Whether they differ by no more than is allowed."""
        return abs(self.now - self.then) <= self.allowed


def score(
    budget: Budget, path: pathlib.Path, network: str, precision: str | None, stop: scores.Stop
) -> dict[str, Any]:
    """Accuracies of students.

    Args:
        path: of the set's file.
        network: of the students.
        precision: None: that of the hardware.

    Returns:
        A record as `jaxdd.exchange.catalogue.SMOKE`.

    Raises:
        ValueError: a data set that is not there, or labels that need the teachers.
        Stopped: the process was asked to end.
    """
    own, given = scoring.parse([str(path), *_words(budget, network, precision)])
    with workplace.computing(own):
        dataset = existing.read(own, given)
        labelled = existing.labelled_sets(own, dataset, given)['distilled']
        found = scores.score(own, dataset, labelled, stop, title=path.parent.name)
        if stop():
            raise Stopped
        return {
            'epochs': own.evaluation.epochs,
            'network': network,
            'protocol': report.protocol(presets.identified(own.evaluation)),
            'precision': jobs.precision(own),
            'hardware': parallel.hardware(),
            'per_seed': list(found[network].per_seed),
        }


def compared(now: Sequence[float], then: Sequence[float]) -> Comparison:
    """Two groups of students: their means may differ by two standard errors and `TOLERANCE`.

    2 sqrt(s_1^2 / n_1 + s_2^2 / n_2), with s the sample standard deviation (n - 1). One student has
    none: the other group's stands for it, or 0.
    """
    known = [float(np.var(some, ddof=1)) for some in (now, then) if len(some) > 1]
    spread = sum(
        (float(np.var(some, ddof=1)) if len(some) > 1 else (known or [0.0])[0]) / len(some)
        for some in (now, then)
    )
    return Comparison(float(np.mean(now)), float(np.mean(then)), 2 * spread**0.5 + TOLERANCE)


def said(now: dict[str, Any], then: dict[str, Any], found: Comparison) -> str:
    """A line: how students (a record of `score`) compare with those of packing."""
    return (
        f'{now["network"]}, {now["protocol"]}, {now["precision"]}: '
        f'{100 * found.now:.2f} % of {len(now["per_seed"])} students on {now["hardware"]}, '
        f'{100 * found.then:.2f} % of {len(then["per_seed"])} when packed on {then["hardware"]}; '
        f'difference {100 * (found.now - found.then):+.2f} points, '
        f'{"within" if found.holds else "OUTSIDE"} {100 * found.allowed:.2f} (two standard errors '
        f'and {100 * TOLERANCE:g})'
    )


def _words(budget: Budget, network: str, precision: str | None) -> Iterator[str]:
    """Of `experiments.evaluate`."""
    yield from ('--evaluation.networks', network)
    yield from ('--evaluation.epochs', str(budget.epochs))
    yield from ('--evaluation.num-seeds', str(budget.seeds))
    more = {
        'precision': precision,
        'data-dir': budget.data_dir,
        'num-devices': budget.num_devices,
    }
    for name, value in more.items():
        if value is not None:
            yield from (f'--{name}', str(value))
