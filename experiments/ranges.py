"""Refuses values that no run can use, by the name of their option, before any computation."""
import dataclasses
import functools
import math

import numpy as np

from experiments.configs import Config
from experiments.configs.base import Augmentation, Matching, Network, Recover, Training
from experiments.configs.dc import LOOPS
from experiments.configs.presets import PROTOCOLS
from experiments.configs.weights import TABLES
from jaxdd.checks import one_of
from jaxdd.models import NAMES

TINIEST, GREATEST = (float(edge) for edge in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))
AT_LEAST = {'ipc': 1, 'num_steps': 1, 'checkpoint_every': 1, 'keep': 1, 'steps_per_call': 1, 'num_devices': 1,
            'seed': 0, 'data.per_class': 1, 'data.image_size': 1, 'data.cluster_every': 1,
            'encoder.width': 1, 'encoder.depth': 1, 'proxies.network.width': 1, 'proxies.network.depth': 1,
            'proxies.count': 1, 'proxies.batch_size': 1, 'proxies.seed': 0, 'proxies.weight_decay': 0,
            'training.every': 1, 'training.epochs': 0, 'training.num_batches': 1, 'training.batch_size': 1,
            'training.momentum': 0, 'training.weight_decay': 0, 'training.cutmix': 0, 'training.queue_size': 1,
            'training.train_count': 1, 'matching.ce_weight': 0, 'matching.factor': 1, 'matching.max_synthetic': 1,
            'evaluation.num_seeds': 1, 'evaluation.epochs': 0, 'evaluation.batch_size': 1, 'evaluation.every': 0,
            'evaluation.width': 1, 'evaluation.depth': 1, 'evaluation.weight_decay': 0, 'evaluation.cutmix': 0, 'evaluation.mixup': 0,
            'evaluation.warmup_epochs': 0, 'evaluation.label_top_k': 1, 'optimizer.b2': 0,
            'recover.bn_weight': 0, 'recover.first_bn_weight': 0, 'recover.tv_weight': 0, 'recover.norm_weight': 0,
            'recover.jitter': 0, 'recover.classes_per_chunk': 1, 'recover.images_per_chunk': 1, 'recover.together': 1,
            'recover.part': 1,
            'teachers.width': 1, 'teachers.depth': 1, 'teachers.batch_size': 1, 'teachers.weight_decay': 0, 'teachers.warmup_epochs': 0,
            'teachers.checkpoint_every': 1, 'teachers.seed': 0,
            **{f'regularizers.{name}.{field}': 0 for name in ('cc', 'cm', 'cmi') for field in ('weight', 'ratio')}}
ABOVE_ZERO = ('optimizer.learning_rate', 'proxies.learning_rate', 'proxies.epochs', 'evaluation.learning_rate',
              'training.learning_rate', 'teachers.learning_rate', 'teachers.epochs', 'evaluation.temperature')
BELOW_ONE = ('optimizer.momentum', 'optimizer.b2', 'proxies.momentum', 'evaluation.momentum', 'training.momentum',
             'teachers.momentum')
AT_MOST_ONE = ('training.cutmix', 'evaluation.cutmix')
# Normalisation is of pixels in [0, 1]: a deviation below a quarter of a grey level or above 1 is a mistake.
CHANNELS = {'data.mean': (0.0, 1.0), 'data.std': (1e-3, 1.0)}
LARGEST = 2 ** 31 - 1    # what is counted in int32
NAMED = ('dataset', 'workdir', 'cache_dir', 'training.strategy', 'augmentation.strategy', 'evaluation.strategy')
SEEDS = ('seed', 'proxies.seed', 'teachers.seed')
DECOUPLED = ('sre2l', 'infer')
FORMS = ('squared', 'exp_hinge')

# What each field may be called.
DISTANCES = {'dc': ('layerwise_cosine', 'cosine', 'squared'), 'dsa': ('layerwise_cosine', 'cosine', 'squared'),
             'idc': ('l1', 'l2')}
CHOICES = {'regularizers.cc_form': FORMS, 'data.resize': ('square', 'stretched', 'margin'),
           'data.feed': ('device', 'stream'),
           'data.sampling': ('random', 'representative'), 'init': ('real', 'noise', 'rded'),
           'matching.classes': ('joint', 'sequential'), 'optimizer.name': ('sgd', 'adam'),
           'optimizer.schedule': ('constant', 'cosine'), 'recover.crop': ('none', 'resized', 'curriculum'),
           'recover.storage': ('exact', 'uint8', 'jpeg'),
           'teachers.strategy': ('none', 'padded-crop-flip', 'resized-crop-flip')}
