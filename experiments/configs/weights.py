"""Published weights of the plug-ins, with their source. What is not here is not published."""
from experiments.configs.base import Regularizer, Regularizers
from jaxdd.checks import one_of

IID = 'IID (CVPR 2024), literal in the released code for CIFAR-10, IPC 10'
CMI = 'CMI (ICLR 2025), comment in the released code'

# (method, data set, images per class) -> lambda. The base loss sums over classes, CC sums over images, CM over
# classes, CMI is a mean over images in nats: a weight means something only with these reductions.
CC = {('dm', 'cifar10', 10): (0.05, IID), ('idm', 'cifar10', 10): (0.01, IID)}
CM = {('dm', 'cifar10', 10): (0.01, IID), ('idm', 'cifar10', 10): (0.03, IID)}
CMI_WEIGHTS = {
    ('dm', 'svhn_cropped', 10): (18000, CMI), ('dm', 'svhn_cropped', 50): (500, CMI),
    ('dm', 'cifar10', 10): (8000, CMI), ('dm', 'cifar10', 50): (2000, CMI),
    ('dm', 'cifar100', 10): (2000, CMI), ('dm', 'cifar100', 50): (500, CMI),
    ('dc', 'cifar10', 10): (50000, CMI), ('dc', 'cifar10', 50): (10000, CMI),
    ('dsa', 'svhn_cropped', 10): (80000, CMI), ('dsa', 'svhn_cropped', 50): (10000, CMI),
    ('dsa', 'cifar10', 10): (50000, CMI), ('dsa', 'cifar10', 50): (10000, CMI),
    ('dsa', 'cifar100', 10): (80000, CMI), ('dsa', 'cifar100', 50): (20000, CMI),
    ('idc', 'svhn_cropped', 10): (50, CMI), ('idc', 'svhn_cropped', 50): (50, CMI),
    ('idc', 'cifar10', 10): (100, CMI), ('idc', 'cifar10', 50): (50, CMI),
    ('idc', 'cifar100', 10): (100, CMI), ('idc', 'cifar100', 50): (50, CMI),
}
TABLES = {'cc': CC, 'cm': CM, 'cmi': CMI_WEIGHTS}


def published(method: str, dataset: str, ipc: int, plugins: tuple[str, ...]) -> Regularizers:
    """The regularizers of a run: published weights where they exist, the automatic scale elsewhere.

    Raises:
        ValueError: an unknown plug-in.
    """
    for name in plugins:
        one_of('plug-in', name, TABLES)
    return Regularizers(**{name: _weight(TABLES[name], method, dataset, ipc) for name in plugins})


def _weight(table, method: str, dataset: str, ipc: int) -> Regularizer:
    if (method, dataset, ipc) not in table:
        return Regularizer()
    weight, source = table[method, dataset, ipc]
    return Regularizer(weight=float(weight), source=source)
