r"""MTT (Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932) and DATM (Guo et al., ICLR
2024, https://arxiv.org/abs/2310.05773), optionally with plug-ins.

Command:   python -m experiments.run mtt --dataset cifar10 --ipc 10 --workdir runs/mtt
Expect:    MTT, CIFAR-10, IPC 10: 65.3 +- 0.7 % published (5,000 steps of 30 inner steps, 100
           experts, the best of 50 evaluations on test images); DATM: 66.8 +- 0.2 %; ours at a
           smaller budget: see experiments/README.md.  Smoke: add --smoke
"""

import dataclasses

from experiments.configs import base, cells, papers, plugins, presets
from experiments.configs.entry import Entry
from experiments.configs.rules import (
    Amount,
    Count,
    Momentum,
    Number,
    Positive,
    Seed,
    Text,
    choice,
    refuse,
)
from experiments.configs.trajectories import (
    DATM_ELSEWHERE,
    DATM_TABLE,
    MTT_ELSEWHERE,
    MTT_TABLE,
    Later,
    Row,
)
from experiments.stages import build, following
from jaxdd import data, methods
from jaxdd.storage.atomic import expanded
from jaxdd.types import Method

MTT_SOURCE = cells.NCFM.format('MTT')
DATM_SOURCE = cells.PAD.format('DATM')
CELLS = {
    'mtt': (
        *cells.matched(
            'mtt',
            (),
            {
                'cifar10': (MTT_SOURCE, ((46.3, 0.8), (65.3, 0.7), (71.6, 0.2))),
                'cifar100': (MTT_SOURCE, ((24.3, 0.3), (40.1, 0.4), (47.7, 0.2))),
                'tiny_imagenet': (MTT_SOURCE, ((8.8, 0.3), (23.2, 0.2), (28.0, 0.3))),
            },
            cells.NOT_FOUND,
        ),
        *cells.matched('mtt', ('cmi',), {}, cells.CMI_TABLE, (10, 50)),
    ),
    'datm': (
        *cells.matched(
            'datm',
            (),
            {
                'cifar10': (DATM_SOURCE, ((46.9, 0.5), (66.8, 0.2), (76.1, 0.3))),
                'cifar100': (DATM_SOURCE, ((27.9, 0.2), (47.2, 0.4), (55.0, 0.2))),
                'tiny_imagenet': (DATM_SOURCE, ((17.1, 0.3), (31.1, 0.3), (39.7, 0.3))),
            },
            cells.NOT_FOUND,
        ),
        *cells.matched('datm', ('cmi',), {}, cells.CMI_TABLE, (10, 50)),
    ),
}


# DATM's experts on CIFAR-10, which its first labels come from; nothing is said of other data sets
SHARP = {'epochs': 100, 'rho': 0.01, 'alpha': 0.3}
# Ours: experts on the digits learn in few epochs
DIGITS = Row(10, 2, 8, None, 100, 1e-4, 0.05, False)


@base.frozen
class Experts:
    """Networks trained on the real set, whose trajectories students follow."""

    count: Count = 100
    epochs: Count | None = None
    """Of their training; default: as many as are read, latest start and span."""
    batch_size: Count = 256
    """Images; a smaller set is one batch."""
    learning_rate: Positive = 0.01
    momentum: Momentum = 0.0
    weight_decay: Amount = 0.0
    rho: Amount = 0.0
    """Radius of GSAM's disturbance (FTD, DATM); 0: plain SGD."""
    alpha: Amount = 0.3
    """Of GSAM: share of what is orthogonal to the disturbed gradient."""
    strategy: Text = 'default'
    """Augmentation per image: operations joined by '_', 'none', or 'default' for the data set's."""
    folder: str | None = None
    """Experts of another cache, its folder of this recipe; default: the run's own cache."""
    together: Count | None = None
    """Experts as one program; default: 8 on accelerators, 1 on CPUs."""
    checkpoint_every: Count = 1000
    """Steps between saves of an expert on its way, at the end of an epoch."""
    seed: Seed = 0
    """Of the experts; runs with another `seed` share them."""


