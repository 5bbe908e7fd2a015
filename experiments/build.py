"""The only place where strings become functions: a configuration's records as the library's values."""
import functools
import math

import optax

from experiments.configs import Config
from experiments.configs.base import Augmentation, Evaluation, Network
from jaxdd import augment, data, fit, loop, losses, methods, models, regularizers, relabel
from jaxdd.checks import one_of
from jaxdd.types import Augment, Method, Model, Recipe, Stream, Supervision, Term


# The engine compiles once per function: equal configurations must give the same function objects.
once = functools.lru_cache(maxsize=64)


@once
def model(network: Network, spec: data.Spec, *, batch_statistics: bool = False) -> Model:
    """An architecture for a data set's images and classes."""
    return models.by_name(network.name, spec.image_shape, spec.num_classes, width=network.width, depth=network.depth,
                          batch_statistics=batch_statistics)


def strategy(augmentation: Augmentation, spec: data.Spec) -> str:
    """The DSA strategy: as configured, else the papers' one for this data set."""
    if augmentation.strategy is not None:
        return augmentation.strategy
    return augment.STRATEGY['default' if spec.flip else 'no_flip']


def method(config: Config, spec: data.Spec) -> Method:
    """The base method, without regularizers."""
    one_of('method', config.method, METHODS)
    return METHODS[config.method](config, spec)


def _dm(config: Config, spec: data.Spec) -> Method:
    siamese: Augment = augment.shared(strategy(config.augmentation, spec), mode=config.augmentation.mode)
    return methods.dm(model(config.encoder, spec, batch_statistics=True), augment=siamese)


METHODS = {'dm': _dm}


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
    return FEEDS[config.data.feed](dataset.train, dataset.spec, per_class=config.data.per_class)


FEEDS = {'device': data.stratified, 'stream': data.streamed}


def proxy_recipe(config: Config, train_size: int) -> Recipe:
    """How the proxies are trained: constant learning rate, no augmentation."""
    p = config.proxies
    steps = max(1, math.ceil(p.epochs * data.steps_per_epoch(train_size, p.batch_size)))
    return Recipe(fit.sgd(p.learning_rate, momentum=p.momentum, weight_decay=p.weight_decay), steps, p.batch_size,
                  losses.soft_cross_entropy)


@once
def student_recipe(evaluation: Evaluation, set_size: int) -> Recipe:
    """How students are trained on `set_size` images: E + 1 epochs, one drop of the rate with a new optimiser."""
    per_epoch = data.steps_per_epoch(set_size, evaluation.batch_size)
    drop = (evaluation.epochs // 2 + 2) * per_epoch  # after finishing epoch index E // 2 + 1
    rule = fit.sgd(evaluation.learning_rate, momentum=evaluation.momentum, weight_decay=evaluation.weight_decay,
                   drop_at=drop)
    return Recipe(rule, (evaluation.epochs + 1) * per_epoch, evaluation.batch_size, losses.soft_cross_entropy)


@once
def supervision(config: Config, spec: data.Spec) -> Supervision:
    """What students see of the distilled set."""
    name = strategy(config.augmentation, spec) if config.evaluation.augment else 'none'
    return relabel.hard(augment.independent(name, mode=config.augmentation.mode))


def students(evaluation: Evaluation, spec: data.Spec) -> tuple[dict[str, Model], dict[str, Model]]:
    """name -> architecture, in training and in test mode."""
    networks = {name: Network(name=name, width=evaluation.width) for name in evaluation.networks}
    return ({name: model(n, spec, batch_statistics=True) for name, n in networks.items()},
            {name: model(n, spec) for name, n in networks.items()})


@once
def preprocess(spec: data.Spec):
    """uint8 images -> network input."""
    return functools.partial(data.normalise, spec)
