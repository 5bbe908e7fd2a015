"""Distils several sets against the same real images, networks and augmentations.

    python -m experiments.together \\
        'dm --dataset cifar10 --ipc 10 --workdir runs/dm' \\
        'dm --dataset cifar10 --ipc 10 --plugins cm --workdir runs/dm-cm'

Each argument is a command line of `experiments.run`. What the runs share is computed once: the
network of a step and its look at the real images, which is most of a step where images per class
are few. Each set becomes what its command alone would have made, up to rounding, so that sets with
and without a plug-in differ by the plug-in and not by their draws. Then the commands are run, one
after another, and find their sets distilled. The same command continues where it stopped; so does
any of the commands alone.
"""

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Sequence

import jax

from experiments import methods, run
from experiments.configs import Config, rules
from experiments.stages import abreast, choosing, jobs, preparing, workplace
from experiments.stages.abreast import Ready
from experiments.stages.scores import Stop
from jaxdd import hosts
from jaxdd.engine.distill import NonFiniteError
from jaxdd.storage.atomic import expanded
from jaxdd.storage.fingerprint import differences

# What may differ between runs that see the same; all else may not.
OWN = (
    'ipc',
    'plugins',
    'regularizers',
    'proxies',
    'optimizer',
    'init',
    'init_path',
    'evaluation',
    'workdir',
    'keep',
    'tensorboard',
    'profile',
)
Command = tuple[Config, list[str]]


def main(argv: Sequence[str]) -> int:
    """Runs several command lines; exit code 0 done, 2 wrong input or a failed run, 3 stopped."""
    try:
        return run_all(parse(argv))
    except (ValueError, NonFiniteError, OSError, jax.errors.JaxRuntimeError) as error:
        return hosts.failed(error)


def parse(argv: Sequence[str]) -> list[Command]:
    """The configuration and the words of every command line.

    Raises:
        ValueError: what `methods.parse` refuses, fewer than two commands, two of one workdir,
            commands that would not see the same images, or what one command alone can do.
        SystemExit: an unknown or malformed option (code 2), or `--help` (0).
    """
    if set(argv) & {'-h', '--help'}:
        print(__doc__)
        raise SystemExit(0)
    commands = [(methods.parse(words), words) for words in map(shlex.split, argv)]
    if len(commands) < 2:
        raise ValueError(
            f'together takes two command lines of experiments.run or more, each in quotes; got '
            f'{len(commands)}'
        )
    configs = [config for config, _ in commands]
    _require_alike(configs)
    _require_one_step(configs)
    return commands


def _require_alike(configs: Sequence[Config]) -> None:
    first, *others = configs
    if not first.entry.shares:
        able = ', '.join(name for name, entry in methods.METHODS.items() if entry.shares)
        raise ValueError(
            f'methods that run together: {able}; got {first.method}, whose networks see the '
            'synthetic set, or whose runs have stages of their own'
        )
    folders = [expanded(config.workdir) for config in configs]
    if len(set(folders)) < len(folders):
        raise ValueError(
            f'each run needs a --workdir of its own, got {", ".join(map(str, folders))}'
        )
    for number, other in enumerate(others, start=2):
        if found := differences(_shared(first), _shared(other)):
            told = (
                line.replace('stored', 'first').replace('now', f'number {number}') for line in found
            )
            raise ValueError(
                '\n  '.join(
                    ('runs together must be alike in all that decides what a step sees:', *told)
                )
            )


def _require_one_step(configs: Sequence[Config]) -> None:
    """Refuses what would not be done, or not once."""
    for one in configs:
        alone = 'experiments.run takes it, with one command alone'
        rules.refuse('estimate', one.estimate, f'left out: {alone}', one.estimate is not None)
        rules.refuse('num_sets', one.num_sets, f'1: {alone}', one.num_sets > 1)
    traced = [str(one.workdir) for one in configs if one.profile]
    rules.refuse(
        'profile', ' and '.join(traced), 'of one run: a step is of all of them', len(traced) > 1
    )


def _shared(config: Config) -> dict:
    every = dataclasses.asdict(config)
    return {name: value for name, value in every.items() if name not in OWN}


def run_all(commands: Sequence[Command], stop: Stop | None = None) -> int:
    """Distils all sets at once, and then runs each command.

    Args:
        stop: as in `experiments.run.run`.
    """
    configs = [config for config, _ in commands]
    stop = workplace.begun(stop, configs[0].hosts, configs[0].workdir)
    with contextlib.ExitStack() as stack:
        runs = [_loaded(stack, config) for config in configs]
        abreast.require(runs)
        runs = [_ready(one, stop) for one in runs]
        if not stop():
            print(f'{len(runs)} sets together, against the same real images')
            abreast.distil(runs, stop)
    if stop():
        print('stopped; the same command continues')
        return run.STOPPED
    for config, words in commands:
        print(f'\nexperiments.run {shlex.join(words)}')
        if (code := run.run(config, words, stop)) != 0:
            return code
    return 0


def _loaded(stack: contextlib.ExitStack, config: Config) -> Ready:
    workdir = stack.enter_context(workplace.entered(config))
    job = jobs.load(config)
    config.entry.stage.require_continuable(job, workdir)
    return Ready(job, workdir)


def _ready(one: Ready, stop: Stop) -> Ready:
    prepared = preparing.prepare(one.job, stop)
    job = one.job if stop() else choosing.started(one.job, prepared)
    return Ready(job, one.workdir, prepared)


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
