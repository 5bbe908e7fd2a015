"""The papers' table cells: which command makes one, and what was published. None: not published, or not found.

Published numbers are test top-1 accuracies of a ConvNet-3 (ConvNet-4 on Tiny-ImageNet in some papers) trained on the
distilled set for 1,000 epochs; fractions here, mean and standard deviation.
"""
from typing import NamedTuple

from experiments.configs import Config

DM_TABLE = 'DM row of PAD (2024), table 1'
CMI_TABLE = 'not found: the tables of CMI (ICLR 2025) were not available to us'
IID_TABLE = 'not found: the tables of IID (CVPR 2024) were not available to us'


class Cell(NamedTuple):
    """One cell of a paper's table."""
    method: str
    plugins: tuple[str, ...]
    dataset: str
    ipc: int
    value: float | None     # accuracy, fraction in [0, 1]
    std: float | None
    source: str

    @property
    def command(self) -> str:
        """The command that reproduces the cell, without paths."""
        plugins = f' --plugins {" ".join(self.plugins)}' if self.plugins else ''
        return f'python -m experiments.run {self.method} --dataset {self.dataset} --ipc {self.ipc}{plugins}'


def _row(method, plugins, dataset, source, cells) -> list[Cell]:
    return [Cell(method, plugins, dataset, ipc, value, std, source) for ipc, value, std in cells]


CELLS = (
    _row('dm', (), 'cifar10', DM_TABLE, [(1, .260, .008), (10, .489, .006), (50, .630, .004)])
    + _row('dm', (), 'cifar100', DM_TABLE, [(1, .114, .003), (10, .297, .003), (50, .436, .004)])
    + _row('dm', (), 'tiny_imagenet', DM_TABLE, [(1, .039, .002), (10, .129, .004), (50, .241, .003)])
    + [cell for dataset in ('svhn_cropped', 'cifar10', 'cifar100') for plugins, source in
       ((('cc', 'cm'), IID_TABLE), (('cmi',), CMI_TABLE))
       for cell in _row('dm', plugins, dataset, source, [(10, None, None), (50, None, None)])])


def published(config: Config) -> dict | None:
    """What was published for a configuration's cell, as `report` takes it; None if nothing was.

    A configuration belongs to a cell by method, plug-ins, data set and images per class, whatever its budget:
    the report prints both, so that a smaller budget is seen.
    """
    for cell in CELLS:
        if (cell.method, cell.plugins, cell.dataset, cell.ipc) == (
                config.method, tuple(sorted(config.plugins)), config.dataset, config.ipc) and cell.value is not None:
            return {'value': cell.value, 'std': cell.std, 'source': cell.source}
    return None
