r"""SRe2L (Yin, Xing & Shen, NeurIPS 2023, https://arxiv.org/abs/2306.13092), optionally with plug-ins.

Command:   python -m experiments.run sre2l --dataset cifar100 --ipc 10 --workdir runs/sre2l
Expect:    SRe2L, CIFAR-100, ResNet-18, IPC 10: 31.6 +- 0.5 % as published by INFER; ours at a smaller budget: see
           README.md.  CDA: add --recover.crop curriculum.  Smoke: add --smoke
"""
import dataclasses
from typing import NamedTuple

from experiments.configs import base, presets, weights
from jaxdd import data


class Size(NamedTuple):
    """What depends on the size of a data set's images."""
    teachers: base.Teachers
    num_steps: int
    learning_rate: float
    recover: base.Recover
    protocol: str


_CIFAR = base.Teachers(networks=('resnet18_stem3',))
_TINY = dataclasses.replace(_CIFAR, epochs=50, batch_size=256, learning_rate=0.2, weight_decay=1e-4, warmup_epochs=5,
                            strategy='resized-crop-flip')
_IMAGENET = dataclasses.replace(_TINY, networks=('resnet18_stem7',), epochs=90, learning_rate=0.1)
_RECOVER = base.Recover(bn_weight=0.01, first_bn_weight=10.0, tv_weight=0.0, norm_weight=0.0, jitter=4,
                        both_signs=False, crop='none', classes_per_chunk=100, images_per_chunk=1, storage='uint8')
SIZES = {'cifar': Size(_CIFAR, 1000, 0.25, _RECOVER, 'sre2l'),
         'tiny': Size(_TINY, 4000, 0.1, dataclasses.replace(_RECOVER, bn_weight=1.0, both_signs=True, crop='resized'),
                      'sre2l-tiny'),
         'imagenet': Size(_IMAGENET, 4000, 0.25, dataclasses.replace(_RECOVER, jitter=32, crop='resized'),
                          'sre2l-imagenet')}


def config(dataset: str = 'cifar10', ipc: int = 10, plugins: tuple[str, ...] = ()) -> base.Config:
    """The authors' settings for images of this size; digits gets a budget of seconds.

    Note:
        The ImageNet teacher is meant to be torchvision's (`--teachers.weights`); the squeeze that runs without it is
        ours. With CC or CMI, which compare images of one class, a chunk is 10 images of each of 10 classes.
    """
    size = SIZES[size_of(dataset)]
    recover = size.recover
    if plugins:
        recover = dataclasses.replace(recover, classes_per_chunk=10, images_per_chunk=10)
    published = base.Config(
        method='sre2l', dataset=dataset, ipc=ipc, plugins=plugins, init='noise', num_steps=size.num_steps,
        optimizer=base.Optimizer(name='adam', learning_rate=size.learning_rate, momentum=0.5, b2=0.9,
                                 schedule='cosine'),
        data=base.Data(per_class=16), teachers=size.teachers, recover=recover,
        regularizers=weights.published('sre2l', dataset, ipc, plugins),
        evaluation=presets.protocol(size.protocol, base.Evaluation(networks=size.teachers.networks[:1])))
    return small(published, ('convnet_bn',)) if dataset == 'digits' else published


def size_of(dataset: str) -> str:
    """'cifar', 'tiny' or 'imagenet', by the side of the images; a folder or file of one's own counts as ImageNet's."""
    try:
        side = data.spec(dataset).image_shape[0]
    except ValueError:
        return 'imagenet'
    return 'cifar' if side <= 32 else 'tiny' if side <= 64 else 'imagenet'


def small(config: base.Config, teachers: tuple[str, ...]) -> base.Config:
    """The digits within a minute on two CPU cores."""
    return dataclasses.replace(
        config, num_steps=200,
        teachers=dataclasses.replace(config.teachers, networks=teachers, width=32, epochs=15, batch_size=64),
        recover=dataclasses.replace(config.recover, jitter=1),
        evaluation=dataclasses.replace(config.evaluation, networks=('convnet_bn',), width=64, epochs=60))
