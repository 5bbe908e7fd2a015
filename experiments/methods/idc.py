r"""IDC (Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959), optionally with plug-ins.

Command:   python -m experiments.run idc --dataset cifar10 --ipc 10 --plugins cmi \
               --workdir runs/idc-cmi
Expect:    IDC, CIFAR-10, IPC 10: 67.5 % published (IDC-I, --matching.factor 1: 58.3 %); ours at a
           smaller budget: see experiments/README.md.  DREAM: add --data.sampling representative
           --data.per-class 128.  Smoke: add --smoke
"""

import dataclasses
import functools

from experiments.configs import base, cells, papers, plugins, presets
from experiments.configs.entry import Entry
from experiments.configs.rules import (
    Count,
    Number,
    Positive,
    Probability,
    Seed,
    Text,
    choice,
    refuse,
)
from experiments.stages import build, starting
from jaxdd import augment, data, losses, methods
from jaxdd.data.subsets import SUBSETS
from jaxdd.networks import teachers
from jaxdd.parametrizations.partitioned import FORMS
from jaxdd.types import Method

NETWORKS, EVERY = 2000, 100  # networks, and steps that each serves
# real, between steps
SAMPLES = {'svhn_cropped': 500, 'mnist': 500, 'fashion_mnist': 500, 'tiny_imagenet': 1000}
RATES = {('tiny_imagenet', 50): 1e-6}  # CMI's and DREAM's forks
BASE_SIDE = {'mnist': 28, 'fashion_mnist': 28}  # 32 elsewhere


# classes of ImageNet -> (base rate, real images per class and mini-batch, rate and weight decay of
# the network, epochs of the early networks)
IMAGENET = {10: (3e-3, 64, 0.01, 5e-4, 10.0), 100: (1e-3, 128, 0.1, 1e-4, 5.0)}
# most decoded images per class -> epochs of students; of 100 classes two thirds
EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))
FEW = 300  # epochs, where there are more


README = cells.IDC_README
CELLS = (
    *cells.matched(
        'idc',
        (),
        {
            'svhn_cropped': (README, ((68.5, None), (87.5, None), (90.1, None))),
            'cifar10': (README, ((50.6, None), (67.5, None), (74.5, None))),
            'cifar100': (README, (None, (45.1, None), None)),
        },
        cells.NOT_FOUND,
    ),
    *cells.matched('idc', ('cmi',), {}, cells.CMI_TABLE, (10, 50)),
)
DISTANCES = {
    'l2': losses.layerwise_l2,
    'l1': losses.layerwise_l1,
    'l1-mean': losses.layerwise_l1_mean,
    'cos': losses.convolution_cosine_distance,
    'l2-all': losses.squared_distance,
    'features': 'features',
}


@base.frozen
class Matching:
    """What is matched."""

    distance: choice(*DISTANCES)
    """Of the gradients of convolutions: 'l2', 'l1', 'l1-mean' (within an output unit), 'cos' (unit
    by unit); 'l2-all': of all gradients; 'features': of the class means of features instead."""
    factor: Count
    """Tiles per side of a stored image: factor^2 training images from the memory of one."""
    form: choice(*FORMS)
    """How stored images decode: 'single', at the factor; 'multi', at every factor up to it;
    'bound', into at most max_synthetic images per class (students see 'single')."""
    max_synthetic: Count | None
    """Most decoded images per class and step; None: all."""
    subset: choice('match', 'step') = 'match'
    """Who sees that choice: the match alone, or the whole step, plug-ins too (as in CMI's code)."""
    clip_every: Count = 1
    """Synthetic-set updates after which pixels are clipped to [0, 1]; the authors': as
    training.every."""
    classes: choice('sequential', 'joint')
    """'sequential': one optimiser step per class, as in the authors' code;
    'joint': one on the class sum."""


@base.frozen
class Training(base.Training):
    """How a network is trained on real images between its matches."""

    every: Count
    """Synthetic-set updates before the network is replaced."""
    num_batches: Count
    """Real mini-batches that it is trained on after each."""
    strategy: Text
    """Augmentation per image: operations joined by '_', 'none', or 'default' for the data set's."""
    cutmix: Probability
    """Probability of mixing a mini-batch."""
    cutmix_alpha: Positive = 1.0
    """Of CutMix: lambda ~ Beta(alpha, alpha)."""


