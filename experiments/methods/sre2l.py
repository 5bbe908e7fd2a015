r"""SRe2L (Yin, Xing & Shen, NeurIPS 2023, https://arxiv.org/abs/2306.13092),
optionally with plug-ins.

Command:   python -m experiments.run sre2l --dataset cifar100 --ipc 10 --workdir runs/sre2l
Expect:    SRe2L, CIFAR-100, ResNet-18, IPC 10: 31.6 +- 0.5 % as published by INFER; ours at a
           smaller budget: see experiments/README.md.  CDA: add --recover.crop curriculum.  Smoke:
           add --smoke
"""

import dataclasses
from typing import NamedTuple

from experiments.configs import base, cells, papers, plugins, presets
from experiments.configs.entry import Entry
from experiments.configs.rules import Count, refuse
from experiments.stages import build, recovering
from jaxdd import data, methods
from jaxdd.types import Method

INFER_1 = 'INFER (ICLR 2025), table 1'
STATIC = "INFER (ICLR 2025), table 2, SRe2L with INFER's static labels"
SRE2L = 'README of the released SRe2L code'
CELLS = cells.recovered('sre2l', 'dynamic', {
    ('dynamic', 'cifar10', 'resnet18_stem3'): (INFER_1, {10: (27.2, .5), 50: (47.5, .6)}),
    ('dynamic', 'cifar100', 'resnet18_stem3'): (INFER_1, {10: (31.6, .5), 50: (49.5, .3)}),
    ('dynamic', 'tiny_imagenet', 'resnet18_stem3'): (SRE2L, {50: (41.1, .4), 100: (49.7, .3)}),
    ('dynamic', 'imagenet', 'resnet18_stem7'):
        (SRE2L, {10: (21.3, .6), 50: (46.8, .2), 100: (52.8, .3)}),
    ('dynamic', 'imagenet', 'resnet50_stem7'):
        (SRE2L, {10: (28.4, .1), 50: (55.6, .3), 100: (61.0, .4)}),
    ('dynamic', 'imagenet', 'resnet101_stem7'):
        (SRE2L, {10: (30.9, .1), 50: (60.8, .5), 100: (62.8, .2)}),
    ('static', 'imagenet', 'resnet18_stem7'): (STATIC, {10: (9.8, .1), 50: (17.3, .5)}),
    ('static', 'imagenet', 'resnet50_stem7'): (STATIC, {10: (8.7, .3), 50: (17.2, .4)}),
    ('static', 'imagenet', 'resnet101_stem7'): (STATIC, {10: (8.8, .2), 50: (15.8, .2)}),
})  # fmt: skip


@base.frozen
class Recover(base.Recover):
    """How images are recovered from the teacher, in independent chunks."""

    classes_per_chunk: Count
    """Classes that are recovered together."""


@base.frozen
class SRe2L(base.Recovered):
    """Squeeze, recover, relabel: every pixel is free, the teacher's batch-norm moments are
    matched."""

    recover: Recover

    @property
    def classes_per_chunk(self) -> int:
        """Classes that are recovered together."""
        return self.recover.classes_per_chunk


class Size(NamedTuple):
    """What depends on the size of a data set's images."""

    teachers: base.Teachers
    num_steps: int
    learning_rate: float
    recover: Recover
    protocol: str


