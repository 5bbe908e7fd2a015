"""The distillation stage of methods that match real batches:
one run of the whole set, resumable."""

import pathlib
from collections.abc import Sequence

from experiments.configs.entry import Stage
from experiments.stages import build, identity, jobs
from experiments.stages.going import opened, supplied
from experiments.stages.jobs import Distilled, Prepared
from experiments.stages.progress import bar
from experiments.stages.scores import Stop
from jaxdd.engine import distill, loop
from jaxdd.storage import checkpoint
from jaxdd.types import DistillState, Feed, Inputs


def distil(job: jobs.Job, prepared: Prepared, workdir: pathlib.Path, stop: Stop) -> Distilled:
    """Moves the whole set in one run, from the last whole checkpoint if there is one."""
    feed = job.config.entry.feed(job.config, job.dataset)
    return move(job, prepared, feed, workdir, stop)


def move(
    job: jobs.Job,
    prepared: Prepared,
    feed: Feed[Inputs],
    workdir: pathlib.Path,
    stop: Stop,
) -> Distilled:
    """Moves the initial set of a job, from the last whole checkpoint if there is one.

    Args:
        feed: of the base method; proxies are added here.
    """
    feed = supplied(job, prepared, feed)
    with opened(job, prepared, feed, workdir, stop) as run:
        step = distill.make_step(run.method, job.config.entry.stage.optimizer(job.config))
        return run.keep(advance(step, run.state, feed, run.callbacks, job, stop))


def advance(
    step: distill.StepFn,
    state: DistillState,
    feed: Feed[Inputs],
    callbacks: Sequence[loop.Callback],
    job: jobs.Job,
    stop: Stop,
) -> DistillState:
    """Takes all steps that are left, behind a progress bar; or as many as `stop` lets it.

    Args:
        job: says how many there are, and how many are one dispatch.
    """
    total, at_once = job.config.num_steps, job.steps_per_call
    shown, move = bar('distil', total, initial=int(state.step), every=at_once)
    with shown:
        return distill.run(
            step,
            state,
            feed,
            num_steps=total,
            steps_per_call=at_once,
            callbacks=[move, *callbacks],
            should_stop=stop,
        )


def require_continuable(job: jobs.Job, workdir: pathlib.Path) -> None:
    """Refuses a workdir with another run's checkpoints, or with one that went further,
    before any computation.

    Raises:
        ValueError: says what differs, or how far the run there went.
    """
    with checkpoint.Checkpoints(
        workdir / 'checkpoints', identity.of_run(job), keep=job.config.keep
    ) as saved:
        if saved.steps and saved.steps[-1] > job.config.num_steps:
            raise ValueError(
                f'{workdir} holds a run that went to step {saved.steps[-1]}, further than '
                f'num_steps {job.config.num_steps}; ask for more steps or use another workdir'
            )


STAGE = Stage(distil, require_continuable, build.optimizer)
