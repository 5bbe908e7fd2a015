"""The plug-ins: the only table of regularizers. A new one is a row here."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import tyro

from experiments.configs.papers import CMI as CMI_PAPER
from experiments.configs.papers import IID as IID_PAPER
from experiments.configs.papers import Paper
from experiments.configs.rules import Amount, Count, Positive, choice
from jaxdd import regularizers
from jaxdd.checks import one_of
from jaxdd.losses.relations import DESCRIPTORS
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

    term: Callable[..., Term]  # takes its options by name
    about: str  # for --help
    # (method, data set, ipc) -> lambda, its source
    weights: Mapping[tuple[str, str, int], tuple[float, str]] = {}
    # name -> type, default; an option of plug-in x is the field x_<name>
    options: Mapping[str, tuple[Any, Any]] = {}
    papers: tuple[Paper, ...] = ()
    proxy_weight_decay: float | None = None  # of the paper's proxies; None: it reads none


def _about(kind: Any, words: str) -> Any:
    return Annotated[kind, tyro.conf.arg(help=words)]


PLUGINS = {
    'cc': Plugin(
        regularizers.cc,
        'Class centralization (IID).',
        CC,
        {
            'form': (choice('squared', 'exp_hinge'), 'squared'),
            'alpha': (_about(Positive, "Of 'exp_hinge': its steepness."), 0.02),
            'beta': (_about(Amount, "Of 'exp_hinge': its floor."), 1.0),
        },
        (IID_PAPER,),
        5e-4,
    ),
    'cm': Plugin(
        regularizers.cm,
        'Local covariance matching (IID).',
        CM,
        {
            'descriptor': (
                _about(choice(*DESCRIPTORS), "What covaries; IID: 'channel-row' on Tiny-ImageNet."),
                'channel',
            )
        },
        (IID_PAPER,),
    ),
    'cmi': Plugin(
        regularizers.cmi,
        'Conditional mutual information (CMI).',
        CMI_WEIGHTS,
        papers=(CMI_PAPER,),
        proxy_weight_decay=1e-3,
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
    every: Count = 1
    """n: it is there at every n-th update, n times as strong, and costs nothing between."""
    source: str = UNPUBLISHED
    """Where the weight comes from."""


def _fields() -> list[tuple[str, Any, Any]]:
    """A weight for every plug-in, and its options."""
    made = []
    for name, plugin in PLUGINS.items():
        made.append((name, Annotated[Regularizer, tyro.conf.arg(help=plugin.about)], Regularizer()))
        made += [(f'{name}_{option}', *kind) for option, kind in plugin.options.items()]
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
        name: plugin.term(
            **{option: getattr(settings, f'{name}_{option}') for option in plugin.options}
        )
        for name, plugin in PLUGINS.items()
        if name in plugins
    }


def owner(field: str) -> str:
    """The plug-in whose weight or option a field of `Regularizers` is."""
    return field.partition('_')[0]


def proxy_weight_decay(plugins: Sequence[str]) -> float:
    """What the papers' proxies are trained with: IID's where CC alone reads them, else CMI's."""
    known = [decay for name in plugins if (decay := PLUGINS[name].proxy_weight_decay) is not None]
    return max(known, default=PLUGINS['cmi'].proxy_weight_decay)


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
