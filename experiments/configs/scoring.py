"""The command line of an evaluation of a distilled set that is there already."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import tyro

from experiments.configs import base, finished, presets, validation
from experiments.configs.rules import Count, Seed, choice
from jaxdd.storage import distilled_set, records
from jaxdd.storage.records import COUNT, TEXT, Schema, listing, or_none
from jaxdd.types import SyntheticSet

CROSS = ('convnet', 'alexnet', 'vgg11', 'resnet18')  # IID's cross-architecture test
PROGRAM = 'python -m experiments.evaluate'
NO_CONFIGURATION = 'info.config is not the configuration of a run'
SIZE: Schema = {'type': 'integer', 'minimum': 1}
# What is read of the configuration that made a set; the rest is for those who read it.
MADE: Schema = {
    'type': 'object',
    'properties': {
        'method': TEXT,
        'plugins': listing(TEXT),
        'dataset': TEXT,
        'ipc': SIZE,
        'data': {
            'type': 'object',
            'properties': {
                'data_dir': or_none(TEXT),
                'image_size': or_none(SIZE),
                'resize': TEXT,
                'lazy': or_none({'type': 'boolean'}),
                'classes': listing(COUNT),
            },
        },
        'evaluation': {'type': 'object'},
    },
}


@base.frozen
class Options:
    """One evaluation of one distilled set."""

    distilled: tyro.conf.Positional[str]
    """A distilled.npz."""
    dataset: str
    """Where the test images come from; default: what the set was distilled from."""
    data_dir: str | None = None
    """Folder of the prepared data sets; default: TensorFlow Datasets' own."""
    image_size: Count | None = None
    """Pixels; resizes an image folder's images. Default: as the set's own were."""
    resize: choice('square', 'stretched', 'margin') = 'square'
    """Of an image folder: 'square', 'stretched' or 'margin'.
    Default: as the set's own images were."""
    evaluation: base.Evaluation = base.Evaluation()
    """Default: the protocol that the set was scored under, on those of IID's four architectures
    (or of `evaluation.pool`) that fit its images."""
    random: bool = False
    """Also score as many random real images, stored ones counted, under the same protocol."""
    seed: Seed = 0
    output: str | None = None
    """Default: evaluation.json beside the set."""
    steps_per_call: Count | None = None
    """Steps per dispatch; default: 5 on CPUs, 50 on accelerators."""
    num_devices: Count | None = None
    """Devices to use; default: all, one per core on a CPU host."""
    precision: base.PRECISION | None = None
    """Of what networks compute before their last layer; default: 'bf16' on accelerators, 'f32' on
    CPUs."""
    hosts: base.Hosts = base.Hosts()


class Given(NamedTuple):
    """A distilled set as its file holds it."""

    synthetic: SyntheticSet
    about: dict  # the file's other fields
    made: dict  # the configuration that made it; {} where nobody says


def read(path: str) -> Given:
    """A distilled set and what made it.

    Raises:
        ValueError: an unreadable file, or a configuration that no run has.
    """
    synthetic, about = distilled_set.load_npz(path)
    made = about['info'].get('config', {})
    try:
        records.require_fits(made, MADE, 'info', 'config')
    except ValueError as error:
        raise ValueError(f'{path}: {NO_CONFIGURATION} ({error})') from error
    return Given(synthetic, about, made)


def parse(argv: Sequence[str]) -> tuple[Options, Given]:
    """The options, with the set's own data set and protocol as defaults; and the set.

    Raises:
        ValueError: no set, an unreadable one, or a value out of range.
        SystemExit: an unknown or malformed option (code 2), or `--help` (0).
    """
    if not argv or argv[0].startswith('-'):
        if set(argv) & {'-h', '--help'}:
            tyro.cli(
                Options,
                args=['--help'],
                prog=PROGRAM,
                default=Options(distilled='PATH', dataset="the set's own"),
            )
        raise ValueError(f'the first argument is a distilled set: {PROGRAM} PATH/distilled.npz')
    argv = [finished.distilled(argv[0]), *argv[1:]]
    given = read(argv[0])
    try:
        default = _defaults(argv, given.made)
        validation.require_evaluation(default)
    except TypeError as error:
        raise ValueError(f'{argv[0]}: {NO_CONFIGURATION} ({error})') from error
    options = tyro.cli(Options, args=list(argv), prog=PROGRAM, default=default)
    validation.require_evaluation(options)
    options = dataclasses.replace(options, evaluation=presets.resolved(options.evaluation))
    return options, given


def _defaults(argv: Sequence[str], made: dict) -> Options:
    """What holds unless the command line says something else."""
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    words.add_argument('--evaluation.protocol', dest='protocol')
    words.add_argument('--evaluation.pool', dest='pool')
    chosen = words.parse_known_args(argv[1:])[0]
    known, prepared = made.get('evaluation', {}), made.get('data', {})
    default = base.Evaluation(
        **{
            field.name: known[field.name]
            for field in dataclasses.fields(base.Evaluation)
            if field.name in known
        }
    )
    default = dataclasses.replace(default, networks=CROSS, pool=None, coresets=())
    default = presets.protocol(chosen.protocol, default) if chosen.protocol else default
    default = presets.pool(chosen.pool, default) if chosen.pool else default
    return Options(
        distilled=argv[0],
        dataset=made.get('dataset', 'cifar10'),
        data_dir=prepared.get('data_dir'),
        image_size=prepared.get('image_size'),
        resize=prepared.get('resize', 'square'),
        evaluation=default,
    )
