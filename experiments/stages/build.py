"""A configuration's records as the library's values;
what is a method's own stands with it in `experiments.methods`."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import optax

from experiments.configs import Config, plugins
from experiments.configs.base import Augmentation, Network, Recover, Recovered, Training
from jaxdd import augment, data, losses, models, optimizers
from jaxdd.coresets.dream import representative
from jaxdd.networks import teachers
from jaxdd.terms import read_as
from jaxdd.types import Augment, Curriculum, Feed, Inputs, Method, Model, Recipe, Term

# The engine compiles once per function: equal configurations must give the same function objects.
once = functools.lru_cache(maxsize=64)


@once
def model(network: Network, spec: data.Spec, *, batch_statistics: bool = False) -> Model:
    """An architecture for a data set's images and classes."""
    return models.by_name(
        network.name,
        spec.image_shape,
        spec.num_classes,
        width=network.width,
        depth=network.depth,
        norm=network.norm,
        activation=network.activation,
        pooling=network.pooling,
        features_after=network.features_after,
        batch_statistics=batch_statistics,
    )


@once
def of_pixels(network: Network, spec: data.Spec) -> Model:
    """An architecture in test mode that is shown pixels in [0, 1] instead of normalised ones."""
    return models.of_pixels(model(network, spec), spec.mean, spec.std)


def strategy(name: str, spec: data.Spec) -> str:
    """Operations by name; 'default': the papers' ones for this data set."""
    if name != 'default':
        return name
    return augment.STRATEGY['default' if spec.flip else 'no_flip']


