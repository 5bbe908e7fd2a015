r"""DC (Zhao, Mopuri & Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929) and DSA (Zhao & Bilen,
ICML 2021, https://arxiv.org/abs/2102.08259), optionally with plug-ins.

Command:   python -m experiments.run dsa --dataset cifar10 --ipc 10 --plugins cmi \
               --workdir runs/dsa-cmi
Expect:    DSA, CIFAR-10, IPC 10: 52.1 +- 0.5 % published (1,000 networks x 10 steps, 256 real
           images per class); DC: 44.9 +- 0.5 %; ours at a smaller budget: see
           experiments/README.md.  Smoke: add --smoke
"""

import dataclasses

from experiments.configs import base, cells, papers, plugins, presets
from experiments.configs.entry import Entry
from experiments.configs.rules import Count, Number, Text, choice
from experiments.stages import build, matching
from jaxdd import augment, data, losses, methods
from jaxdd.labels import relabel
from jaxdd.types import Method

NETWORKS = 1000  # initialisations that the papers' recipe goes through

# Images per class -> (steps that a network serves, epochs of its training on the synthetic set
# after each step): the papers' outer and inner loop. 11 and from 100 on are IID's additions to the
# authors' table.
LOOPS = {1: (1, 1), 10: (10, 50), 11: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15),
         50: (50, 10), 100: (50, 10), 200: (200, 20), 300: (200, 20), 400: (200, 20),
         500: (200, 20), 600: (200, 20), 700: (200, 20), 800: (200, 20),
         1000: (1000, 30)}  # fmt: skip


CELLS = {
    'dc': (
        *cells.matched(
            'dc',
            (),
            {
                'svhn_cropped': (cells.KIP.format('DC'), ((31.2, 1.4), (76.1, 0.6), (82.3, 0.3))),
                'cifar10': (cells.PAD.format('DC'), ((28.3, 0.5), (44.9, 0.5), (53.9, 0.5))),
                'cifar100': (cells.PAD.format('DC'), ((12.8, 0.3), (25.2, 0.3), None)),
            },
            cells.NOT_FOUND,
        ),
        *cells.matched('dc', ('cmi',), {}, cells.CMI_TABLE, (10, 50)),
    ),
    'dsa': (
        *cells.matched(
            'dsa',
            (),
            {
                'svhn_cropped': (cells.KIP.format('DSA'), ((27.5, 1.4), (79.2, 0.5), (84.4, 0.4))),
                'cifar10': (cells.PAD.format('DSA'), ((28.8, 0.7), (52.1, 0.5), (60.6, 0.5))),
                'cifar100': (cells.PAD.format('DSA'), ((13.9, 0.3), (32.3, 0.3), (42.8, 0.4))),
            },
            cells.NOT_FOUND,
        ),
        *cells.matched('dsa', ('cmi',), {}, cells.CMI_TABLE, (10, 50)),
    ),
}
DISTANCES = {
    'layerwise_cosine': losses.layerwise_cosine_distance,
    'cosine': losses.cosine_distance,
    'squared': losses.squared_distance,
}


@base.frozen
class Matching:
    """What is matched."""

    distance: choice(*DISTANCES) = 'layerwise_cosine'
    """Of gradients."""


@base.frozen
class Training(base.Training):
    """How a network is trained on the synthetic set between its matches."""

    every: Count | None
    """Synthetic-set updates before the network is replaced (outer loop). The authors' table names
    it for an ipc of 1, 10, 20, 30, 40, 50 ..."""
    epochs: Number | None
    """Epochs on the synthetic set after each (inner loop); as `every`."""
    strategy: Text
    """Augmentation per image: operations joined by '_', 'none', or 'default' for the data set's."""


@base.frozen
class GradientMatching(base.Matched):
    """Gradient matching, of networks that are trained on the synthetic set."""

    training: Training
    matching: Matching = Matching()


@base.frozen
class DC(GradientMatching):
    """Gradient matching without augmentation."""


@base.frozen
class DSA(GradientMatching):
    """Gradient matching under one augmentation of real and synthetic images."""


def published(
    dataset: str = 'cifar10',
    ipc: int = 10,
    names: tuple[str, ...] = (),
    *,
    kind: type[GradientMatching] = DSA,
) -> GradientMatching:
    """DSA: one transform for real and synthetic images, images from real ones.

    Note:
        An ipc outside `LOOPS` leaves `training.every` and `training.epochs` open; the run then asks
        for them.
    """
    every, epochs = LOOPS.get(ipc, (None, None))
    made = kind(
        method='dsa',
        dataset=dataset,
        ipc=ipc,
        plugins=names,
        num_steps=NETWORKS * (every or 1),
        optimizer=base.Optimizer(learning_rate=0.1, momentum=0.5),
        data=base.MatchedData(per_class=256),
        encoder=base.Network(name='convnet'),
        matching=Matching(distance='layerwise_cosine'),
        training=Training(
            every=every,
            epochs=epochs,
            batch_size=256,
            learning_rate=0.01,
            momentum=0.0,
            weight_decay=0.0,
            strategy='default',
        ),
        regularizers=plugins.published('dsa', dataset, ipc, names),
    )
    if dataset != 'digits':
        return made
    small = presets.digits(made)
    return dataclasses.replace(
        small, num_steps=100, training=dataclasses.replace(small.training, epochs=5)
    )


def published_dc(
    dataset: str = 'cifar10', ipc: int = 10, names: tuple[str, ...] = ()
) -> GradientMatching:
    """DC: no augmentation anywhere, images from noise, students without augmentation."""
    made = published(dataset, ipc, names, kind=DC)
    return dataclasses.replace(
        made,
        method='dc',
        init='noise',
        training=dataclasses.replace(made.training, strategy='none'),
        augmentation=base.Augmentation(strategy='none'),
        evaluation=presets.protocol('dc', made.evaluation),
        regularizers=plugins.published('dc', dataset, ipc, names),
    )


def method(config: GradientMatching, dataset: data.Dataset) -> Method:
    """DC or DSA, without regularizers."""
    t, spec = config.training, dataset.spec
    num_images = config.ipc * spec.num_classes
    return methods.dc(
        build.model(config.encoder, spec),
        build.encoder_recipe(t, t.epochs * data.steps_per_epoch(num_images, t.batch_size)),
        augment=build.siamese(config.augmentation, spec),
        every=t.every,
        distance=DISTANCES[config.matching.distance],
        supervision=relabel.hard(augment.independent(build.strategy(t.strategy, spec))),
        training=build.model(config.encoder, spec, batch_statistics=True),
    )


def require(config: GradientMatching) -> None:
    """Asks for the loops where no table names them."""
    if None in (config.training.every, config.training.epochs):
        known = ', '.join(map(str, sorted(LOOPS)))
        raise ValueError(
            f'the published loop table holds ipc {known}, got {config.ipc}; set --training.every '
            '(steps per network) and --training.epochs (of its training after each)'
        )


def reduced(dataset: str) -> str:
    """Options of a small budget."""
    return (
        '--num-steps 50 --data.per-class 32 --training.epochs 5 --optimizer.learning-rate 1.0 '
        f'{presets.REDUCED_MATCHING}'
    )


DC_ENTRY = DC.entry = Entry(
    DC,
    published_dc,
    build.matched(method),
    matching.STAGE,
    build.feed,
    CELLS['dc'],
    reduced,
    require,
    papers=(papers.DC,),
)
DSA_ENTRY = DSA.entry = DC_ENTRY._replace(
    config=DSA, published=published, cells=CELLS['dsa'], papers=(papers.DSA,)
)
