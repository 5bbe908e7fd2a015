"""The command line: a preset chosen by a few words, every field of it open to change."""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence

import tyro

from experiments.configs import plugins, validation
from experiments.configs.base import Config
from experiments.configs.entry import Entry
from experiments.configs.plugins import PLUGINS, USERS
from experiments.configs.presets import pool, protocol, resolved, smoke
from jaxdd.checks import one_of


def parse(argv: Sequence[str], methods: Mapping[str, Entry]) -> Config:
    """Turns a command line into a configuration.

    The method, `--dataset`, `--ipc`, `--plugins`, `--evaluation.protocol`, `--evaluation.pool` and
    `--smoke` choose the preset; every other option overrides one of its fields
    (`--optimizer.learning-rate 0.5`). `--help` shows the fields with the preset's values.

    Args:
        methods: the table of what `argv` may name, `experiments.methods.METHODS`.

    Raises:
        ValueError: no or an unknown method, plug-in or network, or a value out of range.
        SystemExit: an unknown or malformed option (code 2, naming the nearest valid ones), or
            `--help` (0).
    """
    if not argv or argv[0].startswith('-'):
        if set(argv) & {'-h', '--help'}:
            print(
                'usage: python -m experiments.run METHOD [--dataset NAME] [--ipc N] [--plugins '
                '...] [options]\n'
                f'methods: {", ".join(methods)}\nmore:  python -m experiments.run METHOD --help'
            )
            sys.exit(0)
        raise ValueError(f'the first argument is the method; valid: {", ".join(methods)}')
    one_of('method', argv[0], methods)
    entry = methods[argv[0]]
    chosen = _preset_words(argv[1:])
    default = entry.published(chosen.dataset, chosen.ipc, tuple(chosen.plugins))
    if chosen.protocol:
        default = dataclasses.replace(
            default, evaluation=protocol(chosen.protocol, default.evaluation)
        )
    if chosen.pool:
        default = dataclasses.replace(default, evaluation=pool(chosen.pool, default.evaluation))
    if chosen.smoke:
        default = smoke(default)
    config = tyro.cli(
        entry.config, args=list(argv), default=default, prog='python -m experiments.run'
    )
    validation.require(config)
    _check_regularizers(config, default)
    return _like_the_encoder(_own_weights(config, default))


def _like_the_encoder(config: Config) -> Config:
    """Students are as deep as what the images were made with, and of the same variants, unless
    told otherwise."""
    e, own = config.evaluation, config.made_with
    taken = {
        option: getattr(own, option, None)
        for option in ('depth', 'norm', 'activation', 'pooling')
        if getattr(e, option) is None
    }
    return dataclasses.replace(config, evaluation=dataclasses.replace(resolved(e), **taken))


def _own_weights(config: Config, default: Config) -> Config:
    """A weight that the user sets is no longer the source's that the preset names."""
    changed = {}
    for name in PLUGINS:
        given, was = getattr(config.regularizers, name), getattr(default.regularizers, name)
        if given.weight != was.weight and given.source == was.source:
            changed[name] = dataclasses.replace(given, source=USERS)
    return dataclasses.replace(
        config, regularizers=dataclasses.replace(config.regularizers, **changed)
    )


def _check_regularizers(config: Config, default: Config) -> None:
    for field in [field.name for field in dataclasses.fields(config.regularizers)]:
        name = plugins.owner(field)
        given, was = getattr(config.regularizers, field), getattr(default.regularizers, field)
        if given != was and name not in config.plugins:
            option = f'--regularizers.{field.replace("_", "-")}'
            raise ValueError(
                f'{option} was changed, but {name} is not among the plug-ins; '
                f'add it: --plugins {" ".join((*config.plugins, name))}'
            )


def _preset_words(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument('--dataset', default='cifar10')
    parser.add_argument('--ipc', type=int, default=10)
    parser.add_argument('--plugins', nargs='*', default=[])
    parser.add_argument('--evaluation.protocol', dest='protocol')
    parser.add_argument('--evaluation.pool', dest='pool')
    parser.add_argument('--smoke', action='store_true')
    if sum(word.partition('=')[0] == '--plugins' for word in argv) > 1:
        raise ValueError('--plugins was given more than once; name all of them after one --plugins')
    try:
        return parser.parse_known_args(argv)[0]
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