def view(name: str, mode: str, spec: data.Spec, crop_scale: float = 0.08) -> Augment:
    """An augmentation per image: operations by name, or one of those that networks are trained
    with.

    'padded-crop-flip' pads 4 pixels at 32x32; no view flips where a mirror image changes the class.
    'resized-crop-flip-color' adds colour jitter and lighting, 'coarse-...' names DC's operations.
    """
    if name.startswith('coarse-'):
        return augment.coarse.coarse(name.removeprefix('coarse-').replace('-', '_'))
    if name == 'resized-crop-flip-color':
        return augment.then(
            augment.resized_crop_flip(scale=(crop_scale, 1.0), flip=spec.flip),
            augment.jitter_and_light(mean=spec.mean, std=spec.std),
        )
    if name == 'padded-crop-flip':
        if spec.zca:
            raise ValueError(
                'padded-crop-flip pads with black, which whitened images do not have; use '
                "'default' or 'none'"
            )
        black = tuple(-m / s for m, s in zip(spec.mean, spec.std))
        return augment.padded_crop_flip(
            padding=max(1, min(spec.image_shape[:2]) // 8), fill=black, flip=spec.flip
        )
    if name == 'resized-crop-flip':
        return augment.resized_crop_flip(scale=(crop_scale, 1.0), flip=spec.flip)
    return augment.independent(strategy(name, spec), mode=mode)


def matched(
    method: Callable[[Config, data.Dataset], Method],
) -> Callable[[Config, data.Dataset], tuple[Method, ...]]:
    """A matching method's builder, with representative batches where the configuration asks for
    them."""

    def build(config: Config, dataset: data.Dataset) -> tuple[Method, ...]:
        one = method(config, dataset)
        if config.data.sampling == 'random':
            return (one,)
        return (
            representative(
                one,
                num_classes=dataset.spec.num_classes,
                per_class=_per_class(config, dataset),
                preprocess=preprocess(dataset.spec),
                every=config.data.cluster_every,
            ),
        )

    return build


def siamese(augmentation: Augmentation, spec: data.Spec) -> Augment:
    """One transform for the real and synthetic images of a class."""
    return augment.shared(strategy(augmentation.strategy, spec), mode=augmentation.mode)


def teacher(config: Config, name: str, spec: data.Spec, *, batch_statistics: bool = False) -> Model:
    """A teacher's architecture; in test mode unless it is trained.

    Raises:
        ValueError: images are to be recovered from a network without batch norm.
    """
    depth = config.teachers.depth if models.has_depth(name) else None
    made = model(
        Network(name=name, width=config.teachers.width, depth=depth),
        spec,
        batch_statistics=batch_statistics,
    )
    if config.recovers and not jax.eval_shape(made.init, jax.random.key(0)).batch_stats:
        raise ValueError(
            f'teachers.networks must be networks with batch norm, whose moments {config.method} '
            f'matches; got {name}'
        )
    return made


def taught_by(config: Recovered, name: str, spec: data.Spec) -> Model:
    """The teacher that images are recovered from, a part of them at a time if so configured."""
    made = teacher(config, name, spec)
    return models.microbatched(made, config.recover.part) if config.recover.part else made


def moments(r: Recover) -> dict[str, float]:
    """The weights of a recovery's terms, by the names of `jaxdd.methods`."""
    return {
        'bn_weight': r.bn_weight,
        'first_bn_weight': r.first_bn_weight,
        'tv_weight': r.tv_weight,
        'norm_weight': r.norm_weight,
    }


def recovery(config: Recovered) -> Augment | Curriculum:
    """What a teacher sees of the images that are recovered."""
    r = config.recover
    plain = functools.partial(
        augment.recovery, jitter=r.jitter, both_signs=r.both_signs, crop=r.crop != 'none'
    )
    if r.crop != 'curriculum':
        return plain()
    return Curriculum(
        lambda step: plain(
            scale=(
                augment.curriculum_scale(
                    step, config.num_steps, kind=r.curriculum, milestone=r.milestone
                ),
                1.0,
            )
        )
    )


def require_affordable(config: Recovered, dataset: data.Dataset) -> None:
    """Refuses more natural images per class than there are, and an ipc that holds none."""
    spec, kept = dataset.spec, config.entry.natural
    if config.init == 'given' or (kept is None and config.init == 'noise'):
        return
    needed = kept(config, spec) if kept else config.ipc
    smallest = data.class_members(dataset.train, spec.num_classes, len(dataset.train.labels))[1]
    if needed > smallest:
        raise ValueError(
            f'ipc {config.ipc} needs {needed} real images per class, and the smallest class has '
            f'{smallest}'
        )


def teacher_feed(config: Config, dataset: data.Dataset):
    """The augmented mini-batches that a teacher is squeezed on."""
    t = config.teachers
    return FEEDS_OF_TEACHERS[config.data.feed](config, dataset, view(t.strategy, 'S', dataset.spec))


def _teacher_batches(config: Config, dataset: data.Dataset, augmentation: Augment):
    sample = data.epochs(dataset.train, dataset.spec, batch_size=config.teachers.batch_size)
    return teachers.with_augmentation(sample, augmentation)


def _teacher_stream(config: Config, dataset: data.Dataset, augmentation: Augment):
    """Decoded, cropped and mirrored by the host, ahead of the steps."""
    crop = 'resized' if config.teachers.strategy == 'resized-crop-flip' else None
    made = data.epochs_stream(
        dataset.train, dataset.spec, batch_size=config.teachers.batch_size, crop=crop
    )
    return made if crop else teachers.with_augmentation(made, augmentation)


FEEDS_OF_TEACHERS = {'device': _teacher_batches, 'stream': _teacher_stream}


def encoder_recipe(training: Training, num_steps: int) -> Recipe:
    """How the encoder is trained after each synthetic-set update."""
    rule = optimizers.sgd(
        training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay
    )
    return Recipe(rule, num_steps, training.batch_size, losses.soft_cross_entropy)


def terms(config: Config) -> dict[str, Term]:
    """name -> term of every plug-in, in a fixed order;
    where images are recovered, the teacher is judge and proxy."""
    made = plugins.terms(config.plugins, config.regularizers)
    return (
        {name: read_as(term, 'proxy', 'encoder') for name, term in made.items()}
        if config.recovers
        else made
    )


def optimizer(config: Config) -> optax.GradientTransformation:
    """What moves the synthetic set."""
    o = config.optimizer
    rate = (
        optax.cosine_decay_schedule(o.learning_rate, config.num_steps)
        if o.schedule == 'cosine'
        else o.learning_rate
    )
    return (
        optax.adam(rate, b1=o.momentum, b2=o.b2)
        if o.name == 'adam'
        else optax.sgd(rate, momentum=o.momentum)
    )


def feed(
    config: Config, dataset: data.Dataset, *, num_batches: int = 0, batch_size: int = 0
) -> Feed[Inputs]:
    """Where a step's real images come from.

    Args:
        num_batches, batch_size: of the mini-batches that networks are trained on, beside what is
            matched; 0: none.
    """
    made = FEEDS[config.data.feed](dataset.train, dataset.spec, per_class=config.data.per_class)
    if num_batches:
        made = data.with_minibatches(
            made, dataset.train, dataset.spec, num_batches=num_batches, batch_size=batch_size
        )
    if config.recovers or config.data.sampling == 'random':
        return made
    return data.with_candidates(made, dataset.train, dataset.spec)


FEEDS = {'device': data.stratified, 'stream': data.streamed}


def _per_class(config: Config, dataset: data.Dataset) -> int:
    return max(data.drawn_per_class(dataset.train, dataset.spec, config.data.per_class))


def proxy_decay(config: Config) -> float:
    """The proxies' weight decay: as configured, else that of the paper whose plug-in reads them."""
    given = config.proxies.weight_decay
    return plugins.proxy_weight_decay(config.plugins) if given is None else given


def proxy_recipe(config: Config, train_size: int) -> Recipe:
    """How the proxies are trained: constant learning rate, no augmentation."""
    p = config.proxies
    steps = max(1, math.ceil(p.epochs * data.steps_per_epoch(train_size, p.batch_size)))
    return Recipe(
        optimizers.sgd(p.learning_rate, momentum=p.momentum, weight_decay=proxy_decay(config)),
        steps,
        p.batch_size,
        losses.soft_cross_entropy,
    )


def teacher_recipe(config: Config, train_size: int) -> Recipe:
    """How a teacher is squeezed: SGD, the learning rate falling to 0 along a cosine,
    stepped per epoch."""
    t = config.teachers
    per_epoch = data.steps_per_epoch(train_size, t.batch_size)
    rate = optimizers.cosine(
        t.learning_rate, max(1, math.ceil(t.epochs)), per_epoch, warmup_epochs=t.warmup_epochs
    )
    return Recipe(
        optimizers.sgd(rate, momentum=t.momentum, weight_decay=t.weight_decay),
        max(1, math.ceil(t.epochs * per_epoch)),
        t.batch_size,
        losses.soft_cross_entropy,
    )


@once
def preprocess(spec: data.Spec):
    """uint8 images -> network input."""
    return functools.partial(data.normalise, spec)


def mosaics(factor: int, *, order: str, space: str, form: str = 'single') -> dict[str, Any] | None:
    """How stored images become more, for who reads them elsewhere; None where they are whole."""
    if factor == 1:
        return None
    return {'factor': factor, 'order': order, 'space': space, 'form': form}