@base.frozen
class Early:
    """Networks in an early stage of their training, from which every network begins."""

    count: Number = 0
    """Networks; 0: every network begins untrained. The authors: 10 for ImageNet-100."""
    epochs: Positive = 5
    """Passes over the training set, by the recipe of `training`. The authors: 5 for ImageNet-100,
    10 for ImageNet-10."""
    seed: Seed = 0
    """Of these networks; runs with another `seed` share them."""


@base.frozen
class IDC(base.Matched):
    """Gradient matching of decoded mosaics, of networks that are trained on real images."""

    matching: Matching
    training: Training
    early: Early = Early()

    boxed = True


def published(dataset: str = 'cifar10', ipc: int = 10, names: tuple[str, ...] = ()) -> IDC:
    """The authors' settings for a data set; digits gets a budget of seconds.

    Note:
        The learning rate grows with the number and size of images, as in the authors' code:
        base * (ipc / 10) * (side / base side)^2.
    """
    grey = dataset in ('mnist', 'fashion_mnist')
    size = (_side(dataset) / BASE_SIDE.get(dataset, 32)) ** 2
    rate = RATES.get((dataset, ipc), 1e-4 if grey else 5e-3) * ipc / 10 * size
    strategy = 'color_crop' if dataset == 'mnist' else 'color_crop_cutout'
    plain = dataset == 'mnist' or (dataset == 'svhn_cropped' and ipc == 1)  # no CutMix
    made = IDC(
        method='idc',
        dataset=dataset,
        ipc=ipc,
        plugins=names,
        num_steps=NETWORKS * EVERY,
        optimizer=base.Optimizer(learning_rate=rate, momentum=0.5),
        data=base.MatchedData(per_class=64),
        encoder=base.Network(name='convnet', depth=4 if dataset == 'tiny_imagenet' else None),
        matching=Matching(
            distance='l1' if grey else 'l2',
            factor=2,
            form='single',
            max_synthetic=128,
            classes='sequential',
        ),
        training=Training(
            every=EVERY,
            num_batches=-(-SAMPLES.get(dataset, 2000) // 64),
            batch_size=64,
            learning_rate=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            strategy='color_crop',
            cutmix=0.0 if plain else 0.5,
        ),
        augmentation=base.Augmentation(strategy=strategy, mode='IDC'),
        evaluation=_evaluation(dataset, plain),
        regularizers=plugins.published('idc', dataset, ipc, names),
    )
    if dataset in SUBSETS:
        return _of_imagenet(made)
    if dataset != 'digits':
        return made
    small = presets.digits(made)
    return dataclasses.replace(
        small,
        num_steps=200,
        optimizer=base.Optimizer(learning_rate=0.01, momentum=0.5),
        matching=dataclasses.replace(small.matching, factor=1),  # tiles of 4x4 pixels lose too much
        training=dataclasses.replace(small.training, every=50, num_batches=5),
    )


def _of_imagenet(config: IDC) -> IDC:
    """The authors' ImageNet-10 and ImageNet-100; their ImageNet-10 for other subsets of ten."""
    spec = data.spec(config.dataset)
    rate, batch_size, own_rate, decay, epochs = IMAGENET[spec.num_classes]
    factor, size = 3, (spec.image_shape[0] / 224) ** 2
    decoded = config.ipc * factor**2
    trained = next((value for most, value in EPOCHS if decoded <= most), FEW)
    return dataclasses.replace(
        config,
        num_steps=500 * EVERY,
        optimizer=base.Optimizer(learning_rate=rate * config.ipc / 10 * size, momentum=0.5),
        data=base.MatchedData(per_class=batch_size),
        encoder=base.Network(name='resnet10_ap_stem7'),
        matching=dataclasses.replace(
            config.matching,
            distance='l1',
            factor=factor,
            form='bound' if config.ipc >= 20 else 'single',
        ),
        training=dataclasses.replace(
            config.training,
            num_batches=-(-500 // batch_size),
            batch_size=batch_size,
            learning_rate=own_rate,
            weight_decay=decay,
            cutmix=1.0,
        ),
        early=Early(count=10, epochs=epochs),
        evaluation=dataclasses.replace(
            presets.protocol('idc-imagenet'),
            networks=('resnet10_ap_stem7',),
            epochs=trained * 2 // 3 if spec.num_classes == 100 else trained,
        ),
    )


def _evaluation(dataset: str, plain: bool) -> base.Evaluation:
    made = presets.protocol('idc')
    mirrored = dataset not in ('svhn_cropped', 'mnist', 'digits')
    return dataclasses.replace(
        made,
        strategy=made.strategy if mirrored else 'color_crop_scale_rotate',
        cutmix=0.0 if plain else made.cutmix,
    )


def _side(dataset: str) -> int:
    """Pixels; a file or folder of one's own counts as 32."""
    try:
        return data.spec(dataset).image_shape[0]
    except ValueError:
        return 32


def method(config: IDC, dataset: data.Dataset) -> Method:
    """IDC, without regularizers."""
    t, m, spec = config.training, config.matching, dataset.spec
    return methods.idc(
        build.model(config.encoder, spec),
        build.encoder_recipe(t, t.num_batches),
        augment=build.siamese(config.augmentation, spec),
        box=(spec.mean, spec.std),
        factor=m.factor,
        every=t.every,
        train_augment=_augmented(config, spec),
        mix=_mixed(config),
        distance=DISTANCES[m.distance],
        max_synthetic=m.max_synthetic,
        form=m.form,
        subset=m.subset,
        clip_every=m.clip_every,
        start=starting.ROLE if config.early.count else None,
        training=build.model(config.encoder, spec, batch_statistics=True),
        classes=m.classes,
    )


def _augmented(config: IDC, spec: data.Spec):
    """What real images undergo before a network trains on them."""
    strategy = build.strategy(config.training.strategy, spec)
    return augment.independent(strategy, mode=config.augmentation.mode)


def _mixed(config: IDC):
    """How they are mixed; None: not at all."""
    t = config.training
    if not t.cutmix:
        return None
    return functools.partial(augment.cutmix, alpha=t.cutmix_alpha, probability=t.cutmix)


def early(config: IDC, dataset: data.Dataset):
    """The mini-batches that networks see before their time comes."""
    t, mix = config.training, _mixed(config)
    made = data.epochs(dataset.train, dataset.spec, batch_size=t.batch_size)
    made = teachers.with_augmentation(made, _augmented(config, dataset.spec))
    return made if mix is None else teachers.with_mixing(made, mix)


def feed(config: IDC, dataset: data.Dataset):
    """Real batches to match, and mini-batches for the network that is trained."""
    return build.feed(
        config,
        dataset,
        num_batches=config.training.num_batches,
        batch_size=config.training.batch_size,
    )


def require(config: IDC) -> None:
    """Refuses a bound that does not hold the stored images."""
    m = config.matching
    refuse(
        'matching.max_synthetic',
        m.max_synthetic,
        f"at least ipc ({config.ipc}) where matching.form is 'bound'",
        m.form == 'bound' and (m.max_synthetic is None or m.max_synthetic < config.ipc),
    )


ENTRY = IDC.entry = Entry(
    IDC,
    published,
    build.matched(method),
    starting.stage(early),
    feed,
    CELLS,
    reduced=lambda dataset: (
        '--num-steps 40 --data.per-class 32 --training.num-batches 4 --training.every 20 '
        f'--optimizer.learning-rate 0.1 {presets.REDUCED_MATCHING}'
    ),
    require=require,
    real_per_class=lambda config: config.ipc * config.matching.factor**2,
    papers=(papers.IDC,),
    decode=lambda config: build.mosaics(
        config.matching.factor, order='row', space='unit', form=config.matching.form
    ),
    smaller=(
        '--matching.max-synthetic',
        '--data.feed stream',
        '--data.per-class',
        '--precision bf16',
    ),
)
