"""The only place where strings become functions: a configuration's records as the library's values."""
import functools
import math

import optax

from experiments import students as recipes
from experiments.configs import Config
from experiments.configs.base import Augmentation, Evaluation, Network, Training
from jaxdd import augment, data, fit, loop, losses, methods, models, regularizers, relabel, representative
from jaxdd.checks import one_of
from jaxdd.types import Augment, Method, Model, Recipe, Stream, Supervision, Term


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


def method(config: Config, dataset: data.Dataset) -> Method:
    """The base method, without regularizers."""
    one_of('method', config.method, METHODS)
    made = METHODS[config.method](config, dataset.spec)
    if config.data.sampling == 'random':
        return made
    return representative(made, num_classes=dataset.spec.num_classes, per_class=_per_class(config, dataset),
                          preprocess=preprocess(dataset.spec), every=config.data.cluster_every)


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
    """name -> term of every plug-in, in a fixed order."""
    table = {'cc': functools.partial(regularizers.cc, form=config.regularizers.cc_form),
             'cm': regularizers.cm, 'cmi': regularizers.cmi}
    return {name: make() for name, make in table.items() if name in config.plugins}


def optimizer(config: Config) -> optax.GradientTransformation:
    """What moves the synthetic set."""
    return optax.sgd(config.optimizer.learning_rate, momentum=config.optimizer.momentum)


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
    return data.class_members(dataset.train, dataset.spec.num_classes, config.data.per_class)[1]


def proxy_recipe(config: Config, train_size: int) -> Recipe:
    """How the proxies are trained: constant learning rate, no augmentation."""
    p = config.proxies
    steps = max(1, math.ceil(p.epochs * data.steps_per_epoch(train_size, p.batch_size)))
    return Recipe(fit.sgd(p.learning_rate, momentum=p.momentum, weight_decay=p.weight_decay), steps, p.batch_size,
                  losses.soft_cross_entropy)


def student_rate(evaluation: Evaluation, network: str) -> float:
    """The learning rate of one architecture's students: as configured, else what it learns with."""
    return evaluation.learning_rate or recipes.LEARNING_RATES.get(network, recipes.DEFAULT)


@once
def student_recipe(evaluation: Evaluation, set_size: int, network: str = 'convnet') -> Recipe:
    """How students are trained on `set_size` images.

    Schedule 'dsa': E + 1 epochs, one drop of the rate with a new optimiser; 'idc': E epochs, two drops.
    """
    per_epoch = data.steps_per_epoch(set_size, evaluation.batch_size)
    rule = functools.partial(fit.sgd, student_rate(evaluation, network), momentum=evaluation.momentum,
                             weight_decay=evaluation.weight_decay)
    last = evaluation.epochs
    if evaluation.schedule == 'idc':
        drops = (2 * last // 3 * per_epoch, 5 * last // 6 * per_epoch)
        optimizer = rule(drop_at=drops, drop_factor=0.2, restart=False)
    else:
        optimizer = rule(drop_at=(last // 2 + 2) * per_epoch)  # after epoch index E // 2 + 1
    return Recipe(optimizer, num_epochs(evaluation) * per_epoch, evaluation.batch_size, losses.soft_cross_entropy)


def num_epochs(evaluation: Evaluation) -> int:
    """Epochs that a student runs in all: E of schedule 'idc' (at least 1), E + 1 of 'dsa'."""
    return max(1, evaluation.epochs) if evaluation.schedule == 'idc' else evaluation.epochs + 1


@once
def supervision(evaluation: Evaluation, spec: data.Spec) -> Supervision:
    """What students see of the distilled set."""
    plain = relabel.hard(augment.independent(strategy(evaluation.strategy, spec), mode=evaluation.mode))
    return relabel.mixed(plain, _cutmix(evaluation.cutmix)) if evaluation.cutmix else plain


def students(evaluation: Evaluation, spec: data.Spec) -> tuple[dict[str, Model], dict[str, Model]]:
    """name -> architecture, in training and in test mode."""
    networks = {name: Network(name=name, width=evaluation.width) for name in evaluation.networks}
    return ({name: model(n, spec, batch_statistics=True) for name, n in networks.items()},
            {name: model(n, spec) for name, n in networks.items()})


@once
def preprocess(spec: data.Spec):
    """uint8 images -> network input."""
    return functools.partial(data.normalise, spec)