STUDENT_CHOICES = {'schedule': ('dsa', 'idc', 'cosine'), 'optimizer': ('sgd', 'adamw'),
                   'labels': ('hard', 'static', 'dynamic', 'replayed'), 'label_dtype': ('float16', 'float32')}

# Which fields of `matching`, `training` and `recover` a method uses; the others stay None.
_GROWN = ('batch_size', 'learning_rate', 'momentum', 'weight_decay')
_GRADIENTS = ('matching.distance', *(f'training.{name}' for name in ('every', 'epochs', 'strategy', *_GROWN)))
_RECOVERED = tuple(f'recover.{name}' for name in (
    'bn_weight', 'first_bn_weight', 'tv_weight', 'norm_weight', 'jitter', 'both_signs', 'crop', 'images_per_chunk',
    'together', 'part', 'storage'))
USES = {'dm': (), 'dc': _GRADIENTS, 'dsa': _GRADIENTS,
        'idm': ('matching.ce_weight', 'matching.factor', 'matching.classes', *(f'training.{name}' for name in (
            'every', 'num_batches', 'queue_size', 'train_count', *_GROWN))),
        'idc': ('matching.distance', 'matching.factor', 'matching.max_synthetic', 'matching.classes', *(
            f'training.{name}' for name in ('every', 'num_batches', 'strategy', 'cutmix', *_GROWN))),
        'sre2l': (*_RECOVERED, 'recover.classes_per_chunk'), 'infer': _RECOVERED}
OPTIONAL = ('matching.max_synthetic', 'recover.together', 'recover.part')    # None has a meaning there


def require(config: Config) -> None:
    """Refuses numbers out of range, unknown names and repeated ones.

    Raises:
        ValueError: names the field, what was received and what is valid; settings that the method has no use for.
    """
    _numbers(config, ('',))
    _channels(config)
    _names(config)
    _applicable(config)


def require_evaluation(options) -> None:
    """Refuses what no evaluation can use; `options` has the fields `evaluation`, `seed`, `steps_per_call` and
    `num_devices`.

    Raises:
        ValueError: names the field, what was received and what is valid.
    """
    _numbers(options, ('evaluation.', 'seed', 'num_devices', 'steps_per_call'))
    _student_names(options)


def _applicable(config: Config) -> None:
    """Refuses settings that the method has no use for, and asks for those that it lacks."""
    uses = USES.get(config.method, ())
    for record, kind in {'matching': Matching, 'training': Training, 'recover': Recover}.items():
        for field in dataclasses.fields(kind):
            name = f'{record}.{field.name}'
            _refuse(name, _get(config, name), f'left alone: {config.method} has no use for it',
                    name not in uses and _get(config, name) is not None)
    if config.method in ('dc', 'dsa') and None in (config.training.every, config.training.epochs):
        known = ', '.join(map(str, sorted(LOOPS)))
        raise ValueError(f'the published loop table holds ipc {known}, got {config.ipc}; set --training.every '
                         '(steps per network) and --training.epochs (of its training after each)')
    for name in uses:
        _refuse(name, None, f'given: {config.method} needs it',
                _get(config, name) is None and name not in OPTIONAL)
    _decoupled(config) if config.method in DECOUPLED else _refuse(
        'init', config.init, 'real or noise', config.init == 'rded')
    _teachers(config)


def _decoupled(config: Config) -> None:
    """Rules of the methods that recover images from teachers."""
    others = {'data.sampling': 'random', 'evaluation.every': 0, 'encoder': Network(), 'augmentation': Augmentation()}
    for name, only in others.items():
        _refuse(name, _get(config, name), f'left alone: {config.method} has no use for it', _get(config, name) != only)
    count = len(config.teachers.networks)
    _refuse('teachers.networks', count, 'one network with batch norm', config.method == 'sre2l' and count != 1)
    _refuse('teachers.networks', 'none', 'at least one network with batch norm', not count)
    _refuse('init', config.init, 'real: INFER keeps natural images',
            config.method == 'infer' and config.init != 'real')


