"""Refuses values that no run can use, by the name of their option, before any computation.

What a field alone must be stands on it (`rules`); here is what several fields must be together.
"""

from collections.abc import Sequence
from typing import Any

from experiments.configs import rules
from experiments.configs.base import Config
from experiments.configs.pools import POOLS
from experiments.configs.rules import refuse


def require(config: Config) -> None:
    """Refuses numbers out of range, unknown names and repeated ones,
    and what the method cannot use.

    Raises:
        ValueError: names the field, what was received and what is valid.
    """
    rules.require(config)
    own = config.entry.published(config.dataset, config.ipc, config.plugins).method
    refuse('method', config.method, own, config.method != own)
    _distinct('plugins', config.plugins)
    _teachers(config)
    require_students(config)
    refuse(
        'evaluation.every',
        config.evaluation.every,
        f'left alone: {config.method} recovers images in chunks',
        config.recovers and config.evaluation.every != 0,
    )
    _whitening(config)
    refuse(
        'init_path',
        config.init_path,
        "given where init is 'given', and nowhere else",
        (config.init_path is None) == (config.init == 'given'),
    )
    config.entry.require(config)


def _whitening(config: Config) -> None:
    """Refuses ZCA beside what normalises or reads images in another way."""
    d = config.data
    if not d.zca:
        return
    refuse(
        'data.zca',
        d.zca,
        f'left alone: {config.method} keeps pixels within [0, 1], which whitened ones do not have',
        config.boxed,
    )
    for name in ('mean', 'std'):
        given = getattr(d, name)
        refuse(f'data.{name}', given, 'left alone: --data.zca whitens instead', given is not None)
    pixels = config.init in ('uniform', 'given')
    refuse('init', config.init, 'another: whitened images are no pixels', pixels)
    p = config.proxies.pixels
    refuse('proxies.pixels', p, "'normalised': whitened images are no pixels", p != 'normalised')
    refuse('data.feed', d.feed, "'device': whitened images lie in memory", d.feed != 'device')
    refuse('data.lazy', d.lazy, 'left alone: whitened images lie in memory', bool(d.lazy))
    refuse(
        'teachers.weights',
        ' '.join(config.teachers.weights),
        'left alone: such networks were trained on images that are not whitened',
        bool(config.teachers.weights),
    )


def require_evaluation(options: Any) -> None:
    """Refuses what no evaluation can use.

    Args:
        options: a record with rules on its fields, among them `evaluation`.

    Raises:
        ValueError: names the field, what was received and what is valid.
    """
    rules.require(options)
    require_students(options)
    coresets = options.evaluation.coresets
    refuse(
        'evaluation.coresets',
        ' '.join(coresets),
        'left alone: experiments.run scores core-sets, which proxies or teachers choose',
        bool(coresets),
    )


def _teachers(config: Config) -> None:
    t, e = config.teachers, config.evaluation
    _distinct('teachers.networks', t.networks)
    refuse(
        'teachers.weights',
        f'{len(t.weights)} files',
        f'one per network ({len(t.networks)})',
        bool(t.weights) and len(t.weights) != len(t.networks),
    )
    refuse(
        'teachers.networks',
        'none',
        f'given: {e.labels} labels need teachers',
        e.labels not in ('hard', 'stored') and not t.networks and not config.recovers,
    )


def require_students(options: Any) -> None:
    """Refuses students that cannot be trained.

    Args:
        options: a record with the field `evaluation`.

    Raises:
        ValueError: names the field, what was received and what is valid.
    """
    e = options.evaluation
    refuse(
        'evaluation.temperature',
        None,
        'given: soft labels need it',
        e.labels != 'hard' and e.temperature is None,
    )
    _distinct('evaluation.networks', e.networks)
    refuse(
        'evaluation.networks',
        ' '.join(e.networks),
        f'left alone where evaluation.pool is {e.pool}: {" ".join(POOLS.get(e.pool, ()))}',
        e.pool is not None and e.networks != POOLS[e.pool],
    )
    _distinct('evaluation.coresets', e.coresets)
    refuse('evaluation.networks', 'none', 'at least one network', not e.networks)
    refuse(
        'evaluation.label_top_k',
        e.label_top_k,
        'left alone: only replayed labels are recorded',
        e.label_top_k is not None and e.labels != 'replayed',
    )
    refuse(
        'evaluation.label_store',
        e.label_store,
        "given where evaluation.labels is 'stored', and nowhere else",
        (e.label_store is None) == (e.labels == 'stored'),
    )
    refuse(
        'evaluation.full_accuracy',
        e.full_accuracy,
        f'left alone where evaluation.labels are {e.labels}: hard ones alone compare with it',
        e.full_accuracy is not None and e.labels != 'hard',
    )
    refuse(
        'evaluation.strategy',
        e.strategy,
        "'resized-crop-flip': what stored labels hold are crops and flips",
        e.labels == 'stored' and e.strategy != 'resized-crop-flip',
    )


def _distinct(field: str, names: Sequence[str]) -> None:
    refuse(field, ' '.join(names), 'names that differ', len(set(names)) < len(names))
