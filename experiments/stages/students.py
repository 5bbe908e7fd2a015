"""Students: their recipes by protocol and architecture, and what they see of a distilled set.

The papers train every architecture with learning rate 0.01. On 100 distilled CIFAR-10 images (DSA,
61 epochs of two batches, narrow networks, one student, 2,000 test images) that leaves AlexNet and
ResNet-18 under-trained: their training loss was still 1.6 to 1.7 where ConvNet's and VGG's were 0.4
to 0.5. The cause is the rate, given so few updates:

    AlexNet (width 32)      0.01: 27.8 %    0.03: 31.3 %    0.1: diverges
    ResNet-18 (width 16)    0.01: 24.8 %    0.03: 28.8 %    0.1: 34.2 %
    VGG-11 (width 16)       0.01: 34.2 %    0.03: 28.1 %
    ConvNet-3 (width 32)    0.01: 36.3 %

`--evaluation.learning-rate 0.01` gives all of them the papers' rate.
"""

import dataclasses
import functools
from collections.abc import Sequence

from experiments.configs.base import Evaluation, Network
from experiments.stages.build import model, once, view
from jaxdd import augment, data, losses, models, optimizers
from jaxdd.engine.evaluate import Student
from jaxdd.labels import relabel
from jaxdd.types import Model, Recipe, Supervision, SyntheticSet

DEFAULT = 0.01
FALLING = {'cosine': optimizers.cosine, 'linear': optimizers.linear}
LEARNING_RATES = {'alexnet': 0.03, 'resnet18': 0.1}  # where it is another


def rate(evaluation: Evaluation, network: str) -> float:
    """The learning rate of one architecture's students: as configured, else what it learns with."""
    return evaluation.learning_rate or LEARNING_RATES.get(network, DEFAULT)


def with_learned_rate(evaluation: Evaluation, synthetic: SyntheticSet) -> Evaluation:
    """Students of a set that brings its own learning rate train with it, unless told otherwise."""
    learned = synthetic.learning_rate
    if evaluation.learning_rate is not None or learned is None:
        return evaluation
    return dataclasses.replace(evaluation, learning_rate=float(learned))


@once
def recipe(evaluation: Evaluation, set_size: int, network: str = 'convnet') -> Recipe:
    """How students are trained on `set_size` images.

    Schedule 'dsa': E + 1 epochs, one drop of the rate with a new optimiser; 'idc': E epochs, two
    drops; 'cosine' and 'linear': E epochs, to 0.
    """
    per_epoch = data.steps_per_epoch(set_size, evaluation.batch_size)
    if evaluation.accumulate > per_epoch:
        raise ValueError(
            f'evaluation.accumulate must be at most {per_epoch}, the mini-batches of an epoch, got '
            f'{evaluation.accumulate}; make evaluation.batch_size smaller'
        )
    return Recipe(
        _optimizer(evaluation, rate(evaluation, network), per_epoch),
        num_epochs(evaluation) * per_epoch,
        evaluation.batch_size,
        _loss(evaluation),
    )


def _optimizer(e: Evaluation, learning_rate: float, per_epoch: int):
    made = _rule(e, learning_rate, per_epoch)
    return made if e.accumulate == 1 else optimizers.accumulated(made, e.accumulate)


def _rule(e: Evaluation, learning_rate: float, num_batches: int):
    per_epoch = num_batches if e.accumulate == 1 else num_batches / e.accumulate  # updates
    if e.schedule in FALLING:
        learning_rate = FALLING[e.schedule](
            learning_rate, num_epochs(e), per_epoch, warmup_epochs=e.warmup_epochs
        )
    if e.optimizer == 'adamw':
        return optimizers.adamw(learning_rate, weight_decay=e.weight_decay, decay_all=e.decay_all)
    rule = functools.partial(
        optimizers.sgd, learning_rate, momentum=e.momentum, weight_decay=e.weight_decay
    )
    if e.schedule == 'dsa':
        return rule(drop_at=int((e.epochs // 2 + 2) * per_epoch))  # after epoch index E // 2 + 1
    if e.schedule == 'idc':
        return rule(
            drop_at=tuple(int(at * per_epoch) for at in (2 * e.epochs // 3, 5 * e.epochs // 6)),
            drop_factor=0.2,
            restart=False,
        )
    return rule()


def _loss(e: Evaluation):
    if e.labels == 'hard':
        return losses.soft_cross_entropy
    return functools.partial(
        losses.soft_label_kl,
        temperature=e.temperature,
        scale_by_temperature_squared=e.squared_temperature,
    )


def num_epochs(evaluation: Evaluation) -> int:
    """Epochs that a student runs in all:
    E of the schedules 'idc', 'cosine' and 'linear' (at least 1), E + 1 of 'dsa'."""
    return evaluation.epochs + 1 if evaluation.schedule == 'dsa' else max(1, evaluation.epochs)


@once
def student_supervision(evaluation: Evaluation, spec: data.Spec) -> Supervision:
    """What students see of the distilled set:
    augmented, then mixed; labels as the set holds them."""
    shown = view(evaluation.strategy, evaluation.mode, spec, evaluation.crop_scale)
    supervision = relabel.hard(shown)
    if evaluation.mixup:
        supervision = relabel.with_mixing(
            supervision, functools.partial(augment.mixup, alpha=evaluation.mixup)
        )
    if evaluation.cutmix:
        supervision = relabel.with_mixing(
            supervision,
            functools.partial(
                augment.cutmix, alpha=evaluation.cutmix_alpha, probability=evaluation.cutmix
            ),
        )
    return supervision


def students(
    evaluation: Evaluation, spec: data.Spec, supervision: Supervision, set_size: int
) -> dict[str, Student]:
    """name -> how an architecture is trained on `set_size` images, and tested.

    Raises:
        ValueError: a network that does not fit the images.
    """
    training, testing = architectures(evaluation, spec)
    return {
        name: Student(
            training[name], supervision, recipe(evaluation, set_size, name), testing[name], name
        )
        for name in training
    }


def architectures(
    evaluation: Evaluation, spec: data.Spec
) -> tuple[dict[str, Model], dict[str, Model]]:
    """name -> architecture, in training and in test mode.

    Raises:
        ValueError: a network that does not fit the images.
    """
    networks = {
        name: Network(
            name=name,
            **{option: getattr(evaluation, option) for option in models.open_options(name)},
        )
        for name in evaluation.networks
    }
    return (
        {name: model(n, spec, batch_statistics=True) for name, n in networks.items()},
        {name: model(n, spec) for name, n in networks.items()},
    )


def labels(evaluation: Evaluation, image_shape: Sequence[int]) -> dict[str, str]:
    """name -> what tables call it: its width where one was chosen, a ConvNet's number of blocks and
    variants."""
    return {name: _label(evaluation, name, image_shape) for name in evaluation.networks}


def _label(e: Evaluation, name: str, image_shape: Sequence[int]) -> str:
    told = {
        option: getattr(e, option)
        for option in ('width', 'depth', 'norm', 'activation', 'pooling')
        if option in models.open_options(name)
    }
    width = told.pop('width', None)
    if models.has_depth(name):
        pooling = e.pooling or models.fixed(name).get('pooling')
        told['depth'] = e.depth or models.default_depth(tuple(image_shape), pooling)
    called = f'{name} of width {width}' if width else name
    return ', '.join([called, *(f'{option} {value}' for option, value in told.items() if value)])
