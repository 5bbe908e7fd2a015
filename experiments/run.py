"""The only main: configuration -> prepare -> distil -> evaluate -> report.

    python -m experiments.run dm --dataset cifar10 --ipc 10 --plugins cc cm --workdir runs/dm-iid

The same command again continues what is in the workdir; SIGTERM saves and ends cleanly.
"""
import pathlib
import sys
from collections.abc import Sequence

import jax

from experiments import command, jobs, record, stages
from experiments.configs import Config
from experiments.progress import Stages, Terminated
from jaxdd import parallel
from jaxdd.distill import NonFiniteError

STOPPED = 3  # exit code of a run that was asked to end and can be continued


def main(argv: Sequence[str]) -> int:
    """Runs one command line; returns the exit code.

    0 done, 2 wrong input or a failed run, 3 stopped on request, 130 interrupted twice.
    """
    try:
        return run(command.parse(argv), argv)
    except (ValueError, NonFiniteError, OSError, jax.errors.JaxRuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; the same command continues from the last checkpoint', file=sys.stderr)
        return 130


def run(config: Config, words: Sequence[str], stop: stages.Stop | None = None) -> int:
    """Runs one configuration from wherever its workdir stands.

    Args:
        words: the command line that it was parsed from, for the record.
        stop: becomes true when the run shall save and end, in a process whose devices are set up; None: a process of
            the run's own, ended by SIGTERM or SIGINT.
    """
    if stop is None:
        stop = Terminated()
        parallel.start()
    workdir = pathlib.Path(config.workdir).expanduser()
    record.require_writable(workdir, 'workdir')
    record.require_writable(jobs.cache(config), 'cache_dir')
    with parallel.use(parallel.mesh(config.num_devices)):
        progress = Stages(5)
        progress.begin('data', f'reading {config.dataset}')
        job = jobs.load(config)
        stages.require_continuable(job, workdir)
        progress.begin('prepare', jobs.prepare_message(job))
        prepared = stages.prepare(job, stop)
        progress.begin('distil', jobs.distil_message(job))
        distilled = None if stop() else stages.distil(job, prepared, workdir, stop)
        if stop() or distilled is None:
            print(f'stopped; the same command continues from what lies in {workdir}')
            return STOPPED
        record.distilled_set(job, distilled, workdir)
        progress.begin('evaluate', jobs.evaluate_message(job))
        scores = stages.evaluate(job, prepared, distilled, workdir, stop)
        if stop():
            print(f'stopped during evaluation; the same command trains the missing students. '
                  f'{workdir / "distilled.npz"} is whole')
            return STOPPED
        progress.begin('report', 'writing the results')
        results = record.results(job, prepared.teachers, distilled, scores, progress.seconds, words)
        print(record.everything(results, job, distilled, scores, workdir))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
