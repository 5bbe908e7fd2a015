"""One run: configuration -> prepare -> distil -> evaluate -> report.

    python -m experiments.run dm --dataset cifar10 --ipc 10 --plugins cc cm --workdir runs/dm-iid

The same command again continues what is in the workdir; SIGTERM saves and ends cleanly.
"""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import jax

from experiments import estimate, methods
from experiments.configs import Config
from experiments.stages import (
    choosing,
    identity,
    jobs,
    messages,
    outputs,
    packing,
    preparing,
    scores,
    several,
    workplace,
)
from experiments.stages.progress import Stages
from experiments.stages.scores import Stop
from jaxdd import hosts
from jaxdd.engine.distill import NonFiniteError
from jaxdd.storage.fingerprint import fingerprint

STOPPED = 3  # exit code of a run that was asked to end and can be continued


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 done, 2 wrong input or a failed run, 3 stopped."""
    try:
        config = methods.parse(argv)
        return estimate.main(config) if config.estimate else run(config, argv)
    except (ValueError, NonFiniteError, OSError, jax.errors.JaxRuntimeError) as error:
        return hosts.failed(error)


def run(config: Config, words: Sequence[str], stop: Stop | None = None) -> int:
    """Runs one configuration from wherever its workdir stands.

    Args:
        words: the command line that it was parsed from, for the record.
        stop: becomes true when the run shall save and end, in a process whose devices are set up;
            None: a process of the run's own, ended by SIGTERM or SIGINT.
    """
    stop = workplace.begun(stop, config.hosts, config.workdir)
    with workplace.entered(config) as workdir:
        return _sets(config, words, workdir, stop)


def _sets(config: Config, words: Sequence[str], workdir: pathlib.Path, stop: Stop) -> int:
    """One set, or several from as many seeds, whose accuracies are then taken together."""
    if config.num_sets == 1:
        return _stages(config, words, workdir, stop)
    folders = [workdir / f'set-{i}' for i in range(config.num_sets)]
    for i, folder in enumerate(folders):
        print(f'set {i}, of {config.num_sets}: seed {config.seed + i}')
        folder.mkdir(exist_ok=True)
        own = dataclasses.replace(config, seed=config.seed + i, num_sets=1, workdir=str(folder))
        if (code := _stages(own, words, folder, stop)) != 0:
            return code
    print(several.write(config, workdir, folders))
    return 0


def _stages(config: Config, words: Sequence[str], workdir: pathlib.Path, stop: Stop) -> int:
    """Data, prepare, distil, evaluate, report."""
    progress = Stages(5)
    try:
        progress.begin('data', f'reading {config.dataset}')
        job = jobs.load(config)
        config.entry.stage.require_continuable(job, workdir)
        who = fingerprint(identity.of_run(job))
        hosts.require_alike('configuration and data', who)
        progress.keep(workdir / 'seconds.json', who)
        progress.begin('prepare', messages.prepare(job))
        prepared = preparing.prepare(job, stop)
        progress.begin('distil', messages.distil(job))
        distilled = None
        if not stop():
            job = choosing.started(job, prepared)
            distilled = config.entry.stage.distil(job, prepared, workdir, stop)
        if stop() or distilled is None:
            print(f'stopped; the same command continues from what lies in {workdir}')
            return STOPPED
        packing.write(job, prepared.teachers, distilled, workdir)
        progress.begin('evaluate', messages.evaluate(job))
        scored = scores.evaluate(job, prepared, distilled.synthetic, workdir, stop)
        if stop():
            print(
                f'stopped during evaluation; the same command trains the missing students. '
                f'{workdir / "distilled.npz"} is whole'
            )
            return STOPPED
        progress.begin('report', 'writing the results')
        results = outputs.results(
            job, prepared.teachers, distilled, scored, progress.seconds, words
        )
        print(outputs.write_outputs(results, job, prepared, distilled, scored, workdir))
        return 0
    finally:
        with contextlib.suppress(OSError):  # the error on its way out is the one to see
            progress.end()


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