_CIFAR = base.Teachers(networks=('resnet18_stem3',))
_TINY = dataclasses.replace(
    _CIFAR,
    epochs=50,
    batch_size=256,
    learning_rate=0.2,
    weight_decay=1e-4,
    warmup_epochs=5,
    strategy='resized-crop-flip',
)
_IMAGENET = dataclasses.replace(_TINY, networks=('resnet18_stem7',), epochs=90, learning_rate=0.1)
_RECOVER = Recover(
    bn_weight=0.01,
    first_bn_weight=10.0,
    tv_weight=0.0,
    norm_weight=0.0,
    jitter=4,
    both_signs=False,
    crop='none',
    classes_per_chunk=100,
    images_per_chunk=1,
    storage='uint8',
)
SIZES = {
    'cifar': Size(_CIFAR, 1000, 0.25, _RECOVER, 'sre2l'),
    'tiny': Size(
        _TINY,
        4000,
        0.1,
        dataclasses.replace(_RECOVER, bn_weight=1.0, both_signs=True, crop='resized'),
        'sre2l-tiny',
    ),
    'imagenet': Size(
        _IMAGENET,
        4000,
        0.25,
        dataclasses.replace(_RECOVER, jitter=32, crop='resized'),
        'sre2l-imagenet',
    ),
}


def published(dataset: str = 'cifar10', ipc: int = 10, names: tuple[str, ...] = ()) -> SRe2L:
    """The authors' settings for images of this size; digits gets a budget of seconds.

    Note:
        The ImageNet teacher is meant to be torchvision's (`--teachers.weights`); the squeeze that
        runs without it is ours. With CC or CMI, which compare images of one class, a chunk is 10
        images of each of 10 classes.
    """
    size = SIZES[size_of(dataset)]
    recover = size.recover
    if names:
        recover = dataclasses.replace(recover, classes_per_chunk=10, images_per_chunk=10)
    made = SRe2L(
        method='sre2l',
        dataset=dataset,
        ipc=ipc,
        plugins=names,
        init='noise',
        num_steps=size.num_steps,
        optimizer=base.Optimizer(
            name='adam', learning_rate=size.learning_rate, momentum=0.5, b2=0.9, schedule='cosine'
        ),
        data=base.Data(per_class=16),
        teachers=size.teachers,
        recover=recover,
        regularizers=plugins.published('sre2l', dataset, ipc, names),
        evaluation=presets.protocol(
            size.protocol, base.Evaluation(networks=size.teachers.networks[:1])
        ),
    )
    return small(made, ('convnet_bn',)) if dataset == 'digits' else made


def size_of(dataset: str) -> str:
    """'cifar', 'tiny' or 'imagenet', by the side of the images;
    a folder or file of one's own counts as ImageNet's."""
    try:
        side = data.spec(dataset).image_shape[0]
    except ValueError:
        return 'imagenet'
    return 'cifar' if side <= 32 else 'tiny' if side <= 64 else 'imagenet'


def small(config: base.Recovered, teachers: tuple[str, ...]) -> base.Recovered:
    """The digits within a minute on two CPU cores."""
    return dataclasses.replace(
        config,
        num_steps=200,
        teachers=dataclasses.replace(
            config.teachers, networks=teachers, width=32, epochs=15, batch_size=64
        ),
        recover=dataclasses.replace(config.recover, jitter=1),
        evaluation=dataclasses.replace(
            config.evaluation, networks=('convnet_bn',), width=64, epochs=60
        ),
    )


def method(config: SRe2L, dataset: data.Dataset) -> tuple[Method, ...]:
    """SRe2L on its teacher, without regularizers."""
    spec = dataset.spec
    return tuple(
        methods.sre2l(
            build.taught_by(config, name, spec),
            augment=build.recovery(config),
            box=(spec.mean, spec.std),
            **build.moments(config.recover),
        )
        for name in config.teachers.networks
    )


def require(config: SRe2L) -> None:
    """Refuses more or fewer teachers than one."""
    count = len(config.teachers.networks)
    refuse('teachers.networks', count, 'one network with batch norm', count != 1)


ENTRY = SRe2L.entry = Entry(
    SRe2L,
    published,
    method,
    recovering.STAGE,
    build.feed,
    CELLS,
    reduced=lambda dataset: presets.REDUCED_RECOVERING,
    require=require,
    papers=(papers.SRE2L,),
    smaller=(
        '--recover.together 1',
        '--recover.part',
        '--recover.classes-per-chunk',
        '--precision bf16',
    ),
)
