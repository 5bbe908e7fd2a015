"""A run in its workdir, from its last whole checkpoint on:
what it does between dispatches, and what it leaves."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from experiments.stages import identity, jobs, scores, watching
from experiments.stages.jobs import Distilled, Prepared
from experiments.stages.progress import Clock, History
from experiments.stages.scores import Stop
from experiments.stages.weighing import regularized, weigh
from jaxdd.engine import distill, loop
from jaxdd.networks import pools
from jaxdd.networks.teachers import Teacher
from jaxdd.storage import checkpoint
from jaxdd.storage.fingerprint import fingerprint
from jaxdd.types import Accuracy, DistillState, Feed, Inputs, Method, SyntheticSet


class Going(NamedTuple):
    """A run that can go on."""

    state: DistillState
    method: Method  # with its plug-ins
    callbacks: tuple[loop.Callback, ...]
    keep: Callable[[DistillState], Distilled]  # saves the last state, and tells what the run leaves


def supplied(job: jobs.Job, prepared: Prepared, feed: Feed[Inputs]) -> Feed[Inputs]:
    """The feed of a base method, with the networks that plug-ins read."""
    if not prepared.proxies:
        return feed
    return pools.attach(feed, 'proxy', prepared.proxies, every=job.config.proxies.every)


@contextlib.contextmanager
def opened(
    job: jobs.Job,
    prepared: Prepared,
    feed: Feed[Inputs],
    workdir: pathlib.Path,
    stop: Stop,
    *,
    up_to: int | None = None,
) -> Iterator[Going]:
    """The run of a job, where its newest whole checkpoint left it.

    Args:
        feed: as the run takes it: see `supplied`.
        up_to: the newest step to begin from; None: any.
    """
    config, optimizer = job.config, job.config.entry.stage.optimizer(job.config)
    state = distill.init_state(jobs.key(config, jobs.RUN), job.method, optimizer, job.initial)
    with checkpoint.Checkpoints(
        workdir / 'checkpoints', identity.of_run(job), keep=config.keep
    ) as saved:
        found = saved.restore(state, warn=print, up_to=up_to)
        state, done, extra = found if found else (state, 0, {})
        if done:
            print(f'continuing at step {done}')
        weights = extra.get('weights') or weigh(job, job.method, state, feed)
        board = watching.Board(watching.folder(config, workdir), after=done)
        history = History(workdir / 'history.jsonl', up_to=done, board=board)
        judged = fingerprint(identity.of_students(config, job.dataset, prepared.teachers))
        clock, accuracies = Clock(extra.get('timing', (0.0, 0.0))), _known(extra, judged)

        def save(state: DistillState, at: int) -> None:
            facts = {
                'weights': weights,
                'accuracies': {str(at): known for at, known in accuracies.items()},
                'judged': judged,
                'timing': clock.summary(job.steps_per_call),
            }
            saved.save(at, state, facts)

        def keep(state: DistillState) -> Distilled:
            save(state, int(state.step))
            board.close()
            return _distilled(job, state, weights, clock, accuracies, history)

        callbacks = (
            loop.Callback(job.steps_per_call, clock.tick),
            history.callback(_history_period(job)),
            *watching.profiled(config, workdir, job.steps_per_call),
            *_looks(job, prepared.teachers, stop, accuracies, board),
            loop.Callback(config.checkpoint_every, lambda state, at, _: save(state, at)),
        )
        yield Going(state, regularized(job, job.method, weights), callbacks, keep)


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
