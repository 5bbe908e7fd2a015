"""The only place where strings become functions: a configuration's records as the library's values."""
import functools
import math

import jax
import optax

from experiments.configs import Config
from experiments.configs.base import Augmentation, Network, Recover, Training
from jaxdd import (augment, data, fit, loop, losses, methods, models, optimizers, regularizers, relabel, representative,
                   teachers)
from jaxdd.checks import one_of
from jaxdd.types import Augment, Curriculum, Method, Model, Read, Recipe, Stream, Term


instances = methods.instances

# The engine compiles once per function: equal configurations must give the same function objects.
once = functools.lru_cache(maxsize=64)


@once
def model(network: Network, spec: data.Spec, *, batch_statistics: bool = False) -> Model:
    """An architecture for a data set's images and classes."""
    return models.by_name(network.name, spec.image_shape, spec.num_classes, width=network.width, depth=network.depth,
                          batch_statistics=batch_statistics)


def strategy(name: str, spec: data.Spec) -> str:
    """Operations by name; 'default': the papers' ones for this data set."""
    if name != 'default':
        return name
    return augment.STRATEGY['default' if spec.flip else 'no_flip']


def view(name: str, mode: str, spec: data.Spec) -> Augment:
    """An augmentation per image: operations by name, or one of the two that networks are trained with.

    'padded-crop-flip' pads 4 pixels at 32x32; no view flips where a mirror image changes the class.
    """
    if name == 'padded-crop-flip':
        black = tuple(-m / s for m, s in zip(spec.mean, spec.std))
        return augment.padded_crop_flip(padding=max(1, min(spec.image_shape[:2]) // 8), fill=black, flip=spec.flip)
    if name == 'resized-crop-flip':
        return augment.resized_crop_flip(flip=spec.flip)
    return augment.independent(strategy(name, spec), mode=mode)


def made(config: Config, dataset: data.Dataset) -> tuple[Method, ...]:
    """The base methods, without regularizers: one, or one per teacher (INFER)."""
    one_of('method', config.method, {**METHODS, **DECOUPLED})
    if config.method in DECOUPLED:
        return tuple(DECOUPLED[config.method](config, dataset.spec, name) for name in config.teachers.networks)
    one = METHODS[config.method](config, dataset.spec)
    if config.data.sampling == 'random':
        return one,
    return representative(one, num_classes=dataset.spec.num_classes, per_class=_per_class(config, dataset),
                          preprocess=preprocess(dataset.spec), every=config.data.cluster_every),


def _siamese(augmentation: Augmentation, spec: data.Spec) -> Augment:
    return augment.shared(strategy(augmentation.strategy, spec), mode=augmentation.mode)


def _dm(config: Config, spec: data.Spec) -> Method:
    return methods.dm(model(config.encoder, spec, batch_statistics=True), augment=_siamese(config.augmentation, spec))


def _dc(config: Config, spec: data.Spec) -> Method:
    t = config.training
    num_images = config.ipc * spec.num_classes
    return methods.dc(
        model(config.encoder, spec), encoder_recipe(t, t.epochs * data.steps_per_epoch(num_images, t.batch_size)),
        augment=_siamese(config.augmentation, spec), every=t.every, distance=DISTANCES[config.matching.distance],
        supervision=relabel.hard(augment.independent(strategy(t.strategy, spec))),
        training=model(config.encoder, spec, batch_statistics=True))


def _idm(config: Config, spec: data.Spec) -> Method:
    t, m = config.training, config.matching
    return methods.idm(
        model(config.encoder, spec), encoder_recipe(t, t.num_batches), augment=_siamese(config.augmentation, spec),
        ce_weight=m.ce_weight, factor=m.factor, max_size=t.queue_size, push_every=t.every, train_count=t.train_count,
        training=model(config.encoder, spec, batch_statistics=True), classes=m.classes)


def _idc(config: Config, spec: data.Spec) -> Method:
    t, m = config.training, config.matching
    return methods.idc(
        model(config.encoder, spec), encoder_recipe(t, t.num_batches), augment=_siamese(config.augmentation, spec),
        box=(spec.mean, spec.std), factor=m.factor, every=t.every,
        train_augment=augment.independent(strategy(t.strategy, spec), mode=config.augmentation.mode),
        mix=_cutmix(t.cutmix), distance=DISTANCES[m.distance], max_synthetic=m.max_synthetic,
        training=model(config.encoder, spec, batch_statistics=True), classes=m.classes)


def teacher(config: Config, name: str, spec: data.Spec, *, batch_statistics: bool = False) -> Model:
    """A teacher's architecture; in test mode unless it is trained.

    Raises:
        ValueError: images are to be recovered from a network without batch norm.
    """
    depth = config.teachers.depth if models.has_depth(name) else None
    made = model(Network(name=name, width=config.teachers.width, depth=depth), spec, batch_statistics=batch_statistics)
    if config.method in DECOUPLED and not jax.eval_shape(made.init, jax.random.key(0)).batch_stats:
        raise ValueError(f'teachers.networks must be networks with batch norm, whose moments {config.method} matches; '
                         f'got {name}')
    return made


def _sre2l(config: Config, spec: data.Spec, name: str) -> Method:
    return methods.sre2l(_encoder(config, name, spec), augment=_recovery(config), box=(spec.mean, spec.std),
                         **_moments(config.recover))


def _infer(config: Config, spec: data.Spec, name: str) -> Method:
    return methods.infer(_encoder(config, name, spec), augment=_recovery(config), **_moments(config.recover))


def _encoder(config: Config, name: str, spec: data.Spec) -> Model:
    made = teacher(config, name, spec)
    return models.in_parts(made, config.recover.part) if config.recover.part else made


def _moments(r: Recover) -> dict[str, float]:
    return {'bn_weight': r.bn_weight, 'first_bn_weight': r.first_bn_weight, 'tv_weight': r.tv_weight,
            'norm_weight': r.norm_weight}


def _recovery(config: Config) -> Augment | Curriculum:
    r = config.recover
    plain = functools.partial(augment.recovery, jitter=r.jitter, both_signs=r.both_signs, crop=r.crop != 'none')
    if r.crop != 'curriculum':
        return plain()
    return Curriculum(lambda step: plain(scale=(augment.curriculum_scale(step, config.num_steps), 1.0)))


def budget(config: Config, spec: data.Spec) -> methods.Budget:
    """What INFER's set consists of."""
    return methods.budget(spec.num_classes, len(config.teachers.networks), config.ipc)


def require_affordable(config: Config, dataset: data.Dataset) -> None:
    """Refuses more natural images per class than there are, and an ipc that holds none."""
    spec, needed = dataset.spec, config.ipc
    if config.method == 'infer':
        needed = budget(config, spec).natural
    if config.method == 'infer' or config.init != 'noise':
        smallest = data.class_members(dataset.train, spec.num_classes, len(dataset.train.labels))[1]
        if needed > smallest:
            raise ValueError(f'ipc {config.ipc} needs {needed} real images per class, and the smallest class has '
                             f'{smallest}')


def teacher_feed(config: Config, dataset: data.Dataset):
    """The augmented mini-batches that a teacher is squeezed on."""
    t = config.teachers
    return FEEDS_OF_TEACHERS[config.data.feed](config, dataset, view(t.strategy, 'S', dataset.spec))


def _teacher_batches(config: Config, dataset: data.Dataset, augmentation: Augment):
    sample = data.epochs(dataset.train, dataset.spec, batch_size=config.teachers.batch_size)
    return teachers.augmented(sample, augmentation)


def _teacher_stream(config: Config, dataset: data.Dataset, augmentation: Augment):
    """Decoded, cropped and mirrored by the host, ahead of the steps."""
    crop = 'resized' if config.teachers.strategy == 'resized-crop-flip' else None
    made = data.epochs_stream(dataset.train, dataset.spec, batch_size=config.teachers.batch_size, crop=crop)
    return made if crop else teachers.augmented(made, augmentation)


FEEDS_OF_TEACHERS = {'device': _teacher_batches, 'stream': _teacher_stream}
DECOUPLED = {'sre2l': _sre2l, 'infer': _infer}
METHODS = {'dc': _dc, 'dsa': _dc, 'dm': _dm, 'idm': _idm, 'idc': _idc}
DISTANCES = {'layerwise_cosine': losses.layerwise_cosine_distance, 'cosine': losses.cosine_distance,
             'squared': losses.squared_distance, 'l1': losses.layerwise_l1, 'l2': losses.layerwise_l2}


def _cutmix(probability: float):
    return functools.partial(augment.cutmix, probability=probability) if probability else None


def encoder_recipe(training: Training, num_steps: int) -> Recipe:
    """How the encoder is trained after each synthetic-set update."""
    rule = fit.sgd(training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay)
    return Recipe(rule, num_steps, training.batch_size, losses.soft_cross_entropy)


def images_per_class(config: Config) -> int:
    """Real images per class that the initial set is made of: factor^2 for every stored one."""
    return config.ipc * (config.matching.factor or 1) ** 2


def terms(config: Config) -> dict[str, Term]:
    """name -> term of every plug-in, in a fixed order; SRe2L and INFER judge with the teacher they recover from."""
    cc, cmi = functools.partial(regularizers.cc, form=config.regularizers.cc_form), regularizers.cmi
    if config.method in DECOUPLED:
        cc, cmi = (functools.partial(cc, Read('encoder', 'synthetic')),
                   functools.partial(cmi, Read('encoder', 'synthetic', 'raw')))
    table = {'cc': cc, 'cm': regularizers.cm, 'cmi': cmi}
    return {name: make() for name, make in table.items() if name in config.plugins}


def optimizer(config: Config) -> optax.GradientTransformation:
    """What moves the synthetic set."""
    o = config.optimizer
    rate = optax.cosine_decay_schedule(o.learning_rate, config.num_steps) if o.schedule == 'cosine' else o.learning_rate
    return optax.adam(rate, b1=o.momentum, b2=o.b2) if o.name == 'adam' else optax.sgd(rate, momentum=o.momentum)


def feed(config: Config, dataset: data.Dataset) -> loop.DeviceFeed | Stream:
    """Where a step's real images come from."""
    made = FEEDS[config.data.feed](dataset.train, dataset.spec, per_class=config.data.per_class)
    t = config.training
    if t.num_batches is not None:
        made = data.mixed(made, dataset.train, dataset.spec, num_batches=t.num_batches * (t.train_count or 1),
                          batch_size=t.batch_size)
    if config.data.sampling == 'random':
        return made
    return data.with_candidates(made, dataset.train, dataset.spec)


FEEDS = {'device': data.stratified, 'stream': data.streamed}


def _per_class(config: Config, dataset: data.Dataset) -> int:
    return max(data.drawn_per_class(dataset.train, dataset.spec, config.data.per_class))


def proxy_recipe(config: Config, train_size: int) -> Recipe:
    """How the proxies are trained: constant learning rate, no augmentation."""
    p = config.proxies
    steps = max(1, math.ceil(p.epochs * data.steps_per_epoch(train_size, p.batch_size)))
    return Recipe(fit.sgd(p.learning_rate, momentum=p.momentum, weight_decay=p.weight_decay), steps, p.batch_size,
                  losses.soft_cross_entropy)


def teacher_recipe(config: Config, train_size: int) -> Recipe:
    """How a teacher is squeezed: SGD, the learning rate falling to 0 along a cosine, stepped per epoch."""
    t = config.teachers
    per_epoch = data.steps_per_epoch(train_size, t.batch_size)
    rate = optimizers.cosine(t.learning_rate, max(1, math.ceil(t.epochs)), per_epoch, warmup_epochs=t.warmup_epochs)
    return Recipe(fit.sgd(rate, momentum=t.momentum, weight_decay=t.weight_decay),
                  max(1, math.ceil(t.epochs * per_epoch)), t.batch_size, losses.soft_cross_entropy)


@once
def preprocess(spec: data.Spec):
    """uint8 images -> network input."""
    return functools.partial(data.normalise, spec)
