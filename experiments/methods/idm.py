r"""IDM (Zhao et al., CVPR 2023, https://arxiv.org/abs/2307.09742), optionally with plug-ins;
with cc and cm: IDM + IID.

Command:   python -m experiments.run idm --dataset cifar10 --ipc 10 --plugins cc cm \
               --workdir runs/idm-iid
Expect:    IDM, CIFAR-10, IPC 10: 58.6 +- 0.1 % published; ours at a smaller budget: see
           experiments/README.md. Smoke: add --smoke

The published commands' flags are the method: with the authors' script's own defaults one gets DM.
"""

import dataclasses

from experiments.configs import base, cells, papers, plugins, presets
from experiments.configs.entry import Entry
from experiments.configs.rules import Amount, Count, choice
from experiments.stages import build, matching
from jaxdd import data, methods
from jaxdd.networks import Growth
from jaxdd.types import Method

# (data set, images per class) -> (ce_weight, real images per class, steps between new networks,
# mini-batches)
PUBLISHED = {
    ('cifar10', 1): (0.5, 5000, 5, 10),
    ('cifar10', 10): (0.5, 256, 30, 10),
    ('cifar10', 50): (0.1, 256, 30, 10),
    ('cifar100', 1): (0.5, 5000, 5, 10),
    ('cifar100', 10): (0.1, 256, 30, 50),
    ('cifar100', 50): (0.1, 256, 30, 40),  # the command has 10; the author's later correction
    ('tiny_imagenet', 1): (0.5, 256, 30, 10),
    ('tiny_imagenet', 10): (0.5, 256, 30, 10),
    ('tiny_imagenet', 50): (0.8, 256, 30, 50),
}
ELSEWHERE = (0.5, 256, 30, 10)  # CIFAR-10's, for what nobody published


CELLS = (
    *cells.matched(
        'idm',
        (),
        {
            'cifar10': (
                f'{cells.NCFM.format("IDM")}; deviations as in InfoUtil',
                ((45.6, 0.7), (58.6, 0.1), (67.5, 0.1)),
            ),
            'cifar100': (
                f'{cells.NCFM.format("IDM")}; deviations as in InfoUtil',
                ((20.1, 0.3), (45.1, 0.1), (50.0, 0.2)),
            ),
            'tiny_imagenet': (cells.NCFM.format('IDM'), ((10.1, None), (21.9, None), (27.7, None))),
        },
        cells.NOT_FOUND,
    ),
    *cells.matched(
        'idm',
        ('cc', 'cm'),
        {
            'cifar10': (cells.NCFM.format('IID'), ((47.1, None), (59.9, None), (69.0, None))),
            'cifar100': (cells.NCFM.format('IID'), ((24.6, None), (45.7, None), (51.3, None))),
        },
        cells.IID_TABLE,
    ),
    *cells.matched('idm', ('cmi',), {}, cells.CMI_TABLE, (10, 50)),
)


@base.frozen
class Matching:
    """What is matched."""

    ce_weight: Amount
    """Of the synthetic images' cross-entropy, per percent of the encoder's accuracy."""
    factor: Count
    """Tiles per side of a stored image: factor^2 training images from the memory of one."""
    easiest: Count | None = None
    """Real images per class that are matched: those of the lowest cross-entropy; default: all. The
    authors': 2560 at an ipc of 1 without tiles."""
    only_misclassified: bool = False
    """Weigh the cross-entropy of those synthetic images alone that the network gets wrong; the
    authors': at an ipc of 1 without tiles."""
    classes: choice('sequential', 'joint')
    """'sequential': one optimiser step per class, as in the authors' code;
    'joint': one on the class sum."""


@base.frozen
class Training(base.Training):
    """How the networks of the queue are trained on real images."""

    every: Count
    """Synthetic-set updates before a new network joins the queue."""
    num_batches: Count
    """Real mini-batches per trained network."""
    queue_size: Count
    """Networks in the queue."""
    train_count: Count
    """Networks of the queue that are trained after each update."""
    train_every: Count = 1
    """Synthetic-set updates, each measured by a network of its own, between trainings: the
    networks matched per iteration of the authors' code."""
    push_count: Count = 1
    """Networks that join the queue at once."""
    reset_every: Count | None = None
    """Synthetic-set updates after which all networks forget their accuracies; default: never. The
    authors' code forgets at every evaluation: 100, 500 or 1,000."""


@base.frozen
class IDM(base.Matched):
    """Improved distribution matching: a queue of networks in training, mosaics, cross-entropy."""

    matching: Matching
    training: Training


def published(dataset: str = 'cifar10', ipc: int = 10, names: tuple[str, ...] = ()) -> IDM:
    """The published commands' settings; CIFAR-10's elsewhere."""
    ce_weight, per_class, every, num_batches = PUBLISHED.get((dataset, ipc), ELSEWHERE)
    made = IDM(
        method='idm',
        dataset=dataset,
        ipc=ipc,
        plugins=names,
        num_steps=20_000,
        optimizer=base.Optimizer(learning_rate=0.2, momentum=0.5),
        data=base.MatchedData(per_class=per_class),
        encoder=base.Network(name='convnet'),
        matching=Matching(ce_weight=ce_weight, factor=2, classes='sequential'),
        training=Training(
            every=every,
            num_batches=num_batches,
            batch_size=256,
            learning_rate=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            queue_size=100,
            train_count=2,
        ),
        regularizers=plugins.published('idm', dataset, ipc, names),
    )
    if dataset != 'digits':
        return made
    small = presets.digits(made)
    # tiles of 4x4 pixels lose more than four times as many images bring
    return dataclasses.replace(
        small,
        num_steps=200,
        matching=dataclasses.replace(small.matching, factor=1),
        training=dataclasses.replace(
            small.training, every=10, num_batches=5, batch_size=64, queue_size=10
        ),
    )


def method(config: IDM, dataset: data.Dataset) -> Method:
    """IDM, without regularizers."""
    t, m, spec = config.training, config.matching, dataset.spec
    return methods.idm(
        build.model(config.encoder, spec),
        build.encoder_recipe(t, t.num_batches),
        augment=build.siamese(config.augmentation, spec),
        ce_weight=m.ce_weight,
        factor=m.factor,
        max_size=t.queue_size,
        push_every=t.every,
        train_count=t.train_count,
        reset_every=t.reset_every,
        growth=Growth(push_count=t.push_count, train_every=t.train_every),
        easiest=m.easiest,
        only_misclassified=m.only_misclassified,
        training=build.model(config.encoder, spec, batch_statistics=True),
        classes=m.classes,
    )


def feed(config: IDM, dataset: data.Dataset):
    """Real batches to match, and mini-batches for the networks that are trained."""
    t = config.training
    return build.feed(
        config, dataset, num_batches=t.num_batches * t.train_count, batch_size=t.batch_size
    )


ENTRY = IDM.entry = Entry(
    IDM,
    published,
    build.matched(method),
    matching.STAGE,
    feed,
    CELLS,
    reduced=lambda dataset: (
        '--num-steps 60 --data.per-class 32 --training.num-batches 2 --training.batch-size 64 '
        '--training.every 8 --training.queue-size 8 --optimizer.learning-rate 1.0 '
        f'{presets.REDUCED_MATCHING}'
    ),
    real_per_class=lambda config: config.ipc * config.matching.factor**2,
    papers=(papers.IDM,),
    shares=True,
    decode=lambda config: build.mosaics(config.matching.factor, order='column', space='normalised'),
    smaller=(
        '--training.queue-size',
        '--data.feed stream',
        '--data.per-class',
        '--precision bf16',
    ),
)
