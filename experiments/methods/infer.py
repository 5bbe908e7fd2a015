r"""INFER (Zhang et al., ICLR 2025, https://arxiv.org/abs/2408.06927), optionally with plug-ins.

Command:   python -m experiments.run infer --dataset cifar100 --ipc 10 --workdir runs/infer
Expect:    INFER, CIFAR-100, ResNet-18, IPC 10: 45.2 +- 0.04 % static, 53.4 +- 0.6 % dynamic (add
           --evaluation.protocol infer-dynamic); ours at a smaller budget: see
           experiments/README.md.  Smoke: add --smoke
"""

import dataclasses

from experiments.configs import base, cells, papers, plugins, presets
from experiments.configs.entry import Entry
from experiments.configs.rules import choice, refuse
from experiments.methods import sre2l
from experiments.stages import build, recovering
from jaxdd import data, methods
from jaxdd.types import Method

# The four of the CIFAR script; the ImageNet script takes three, of torchvision.
TEACHERS = {
    'cifar': ('resnet18_stem3', 'mobilenetv2', 'efficientnet_b0', 'shufflenet_g2'),
    'tiny': ('resnet18_stem3', 'mobilenetv2', 'efficientnet_b0', 'shufflenet_g2'),
    'imagenet': ('resnet18_stem7', 'mobilenetv2_imagenet', 'efficientnet_b0_imagenet'),
}
STEPS = {'cifar': 1000, 'tiny': 2000, 'imagenet': 2000}
RATE = {'cifar': 0.25, 'tiny': 0.1, 'imagenet': 0.25}
ALPHA = {'cifar': 1.0, 'tiny': 1.0, 'imagenet': 0.01}
PROTOCOL = {'cifar': 'infer', 'tiny': 'infer-tiny', 'imagenet': 'infer-imagenet'}


# On CIFAR's images a ConvNet is the second and last teacher of a small budget,
# at a fraction of the others' cost.
FEW = '--teachers.networks resnet18_stem3 convnet_bn'
INFER_1, INFER_2 = 'INFER (ICLR 2025), table 1', 'INFER (ICLR 2025), table 2'
CELLS = cells.recovered('infer', 'static', {
    ('static', 'cifar10', 'convnet_bn'): (INFER_1, {10: (34.0, .4), 50: (57.0, .2)}),
    ('static', 'cifar100', 'convnet_bn'):
        (INFER_1, {10: (41.0, .4), 50: (53.8, .2), 100: (57.0, .02)}),
    ('static', 'tiny_imagenet', 'convnet_bn'): (INFER_1, {10: (22.8, .3), 50: (32.3, .3)}),
    ('dynamic', 'cifar10', 'convnet_bn'): (INFER_1, {10: (30.1, .8), 50: (52.4, .7)}),
    ('dynamic', 'cifar100', 'convnet_bn'):
        (INFER_1, {10: (37.2, .3), 50: (50.7, .3), 100: (53.4, .2)}),
    ('dynamic', 'tiny_imagenet', 'convnet_bn'): (INFER_1, {10: (24.9, .3), 50: (33.9, .6)}),
    ('static', 'cifar10', 'resnet18_stem3'): (INFER_1, {10: (32.0, .5), 50: (60.4, 1.6)}),
    ('static', 'cifar100', 'resnet18_stem3'):
        (INFER_1, {10: (45.2, .04), 50: (62.8, .4), 100: (66.3, .1)}),
    ('static', 'tiny_imagenet', 'resnet18_stem3'): (INFER_1, {10: (32.0, .1), 50: (52.9, .1)}),
    ('dynamic', 'cifar10', 'resnet18_stem3'): (INFER_1, {10: (30.7, .3), 50: (60.7, .9)}),
    ('dynamic', 'cifar100', 'resnet18_stem3'):
        (INFER_1, {10: (53.4, .6), 50: (68.9, .1), 100: (73.3, .2)}),
    ('dynamic', 'tiny_imagenet', 'resnet18_stem3'): (INFER_1, {10: (41.0, .4), 50: (54.6, .4)}),
    ('static', 'imagenet', 'resnet18_stem7'): (INFER_2, {10: (28.7, .2), 50: (51.8, .2)}),
    ('static', 'imagenet', 'resnet50_stem7'): (INFER_2, {10: (26.9, .3), 50: (53.3, .3)}),
    ('static', 'imagenet', 'resnet101_stem7'): (INFER_2, {10: (26.5, .1), 50: (52.2, .3)}),
    ('dynamic', 'imagenet', 'resnet18_stem7'): (INFER_2, {10: (36.3, .3), 50: (55.6, .2)}),
    ('dynamic', 'imagenet', 'resnet50_stem7'): (INFER_2, {10: (38.3, .5), 50: (63.4, .3)}),
    ('dynamic', 'imagenet', 'resnet101_stem7'): (INFER_2, {10: (38.9, .5), 50: (60.7, .1)}),
})  # fmt: skip