def _teachers(config: Config) -> None:
    t, e = config.teachers, config.evaluation
    for name in t.networks:
        one_of('teachers.networks', name, NAMES)
    _refuse('teachers.networks', ' '.join(t.networks), 'names that differ', len(set(t.networks)) < len(t.networks))
    _refuse('teachers.weights', f'{len(t.weights)} files', f'one per network ({len(t.networks)})',
            bool(t.weights) and len(t.weights) != len(t.networks))
    _refuse('teachers.networks', 'none', f'given: {e.labels} labels need teachers',
            e.labels != 'hard' and not t.networks)


def _numbers(options, prefixes: tuple[str, ...]) -> None:
    """Refuses numbers out of range among the fields that start with one of the prefixes."""
    rules = [((field,), f'at least {least}', lambda value, least=least: least <= value < math.inf)
             for field, least in AT_LEAST.items()]
    rules += [(ABOVE_ZERO, 'above 0', lambda value: 0 < value < math.inf),
              (BELOW_ONE, 'at least 0 and below 1', lambda value: 0 <= value < 1),
              (AT_MOST_ONE, 'at most 1', lambda value: value <= 1),
              (SEEDS, 'below 2**32', lambda value: value < 2 ** 32)]
    for fields, valid, holds in rules:
        for field in [field for field in fields if field.startswith(prefixes)]:
            value = _get(options, field)
            _refuse(field, value, valid, value is not None and not holds(value))
    _storable(options, prefixes)


def _channels(config: Config) -> None:
    for field, (least, most) in CHANNELS.items():
        values = _get(config, field) or ()
        _refuse(field, ' '.join(f'{value:g}' for value in values),
                f'numbers from {least:g} to {most:g}, one per channel, of pixels in [0, 1]',
                not all(least <= value <= most for value in values))


def _storable(options, prefixes: tuple[str, ...], path: str = '') -> None:
    """Refuses numbers that the devices' types cannot hold."""
    for field in dataclasses.fields(options):
        name, value = path + field.name, getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            _storable(value, prefixes, f'{name}.')
        elif isinstance(value, int) and name.startswith(prefixes) and name not in SEEDS:
            _refuse(name, value, f'at most {LARGEST}', value > LARGEST)
        elif isinstance(value, float) and name.startswith(prefixes):
            _refuse(name, value, 'a number that float32 can hold', abs(value) > GREATEST
                    or 0 < abs(value) < TINIEST)


def _names(config: Config) -> None:
    for field in NAMED:
        _refuse(field, repr(_get(config, field)), 'given', _get(config, field) is not None
                and not _get(config, field).strip())
    for name in config.plugins:
        one_of('plug-in', name, TABLES)
    one_of('encoder.name', config.encoder.name, NAMES)
    one_of('proxies.network.name', config.proxies.network.name, NAMES)
    for field, valid in CHOICES.items():
        if _get(config, field) is not None:
            one_of(field, _get(config, field), valid)
    if config.matching.distance is not None and config.method in DISTANCES:
        one_of('matching.distance', config.matching.distance, DISTANCES[config.method])
    _refuse('plugins', ' '.join(config.plugins), 'names that differ', len(set(config.plugins)) < len(config.plugins))
    _student_names(config)


def _student_names(options) -> None:
    names = options.evaluation.networks
    one_of('evaluation.protocol', options.evaluation.protocol, PROTOCOLS)
    for name in names:
        one_of('evaluation.networks', name, NAMES)
    for field, valid in STUDENT_CHOICES.items():
        one_of(f'evaluation.{field}', getattr(options.evaluation, field), valid)
    _refuse('evaluation.temperature', None, 'given: soft labels need it',
            options.evaluation.labels != 'hard' and options.evaluation.temperature is None)
    _refuse('evaluation.networks', ' '.join(names), 'names that differ', len(set(names)) < len(names))
    _refuse('evaluation.networks', 'none', 'at least one network', not names)
    _refuse('evaluation.label_top_k', options.evaluation.label_top_k, 'left alone: only replayed labels are recorded',
            options.evaluation.label_top_k is not None and options.evaluation.labels != 'replayed')


def _refuse(field: str, value: object, valid: str, wrong: bool) -> None:
    if wrong:
        raise ValueError(f'{field} must be {valid}, got {value}')


def _get(config: Config, field: str) -> float | None:
    return functools.reduce(getattr, field.split('.'), config)
