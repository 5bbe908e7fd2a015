"""The papers' table cells: which command makes one, and what was published. None: not published, or not found.

Published numbers are test top-1 accuracies; of the matching methods those of a ConvNet-3 (ConvNet-4 on Tiny-ImageNet in
some papers) trained on the distilled set for 1,000 epochs (DC: 300). Here they are fractions, mean and standard
deviation where it is known.
"""
from typing import NamedTuple

from experiments import soft_cells
from experiments.configs import Config

PAD = '{} row of PAD (2024), table 1'
NCFM = '{} row of NCFM (CVPR 2025), table 1'
KIP = '{} of its README; deviations as in KIP (NeurIPS 2021)'
IDC_README = 'README of the released IDC code'
NOT_FOUND = 'not found in any source available to us'
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
    labels: str = 'hard'       # 'hard', 'static' or 'dynamic'
    student: str = 'convnet'

    @property
    def command(self) -> str:
        """The command that reproduces the cell, without paths."""
        words = f'python -m experiments.run {self.method} --dataset {self.dataset} --ipc {self.ipc}'
        if self.plugins:
            words += f' --plugins {" ".join(self.plugins)}'
        if self.labels == 'hard':
            return words
        if named := soft_cells.protocol(self.method, self.labels, self.dataset):
            words += f' --evaluation.protocol {named}'
        if self.student != soft_cells.STUDENTS.get(self.dataset, 'resnet18_stem3'):
            words += f' --evaluation.networks {self.student}'
        return words


DATASETS = ('svhn_cropped', 'cifar10', 'cifar100', 'tiny_imagenet')
IPCS = (1, 10, 50)

# (method, plug-ins, data set) -> source, and per IPCS (mean, deviation) in percent; None: not published.
PUBLISHED = {
    ('dc', (), 'svhn_cropped'): (KIP.format('DC'), ((31.2, 1.4), (76.1, .6), (82.3, .3))),
    ('dc', (), 'cifar10'): (PAD.format('DC'), ((28.3, .5), (44.9, .5), (53.9, .5))),
    ('dc', (), 'cifar100'): (PAD.format('DC'), ((12.8, .3), (25.2, .3), None)),
    ('dsa', (), 'svhn_cropped'): (KIP.format('DSA'), ((27.5, 1.4), (79.2, .5), (84.4, .4))),
    ('dsa', (), 'cifar10'): (PAD.format('DSA'), ((28.8, .7), (52.1, .5), (60.6, .5))),
    ('dsa', (), 'cifar100'): (PAD.format('DSA'), ((13.9, .3), (32.3, .3), (42.8, .4))),
    ('dm', (), 'cifar10'): (PAD.format('DM'), ((26.0, .8), (48.9, .6), (63.0, .4))),
    ('dm', (), 'cifar100'): (PAD.format('DM'), ((11.4, .3), (29.7, .3), (43.6, .4))),
    ('dm', (), 'tiny_imagenet'): (PAD.format('DM'), ((3.9, .2), (12.9, .4), (24.1, .3))),
    ('idm', (), 'cifar10'): (f'{NCFM.format("IDM")}; deviations as in InfoUtil',
                             ((45.6, .7), (58.6, .1), (67.5, .1))),
    ('idm', (), 'cifar100'): (f'{NCFM.format("IDM")}; deviations as in InfoUtil',
                              ((20.1, .3), (45.1, .1), (50.0, .2))),
    ('idm', (), 'tiny_imagenet'): (NCFM.format('IDM'), ((10.1, None), (21.9, None), (27.7, None))),
    ('idm', ('cc', 'cm'), 'cifar10'): (NCFM.format('IID'), ((47.1, None), (59.9, None), (69.0, None))),
    ('idm', ('cc', 'cm'), 'cifar100'): (NCFM.format('IID'), ((24.6, None), (45.7, None), (51.3, None))),
    ('idc', (), 'svhn_cropped'): (IDC_README, ((68.5, None), (87.5, None), (90.1, None))),
    ('idc', (), 'cifar10'): (IDC_README, ((50.6, None), (67.5, None), (74.5, None))),
    ('idc', (), 'cifar100'): (IDC_README, (None, (45.1, None), None)),
}


def _cells(method: str, plugins: tuple[str, ...], source: str, ipcs: tuple[int, ...] = IPCS) -> list[Cell]:
    """One method's cells on every data set; `source` says what an unpublished one lacks."""
    made = []
    for dataset in DATASETS:
        found, values = PUBLISHED.get((method, plugins, dataset), (source, (None,) * len(IPCS)))
        for ipc in ipcs:
            mean, std = values[IPCS.index(ipc)] or (None, None)
            made.append(Cell(method, plugins, dataset, ipc, _fraction(mean), _fraction(std),
                             source if mean is None else found))
    return made


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else round(percent / 100, 6)


METHODS = ('dc', 'dsa', 'dm', 'idm', 'idc')
CELLS = [cell for method in METHODS for cell in _cells(method, (), NOT_FOUND)]
CELLS += _cells('dm', ('cc', 'cm'), IID_TABLE, (10, 50)) + _cells('idm', ('cc', 'cm'), IID_TABLE)
CELLS += [cell for method in METHODS for cell in _cells(method, ('cmi',), CMI_TABLE, (10, 50))]
CELLS += [Cell(method, (), dataset, ipc, _fraction(mean), _fraction(std), source, labels, student)
          for (method, labels, dataset, student), (source, row) in soft_cells.PUBLISHED.items()
          for ipc, (mean, std) in row.items()]
CELLS += [Cell(method, plugins, 'cifar10', 10, None, None, soft_cells.NO_PLUGINS, labels, 'resnet18_stem3')
          for method, labels in (('sre2l', 'dynamic'), ('infer', 'static')) for plugins in soft_cells.PLUGINS]


def published(config: Config) -> dict | None:
    """What was published for a configuration's cell, as `report` takes it; None if nothing was.

    A configuration belongs to a cell by method, plug-ins, data set, images per class, kind of labels and (first)
    student, whatever its budget: the report prints both, so that a smaller budget is seen.
    """
    e = config.evaluation
    labels = 'dynamic' if e.labels == 'replayed' else e.labels
    for cell in CELLS:
        if (cell.method, cell.plugins, cell.dataset, cell.ipc, cell.labels, cell.student) == (
                config.method, tuple(sorted(config.plugins)), config.dataset, config.ipc, labels, e.networks[0]
        ) and cell.value is not None:
            return {'value': cell.value, 'std': cell.std, 'source': cell.source}
    return None
