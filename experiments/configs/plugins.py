"""The plug-ins: the only table of regularizers. A new one is a row here."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import tyro

from experiments.configs.papers import CMI as CMI_PAPER
from experiments.configs.papers import IID as IID_PAPER
from experiments.configs.papers import Paper
from experiments.configs.rules import Amount, choice
from jaxdd import regularizers
from jaxdd.checks import one_of
from jaxdd.types import Term

UNPUBLISHED = 'not published: automatic scale'
USERS = 'set by the user'
IID = 'IID (CVPR 2024), literal in the released code for CIFAR-10, IPC 10'
CMI = 'CMI (ICLR 2025), comment in the released code'

# (method, data set, images per class) -> lambda. The base loss sums over classes, CC sums over
# images, CM over classes, CMI is a mean over images in nats: a weight means something only with
# these reductions.
CC = {('dm', 'cifar10', 10): (0.05, IID), ('idm', 'cifar10', 10): (0.01, IID)}
CM = {('dm', 'cifar10', 10): (0.01, IID), ('idm', 'cifar10', 10): (0.03, IID)}
CMI_WEIGHTS = {
    ('dm', 'svhn_cropped', 10): (18000, CMI),
    ('dm', 'svhn_cropped', 50): (500, CMI),
    ('dm', 'cifar10', 10): (8000, CMI),
    ('dm', 'cifar10', 50): (2000, CMI),
    ('dm', 'cifar100', 10): (2000, CMI),
    ('dm', 'cifar100', 50): (500, CMI),
    ('dc', 'cifar10', 10): (50000, CMI),
    ('dc', 'cifar10', 50): (10000, CMI),
    ('dsa', 'svhn_cropped', 10): (80000, CMI),
    ('dsa', 'svhn_cropped', 50): (10000, CMI),
    ('dsa', 'cifar10', 10): (50000, CMI),
    ('dsa', 'cifar10', 50): (10000, CMI),
    ('dsa', 'cifar100', 10): (80000, CMI),
    ('dsa', 'cifar100', 50): (20000, CMI),
    ('idc', 'svhn_cropped', 10): (50, CMI),
    ('idc', 'svhn_cropped', 50): (50, CMI),
    ('idc', 'cifar10', 10): (100, CMI),
    ('idc', 'cifar10', 50): (50, CMI),
    ('idc', 'cifar100', 10): (100, CMI),
    ('idc', 'cifar100', 50): (50, CMI),
}


class Plugin(NamedTuple):
    """A regularizer as commands know it."""

    term: Callable[..., Term]  # takes `form` where it has several
    about: str  # for --help
    # (method, data set, ipc) -> lambda, its source
    weights: Mapping[tuple[str, str, int], tuple[float, str]] = {}
    forms: tuple[str, ...] = ()  # names of its variants, the default first
    papers: tuple[Paper, ...] = ()


PLUGINS = {
    'cc': Plugin(
        regularizers.cc, 'Class centralization (IID).', CC, ('squared', 'exp_hinge'), (IID_PAPER,)
    ),
    'cm': Plugin(regularizers.cm, 'Local covariance matching (IID).', CM, papers=(IID_PAPER,)),
    'cmi': Plugin(
        regularizers.cmi, 'Conditional mutual information (CMI).', CMI_WEIGHTS, papers=(CMI_PAPER,)
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularizer:
    """One plug-in's weight."""

    weight: Amount | None = None
    """lambda; None: automatic, so that its gradient is `ratio` times the objective's at the
    start."""
    ratio: Amount = 0.1
    """Wanted ||lambda grad R|| / ||grad L|| of an automatic weight."""
    source: str = UNPUBLISHED
    """Where the weight comes from."""


def _fields() -> list[tuple[str, Any, Any]]:
    """A weight for every plug-in, and its form where it has several."""
    made = []
    for name, plugin in PLUGINS.items():
        made.append((name, Annotated[Regularizer, tyro.conf.arg(help=plugin.about)], Regularizer()))
        if plugin.forms:
            made.append((f'{name}_form', choice(*plugin.forms), plugin.forms[0]))
    return made


Regularizers = dataclasses.make_dataclass(
    'Regularizers',
    _fields(),
    frozen=True,
    kw_only=True,
    namespace={'__doc__': 'The weights of the plug-ins that are named.'},
)


def terms(plugins: Sequence[str], settings: Any) -> dict[str, Term]:
    """name -> term of every plug-in that is named, in the order of the table.

    Args:
        settings: a `Regularizers`.
    """
    return {
        name: plugin.term(**({'form': getattr(settings, f'{name}_form')} if plugin.forms else {}))
        for name, plugin in PLUGINS.items()
        if name in plugins
    }


def published(method: str, dataset: str, ipc: int, plugins: Sequence[str]) -> Any:
    """The regularizers of a run: published weights where they exist, the automatic scale elsewhere.

    Raises:
        ValueError: an unknown plug-in.
    """
    for name in plugins:
        one_of('plug-in', name, PLUGINS)
    return Regularizers(
        **{name: _weight(PLUGINS[name].weights, method, dataset, ipc) for name in plugins}
    )


def _weight(table: Mapping, method: str, dataset: str, ipc: int) -> Regularizer:
    if (method, dataset, ipc) not in table:
        return Regularizer()
    weight, source = table[method, dataset, ipc]
    return Regularizer(weight=float(weight), source=source)