@base.frozen
class Matching:
    """A student's training, and the part of an expert's that it is to reach."""

    num_steps: Count
    """Inner steps of a student."""
    span: Count
    """Epochs of the expert that they stand for."""
    least_start: Number = 0
    """First start epoch."""
    first_start: Count | None = None
    """One more than the last start epoch, at the first step; default: `last_start`."""
    last_start: Count
    """One more than the last start epoch, in the end."""
    expansion: Number = 0
    """Steps in which it grows from the one to the other."""
    batch_size: Count | None = None
    """Synthetic images per inner step; default: all."""
    start_rate: Positive = 0.01
    """The students' learning rate before it is moved."""
    gradient: choice('exact', 'tesla') = 'exact'
    """'exact', or 'tesla': as if a step moved no later gradient (TESLA)."""
    recompute: bool = True
    """Compute inner steps again in the backward pass, in the memory of one; off keeps them all."""


@base.frozen
class DifficultyMatching(Matching):
    """MTT's, and which steps are left out."""

    threshold: Positive = 1.0
    """A step whose trajectory loss is above it moves nothing."""


@base.frozen
class Optimizer(base.Optimizer):
    """What moves images, step size and labels."""

    name: choice('sgd') = 'sgd'
    schedule: choice('constant') = 'constant'
    rate_learning_rate: Positive = 1e-5
    """Of the students' learning rate."""
    label_learning_rate: Positive = 10.0
    """Of the labels' logits, where they are learned."""
    label_momentum: Momentum = 0.9


@base.frozen
class Following(base.Matched):
    """Trajectory matching: students on the synthetic set follow experts on the real one."""

    matching: Matching
    optimizer: Optimizer = Optimizer()
    experts: Experts = Experts()

    matches_real = False
    learns_labels = False


@base.frozen
class MTT(Following):
    """Trajectory matching with hard labels."""


@base.frozen
class DATM(Following):
    """Trajectory matching with learned labels, over a range of epochs that grows."""

    init: choice('predicted', 'real', 'noise', *base.CORESETS) = 'predicted'
    """The first synthetic images: 'predicted', real ones that an expert classifies correctly;
    'real' ones at random, 'noise', or a core-set (as in `evaluation.coresets`)."""
    matching: DifficultyMatching

    learns_labels = True


def published(dataset: str = 'cifar10', ipc: int = 10, names: tuple[str, ...] = ()) -> MTT:
    """MTT: the table that its author gave; digits gets a budget of seconds."""
    row = DIGITS if dataset == 'digits' else MTT_TABLE.get((dataset, ipc), MTT_ELSEWHERE)
    made = MTT(
        method='mtt',
        num_steps=5000,
        matching=Matching(**_matching(row)),
        optimizer=_optimizer(row, Later(10.0)),
        evaluation=presets.protocol('mtt'),
        regularizers=plugins.published('mtt', dataset, ipc, names),
        **_common(dataset, ipc, names, row),
    )
    return _on_digits(made) if dataset == 'digits' else made


def published_datm(dataset: str = 'cifar10', ipc: int = 10, names: tuple[str, ...] = ()) -> DATM:
    """DATM: the authors' configurations; digits gets a budget of seconds."""
    row, later = DATM_TABLE.get((dataset, ipc), DATM_ELSEWHERE)
    if dataset == 'digits':
        row, later = DIGITS, Later(2.0, 0, 4, 100)
    more = {name: getattr(later, name) for name in ('least_start', 'first_start', 'expansion')}
    made = DATM(
        method='datm',
        num_steps=10_000,
        matching=DifficultyMatching(**_matching(row), **more, threshold=later.threshold),
        optimizer=_optimizer(row, later),
        experts=Experts(**SHARP),
        evaluation=presets.protocol('datm'),
        regularizers=plugins.published('datm', dataset, ipc, names),
        **_common(dataset, ipc, names, row),
    )
    return _on_digits(made) if dataset == 'digits' else made


