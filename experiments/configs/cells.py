"""The papers' table cells: which command makes one, and what was published.

None: not published, or not found.

Published numbers are test top-1 accuracies; of the matching methods those of a ConvNet-3 (ConvNet-4
on Tiny-ImageNet in some papers) trained on the distilled set for 1,000 epochs (DC: 300). Here they
are fractions, mean and standard deviation where it is known. The rows stand with their methods, in
`experiments.methods`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PAD = '{} row of PAD (2024), table 1'
NCFM = '{} row of NCFM (CVPR 2025), table 1'
KIP = '{} of its README; deviations as in KIP (NeurIPS 2021)'
IDC_README = 'README of the released IDC code'
NOT_FOUND = 'not found in any source available to us'
CMI_TABLE = 'not found: the tables of CMI (ICLR 2025) were not available to us'
IID_TABLE = 'not found: the tables of IID (CVPR 2024) were not available to us'
NO_PLUGINS = 'not published: no table of IID, CMI or INFER holds a plug-in on these methods'
PLUGINS = (('cc',), ('cm',), ('cmi',), ('cc', 'cm'))  # of the methods that recover
DATASETS = ('svhn_cropped', 'cifar10', 'cifar100', 'tiny_imagenet')
IPCS = (1, 10, 50)
SIZES = {'tiny_imagenet': '-tiny', 'imagenet': '-imagenet'}  # in the protocols' names
STUDENTS = {'imagenet': 'resnet18_stem7'}  # of a preset that recovers; resnet18_stem3 elsewhere
Percent = tuple[float, float | None] | None  # mean and deviation


class Cell(NamedTuple):
    """One cell of a paper's table."""

    method: str
    plugins: tuple[str, ...]
    dataset: str
    ipc: int
    value: float | None  # accuracy, fraction in [0, 1]
    std: float | None
    source: str
    labels: str = 'hard'  # 'hard', 'static' or 'dynamic'
    student: str = 'convnet'
    options: str = ''  # beside the preset's

    @property
    def command(self) -> str:
        """The command that reproduces the cell, without paths."""
        plugins = f'--plugins {" ".join(self.plugins)}' if self.plugins else ''
        return ' '.join(
            filter(
                None,
                (
                    f'python -m experiments.run {self.method} --dataset {self.dataset}',
                    f'--ipc {self.ipc}',
                    plugins,
                    self.options,
                ),
            )
        )


def matched(
    method: str,
    plugins: tuple[str, ...],
    found: Mapping[str, tuple[str, Sequence[Percent]]],
    missing: str,
    ipcs: Sequence[int] = IPCS,
) -> tuple[Cell, ...]:
    """A matching method's cells on every data set.

    Args:
        found: data set -> source, and percents per `IPCS`.
        missing: what an unpublished one lacks.
    """
    made = []
    for dataset in DATASETS:
        source, values = found.get(dataset, (missing, (None,) * len(IPCS)))
        for ipc in ipcs:
            value = values[IPCS.index(ipc)]
            made.append(
                Cell(
                    method, plugins, dataset, ipc, *_fractions(value), source if value else missing
                )
            )
    return tuple(made)


def recovered(
    method: str, usual: str, found: Mapping[tuple[str, str, str], tuple[str, Mapping[int, Percent]]]
) -> tuple[Cell, ...]:
    """A recovering method's cells, and those of plug-ins, which nobody published.

    Args:
        usual: the labels of its presets.
        found: (labels, data set, student) -> source, {images per class: percents}.
    """
    made = [
        Cell(
            method,
            (),
            dataset,
            ipc,
            *_fractions(value),
            source,
            labels,
            student,
            _options(labels, usual, dataset, student),
        )
        for (labels, dataset, student), (source, row) in found.items()
        for ipc, value in row.items()
    ]
    return (
        *made,
        *(
            Cell(method, plugins, 'cifar10', 10, None, None, NO_PLUGINS, usual, 'resnet18_stem3')
            for plugins in PLUGINS
        ),
    )


def _options(labels: str, usual: str, dataset: str, student: str) -> str:
    """The protocol of a cell whose labels are not the preset's,
    and its student where it is another."""
    words = []
    if labels != usual:
        words.append(
            '--evaluation.protocol '
            f'infer{SIZES.get(dataset, "")}{"-dynamic" if labels == "dynamic" else ""}'
        )
    if student != STUDENTS.get(dataset, 'resnet18_stem3'):
        words.append(f'--evaluation.networks {student}')
    return ' '.join(words)


def _fractions(percent: Percent) -> tuple[float | None, float | None]:
    mean, std = percent or (None, None)
    return _fraction(mean), _fraction(std)


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else round(percent / 100, 6)


def published(cells: Sequence[Cell], config: Any) -> dict | None:
    """What was published for a configuration's cell, as `report` takes it; None if nothing was.

    A configuration belongs to a cell by method, plug-ins, data set, images per class, kind of
    labels and (first) student, whatever its budget: the report prints both, so that a smaller
    budget is seen.

    Args:
        cells: of the method.
    """
    e = config.evaluation
    labels = 'dynamic' if e.labels in ('replayed', 'stored') else e.labels
    for cell in cells:
        if (cell.plugins, cell.dataset, cell.ipc, cell.labels, cell.student) == (
            tuple(sorted(config.plugins)),
            config.dataset,
            config.ipc,
            labels,
            e.networks[0],
        ) and cell.value is not None:
            return {'value': cell.value, 'std': cell.std, 'source': cell.source}
    return None