@base.frozen
class INFER(base.Recovered):
    """One compensator for all classes on natural images, for each of several teachers."""

    init: choice('real', 'rded', 'given', *base.CORESETS) = 'real'
    """The natural images that are kept: 'real' ones at random, 'rded': RDED's mosaics of the first
    teacher's choice, or a core-set (as in `evaluation.coresets`)."""


def published(dataset: str = 'cifar10', ipc: int = 10, names: tuple[str, ...] = ()) -> INFER:
    """The authors' settings for images of this size; digits gets a budget of seconds.

    Note:
        No settings are published for Tiny-ImageNet, nor how ImageNet students are trained: those
        are ours. With CC or CMI, which compare images of one class, 10 sets share a chunk and its
        batch moments.
    """
    size = sre2l.size_of(dataset)
    common = sre2l.SIZES[size]
    shared = {
        field.name: getattr(common.recover, field.name)
        for field in dataclasses.fields(base.Recover)
    }
    recover = base.Recover(
        **shared
        | {
            'bn_weight': ALPHA[size],
            'both_signs': False,
            'images_per_chunk': 10 if names else 1,
            'storage': 'exact',
            'part': 125 if size == 'imagenet' else None,
        }
    )
    made = INFER(
        method='infer',
        dataset=dataset,
        ipc=ipc,
        plugins=names,
        num_steps=STEPS[size],
        optimizer=base.Optimizer(
            name='adam', learning_rate=RATE[size], momentum=0.5, b2=0.9, schedule='cosine'
        ),
        data=base.Data(per_class=16, resize='stretched' if size == 'imagenet' else 'square'),
        teachers=dataclasses.replace(common.teachers, networks=TEACHERS[size]),
        recover=recover,
        regularizers=plugins.published('infer', dataset, ipc, names),
        evaluation=presets.protocol(PROTOCOL[size], base.Evaluation(networks=TEACHERS[size][:1])),
    )
    return sre2l.small(made, ('convnet_bn', 'resnet18_stem3')) if dataset == 'digits' else made


def method(config: INFER, dataset: data.Dataset) -> tuple[Method, ...]:
    """INFER on each teacher, without regularizers."""
    return tuple(
        methods.infer(
            build.taught_by(config, name, dataset.spec),
            augment=build.recovery(config),
            **build.moments(config.recover),
        )
        for name in config.teachers.networks
    )


def require(config: INFER) -> None:
    """Asks for teachers."""
    refuse(
        'teachers.networks',
        'none',
        'at least one network with batch norm',
        not config.teachers.networks,
    )


def natural(config: INFER, spec: data.Spec) -> int:
    """Natural images per class: what the compensators leave of the images that the set may take.

    Raises:
        ValueError: from `jaxdd.methods.budget`, where nothing is left.
    """
    return methods.budget(spec.num_classes, len(config.teachers.networks), config.ipc).natural


ENTRY = INFER.entry = Entry(
    INFER,
    published,
    method,
    recovering.STAGE,
    build.feed,
    CELLS,
    reduced=lambda dataset: (
        f'{presets.REDUCED_RECOVERING} {FEW if dataset.startswith("cifar") else ""}'
    ),
    require=require,
    natural=natural,
    papers=(papers.INFER,),
    smaller=(
        '--recover.together 1',
        '--recover.part',
        '--recover.images-per-chunk',
        '--precision bf16',
    ),
)