def _common(dataset: str, ipc: int, names: tuple[str, ...], row: Row) -> dict:
    return {
        'dataset': dataset,
        'ipc': ipc,
        'plugins': names,
        'data': base.MatchedData(per_class=256, zca=row.zca),
        'encoder': base.Network(name='convnet'),
    }


def _matching(row: Row) -> dict:
    names = ('num_steps', 'span', 'last_start', 'batch_size', 'start_rate')
    return {name: getattr(row, name) for name in names}


def _optimizer(row: Row, later: Later) -> Optimizer:
    return Optimizer(
        learning_rate=row.learning_rate,
        momentum=0.5,
        rate_learning_rate=row.rate_learning_rate,
        label_learning_rate=later.label_learning_rate,
    )


def _on_digits(config: Following) -> Following:
    small = presets.digits(config)
    return dataclasses.replace(
        small, experts=Experts(count=5, batch_size=64, learning_rate=0.03, momentum=0.5)
    )


def method(config: Following, dataset: data.Dataset) -> Method:
    """MTT or DATM, without regularizers."""
    m, spec = config.matching, dataset.spec
    build.view(config.experts.strategy, 'S', spec)  # refused now, not after the first expert
    how = {
        'augment': build.view(config.augmentation.strategy, config.augmentation.mode, spec),
        'unroll': methods.Unroll(m.num_steps, m.batch_size, m.gradient, m.recompute),
        'learning_rate': m.start_rate,
    }
    model = build.model(config.encoder, spec)
    if config.learns_labels:
        return methods.datm(model, threshold=m.threshold, **how)
    return methods.mtt(model, **how)


def require(config: Following) -> None:
    """Refuses ranges of epochs that are empty, and experts that end before a student's target."""
    m, needed = config.matching, following.needed_epochs(config)
    first = following.starts(config).first
    refuse(
        'matching.first_start',
        first,
        f'above matching.least_start ({m.least_start}) and at most matching.last_start '
        f'({m.last_start})',
        not m.least_start < first <= m.last_start,
    )
    refuse(
        'matching.first_start',
        m.first_start,
        f'left alone or matching.last_start ({m.last_start}) where matching.expansion is 0: the '
        'range does not grow',
        m.expansion == 0 and first != m.last_start,
    )
    epochs = config.experts.epochs
    refuse(
        'experts.epochs',
        epochs,
        f'at least {needed}: students start up to epoch {m.last_start - 1} and follow for {m.span} '
        f'epochs (`python -m experiments.run {config.method} ... --experts.epochs {needed}` trains '
        'what is missing)',
        epochs is not None and epochs < needed,
    )
    folder = config.experts.folder
    refuse(
        'experts.folder',
        repr(folder),
        'a folder of experts that another run trained',
        folder is not None and not (folder.strip() and expanded(folder).is_dir()),
    )
    refuse(
        'data.sampling',
        config.data.sampling,
        'random: no real batch is matched',
        config.data.sampling != 'random',
    )


def reduced(dataset: str) -> str:
    """Options of a small budget: narrow networks, since experts take most of the time."""
    return (
        '--num-steps 200 --encoder.width 32 --evaluation.width 32 --experts.count 5 '
        '--matching.num-steps 10 --matching.span 1 --matching.least-start 0 '
        '--matching.first-start 4 --matching.last-start 4 --experts.epochs 4 '
        f'--optimizer.learning-rate 1000 {presets.REDUCED_MATCHING}'
    )


MTT_ENTRY = MTT.entry = Entry(
    MTT,
    published,
    build.matched(method),
    following.STAGE,
    build.feed,
    CELLS['mtt'],
    reduced,
    require,
    papers=(papers.MTT,),
    smaller=(
        '--matching.max-synthetic',
        '--matching.num-steps',
        '--precision bf16',
    ),
)
DATM_ENTRY = DATM.entry = MTT_ENTRY._replace(
    config=DATM, published=published_datm, cells=CELLS['datm'], papers=(papers.DATM, papers.MTT)
)
