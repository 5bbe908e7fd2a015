"""Refuses values that no run can use, by the name of their option, before any computation."""
import functools
import math

from experiments.configs import Config
from jaxdd.checks import one_of
from jaxdd.models import NAMES

AT_LEAST = {'ipc': 1, 'num_steps': 1, 'checkpoint_every': 1, 'keep': 1, 'steps_per_call': 1, 'num_devices': 1,
            'seed': 0, 'data.per_class': 1, 'data.image_size': 1,
            'encoder.width': 1, 'encoder.depth': 1, 'proxies.network.width': 1, 'proxies.network.depth': 1,
            'proxies.count': 1, 'proxies.batch_size': 1, 'proxies.seed': 0, 'proxies.weight_decay': 0,
            'evaluation.num_seeds': 1, 'evaluation.epochs': 0, 'evaluation.batch_size': 1, 'evaluation.every': 0,
            'evaluation.width': 1, 'evaluation.weight_decay': 0,
            **{f'regularizers.{name}.{field}': 0 for name in ('cc', 'cm', 'cmi') for field in ('weight', 'ratio')}}
ABOVE_ZERO = ('optimizer.learning_rate', 'proxies.learning_rate', 'proxies.epochs', 'evaluation.learning_rate')
BELOW_ONE = ('optimizer.momentum', 'proxies.momentum', 'evaluation.momentum')
SEEDS = ('seed', 'proxies.seed')
FORMS = ('squared', 'exp_hinge')


def require(config: Config) -> None:
    """Refuses numbers out of range, unknown names and repeated ones.

    Raises:
        ValueError: names the field, what was received and what is valid.
    """
    for field, least in AT_LEAST.items():
        value = _get(config, field)
        _refuse(field, value, f'at least {least}', value is not None and not least <= value < math.inf)
    for field in ABOVE_ZERO:
        _refuse(field, _get(config, field), 'above 0', not 0 < _get(config, field) < math.inf)
    for field in BELOW_ONE:
        _refuse(field, _get(config, field), 'at least 0 and below 1', not 0 <= _get(config, field) < 1)
    for field in SEEDS:
        _refuse(field, _get(config, field), 'below 2**32', _get(config, field) >= 2 ** 32)
    _names(config)


def _names(config: Config) -> None:
    for field, value in [('encoder.name', config.encoder.name), ('proxies.network.name', config.proxies.network.name),
                         *(('evaluation.networks', name) for name in config.evaluation.networks)]:
        one_of(field, value, NAMES)
    one_of('regularizers.cc_form', config.regularizers.cc_form, FORMS)
    one_of('data.feed', config.data.feed, ('device', 'stream'))
    for field, names in (('plugins', config.plugins), ('evaluation.networks', config.evaluation.networks)):
        _refuse(field, ' '.join(names), 'names that differ', len(set(names)) < len(names))
    _refuse('evaluation.networks', 'none', 'at least one network', not config.evaluation.networks)


def _refuse(field: str, value: object, valid: str, wrong: bool) -> None:
    if wrong:
        raise ValueError(f'{field} must be {valid}, got {value}')


def _get(config: Config, field: str) -> float | None:
    return functools.reduce(getattr, field.split('.'), config)
