"""The distillation stage of methods that match real batches:
one run of the whole set, resumable."""

import functools
import pathlib

import jax
import numpy as np

from experiments.configs.entry import Stage
from experiments.stages import build, identity, jobs, scores, watching
from experiments.stages.jobs import Distilled, Prepared
from experiments.stages.progress import Clock, History, bar
from experiments.stages.scores import Stop
from experiments.stages.weighing import regularized, weigh
from jaxdd.engine import distill, loop
from jaxdd.networks import pools
from jaxdd.networks.teachers import Teacher
from jaxdd.storage import checkpoint
from jaxdd.storage.fingerprint import fingerprint
from jaxdd.types import Accuracy, DistillState, Feed, Inputs, SyntheticSet


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
    config, optimizer = job.config, job.config.entry.stage.optimizer(job.config)
    if prepared.proxies:
        feed = pools.attach(feed, 'proxy', prepared.proxies, every=config.proxies.every)
    state = distill.init_state(jobs.key(config, jobs.RUN), job.method, optimizer, job.initial)
    with checkpoint.Checkpoints(
        workdir / 'checkpoints', identity.of_run(job), keep=config.keep
    ) as saved:
        found = saved.restore(state, warn=print)
        state, done, extra = found if found else (state, 0, {})
        if done:
            print(f'continuing at step {done}')
        weights = extra.get('weights') or weigh(job, job.method, state, feed)
        step = distill.make_step(regularized(job, job.method, weights), optimizer)
        board = watching.Board(watching.folder(config, workdir), after=done)
        history = History(workdir / 'history.jsonl', up_to=done, board=board)
        judged = fingerprint(identity.of_students(config, job.dataset, prepared.teachers))
        clock, accuracies = Clock(extra.get('timing', (0.0, 0.0))), _known(extra, judged)

        def facts() -> dict:
            return {
                'weights': weights,
                'accuracies': {str(at): known for at, known in accuracies.items()},
                'judged': judged,
                'timing': clock.summary(job.steps_per_call),
            }

        shown, move = bar('distil', config.num_steps, initial=done, every=job.steps_per_call)
        callbacks = [
            loop.Callback(job.steps_per_call, clock.tick),
            move,
            history.callback(_history_period(job)),
            *watching.profiled(config, workdir, job.steps_per_call),
            *_looks(job, prepared.teachers, stop, accuracies, board),
            loop.Callback(
                config.checkpoint_every, lambda state, at, _: saved.save(at, state, facts())
            ),
        ]
        with shown:
            state = distill.run(
                step,
                state,
                feed,
                num_steps=config.num_steps,
                steps_per_call=job.steps_per_call,
                callbacks=callbacks,
                should_stop=stop,
            )
        saved.save(int(state.step), state, facts())
        board.close()
    return _distilled(job, state, weights, clock, accuracies, history)


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


def _distilled(
    job: jobs.Job,
    state: DistillState,
    weights: dict[str, float],
    clock: Clock,
    accuracies: dict,
    history: History,
) -> Distilled:
    """What a finished run leaves."""
    made, stored = _decode(job, state), np.asarray(state.params['images'])
    counts = {'stored per class': stored.shape[1], 'trained on per class': made.images.shape[1]}
    titles = f'{job.config.init} initialisation', 'distilled'
    return Distilled(
        made,
        {'images': stored},
        _before(job),
        made.images,
        titles,
        counts,
        weights,
        *clock.summary(job.steps_per_call),
        accuracies,
        history.rows(),
    )


def _history_period(job: jobs.Job) -> int:
    """Steps between rows, about 500 of them;
    whole dispatches, so that none is cut short for a row."""
    return job.steps_per_call * max(1, job.config.num_steps // (500 * job.steps_per_call))


def _looks(
    job: jobs.Job, teachers: list[Teacher], stop: Stop, accuracies: dict, board: watching.Board
) -> list[loop.Callback]:
    """What measures the set on the way, where that is asked for, and shows it."""
    every = job.config.evaluation.every
    if not every:
        return []
    return [
        loop.Callback(every, functools.partial(_measure, job, teachers, stop, accuracies)),
        loop.Callback(
            every,
            lambda state, at, _: board.scalars(at, watching.accuracies(accuracies.get(at, {}))),
        ),
    ]


def _measure(
    job: jobs.Job,
    teachers: list[Teacher],
    stop: Stop,
    accuracies: dict,
    state: DistillState,
    at: int,
    metrics: dict,
) -> None:
    """A callback: notes the accuracy of the set as it stands."""
    del metrics
    shown = scores.label(job, teachers, _decode(job, state))
    measured = scores.score(job.config, job.dataset, shown, stop, quiet=True)
    if not stop():  # else not every student has finished
        accuracies[at] = measured


def _known(extra: dict, judged: str) -> dict[int, dict[str, Accuracy]]:
    """Accuracies on the way, back from a checkpoint's JSON,
    if they were measured as they would be now."""
    rows = extra.get('accuracies', {})
    if rows and extra.get('judged') != judged:
        print(
            f'the accuracies on the way up to step {max(map(int, rows))} were measured under '
            'another protocol, on other test images or by another program: they are left out'
        )
        return {}
    return {
        int(at): {
            name: Accuracy(mean, std, tuple(per_seed))
            for name, (mean, std, per_seed) in row.items()
        }
        for at, row in rows.items()
    }


def _decode(job: jobs.Job, state: DistillState) -> SyntheticSet:
    """What students see of the set as it stands."""
    how = job.method.parametrization
    return (how.shown or how.decode)(state.params, state.fixed)


def _before(job: jobs.Job) -> jax.Array:
    """What the set looked like at the start, decoded."""
    method = job.method.parametrization
    initial = method.init(jobs.key(job.config, jobs.INITIAL), job.initial)
    return (method.shown or method.decode)(*initial).images


STAGE = Stage(distil, require_continuable, build.optimizer)
