"""The first stages of a run: prepare, distil. Each is resumable and says how long it takes."""
import functools
import pathlib
from typing import NamedTuple

import jax
import numpy as np

from experiments import build, jobs, recover, scores, teaching
from experiments.progress import Clock, History, bar
from experiments.scores import Stop
from experiments.weighing import regularized, weigh
from jaxdd import checkpoint, data, distill, locks, loop, pools
from jaxdd.teachers import Teacher
from jaxdd.types import Accuracy, DistillState, SyntheticSet, Variables


class Distilled(NamedTuple):
    """What distillation leaves."""
    synthetic: SyntheticSet                      # decoded: what students see
    stored: dict[str, np.ndarray]                # what is kept, by name
    before: jax.Array                            # [K, n, H, W, C] normalised: what it started from
    weights: dict[str, float]                    # lambda of each plug-in
    seconds_per_step: float                      # median, compilation excluded; 0 when nothing was left to do
    compile_seconds: float
    accuracies: dict[int, dict[str, Accuracy]]   # step -> on the way
    history: list[dict]
    marks: dict[int, str] = {}                   # step of the history -> what begins there


class Prepared(NamedTuple):
    """Networks trained on the real set."""
    proxies: list[Variables]
    teachers: list[Teacher]


def prepare(job: jobs.Job, stop: Stop) -> Prepared:
    """The networks that plug-ins and labels need: from files, from the cache, trained where missing."""
    given = teaching.prepare(job, stop) if job.config.teachers.weights else None    # what may be refused comes first
    proxies = _proxies(job, stop) if job.models else []
    return Prepared(proxies, teaching.prepare(job, stop) if given is None else given)


def _proxies(job: jobs.Job, stop: Stop) -> list[Variables]:
    p, recipe = job.config.proxies, build.proxy_recipe(job.config, len(job.dataset.train.labels))
    cache, who = jobs.cache(job.config) / 'proxies', jobs.pool_identity(job)
    folder = cache / checkpoint.fingerprint(who)
    with jobs.turn(folder, stop) as mine:
        if not mine:
            return []
        locks.sweep(folder)
        shown, move = bar('proxies', p.count * recipe.num_steps)
        with shown:
            return pools.proxies(
                jax.random.key(p.seed), build.model(p.network, job.spec, batch_statistics=True),
                data.epochs(job.dataset.train, job.spec, batch_size=p.batch_size), recipe, count=p.count,
                cache=cache, identity=who, steps_per_call=job.steps_per_call, callbacks=[move], should_stop=stop,
                log=shown.write)


def distil(job: jobs.Job, prepared: Prepared, workdir: pathlib.Path, stop: Stop) -> Distilled | None:
    """Moves the synthetic set, from wherever the workdir stands; None when stopped."""
    if job.config.method not in build.DECOUPLED:
        return _matched(job, prepared, workdir, stop)
    fields = recover.distil(job, prepared.teachers, workdir, stop)
    return fields and Distilled(**fields)


def _matched(job: jobs.Job, prepared: Prepared, workdir: pathlib.Path, stop: Stop) -> Distilled:
    """One run of the whole set, from the last whole checkpoint if there is one."""
    config = job.config
    feed = build.feed(config, job.dataset)
    if prepared.proxies:
        feed = pools.attach(feed, 'proxy', prepared.proxies)
    optimizer = build.optimizer(config)
    state = distill.init_state(jobs.key(config, jobs.RUN), job.method, optimizer, job.initial)
    with checkpoint.Checkpoints(workdir / 'checkpoints', jobs.identity(job), keep=config.keep) as saved:
        found = saved.restore(state, warn=print)
        state, done, extra = found if found else (state, 0, {})
        if done:
            print(f'continuing at step {done}')
        weights = extra.get('weights') or weigh(job, job.method, state, feed)
        step = distill.make_step(regularized(job, job.method, weights), optimizer)
        history = History(workdir / 'history.jsonl', up_to=done)
        judged = checkpoint.fingerprint(scores.identity(config, job.dataset, prepared.teachers))
        clock, accuracies = Clock(extra.get('timing', (0.0, 0.0))), _known(extra, judged)

        def facts() -> dict:
            return {'weights': weights, 'accuracies': {str(at): known for at, known in accuracies.items()},
                    'judged': judged, 'timing': clock.summary(job.steps_per_call)}

        shown, move = bar('distil', config.num_steps, initial=done, every=job.steps_per_call)
        callbacks = [loop.Callback(job.steps_per_call, clock.tick), move, history.callback(_history_period(job))]
        if config.evaluation.every:
            measure = functools.partial(_measure, job, prepared.teachers, stop, accuracies)
            callbacks.append(loop.Callback(config.evaluation.every, measure))
        callbacks.append(loop.Callback(config.checkpoint_every, lambda state, at, _: saved.save(at, state, facts())))
        with shown:
            state = distill.run(step, state, feed, num_steps=config.num_steps, steps_per_call=job.steps_per_call,
                                callbacks=callbacks, should_stop=stop)
        saved.save(int(state.step), state, facts())
    return Distilled(_decode(job, state), {'images': np.asarray(state.params['images'])}, _before(job), weights,
                     *clock.summary(job.steps_per_call), accuracies, history.rows())


def require_continuable(job: jobs.Job, workdir: pathlib.Path) -> None:
    """Refuses a workdir with another run's checkpoints, or with one that went further, before any computation.

    Raises:
        ValueError: says what differs, or how far the run there went.
    """
    if job.config.method in build.DECOUPLED:
        for folder in sorted((workdir / 'chunks').glob('*-*')):
            checkpoint.claim(folder, jobs.identity(job))
        return
    with checkpoint.Checkpoints(workdir / 'checkpoints', jobs.identity(job), keep=job.config.keep) as saved:
        if saved.steps and saved.steps[-1] > job.config.num_steps:
            raise ValueError(f'{workdir} holds a run that went to step {saved.steps[-1]}, further than num_steps '
                             f'{job.config.num_steps}; ask for more steps or use another workdir')


def _history_period(job: jobs.Job) -> int:
    """Steps between rows, about 500 of them; whole dispatches, so that none is cut short for a row."""
    return job.steps_per_call * max(1, job.config.num_steps // (500 * job.steps_per_call))


def _measure(job: jobs.Job, teachers: list[Teacher], stop: Stop, accuracies: dict, state: DistillState, at: int,
             metrics: dict) -> None:
    """A callback: notes the accuracy of the set as it stands."""
    del metrics
    shown = scores.label(job, teachers, _decode(job, state))
    measured = scores.score(job.config, job.dataset, shown, stop, quiet=True)
    if not stop():  # else not every student has finished
        accuracies[at] = measured


def _known(extra: dict, judged: str) -> dict[int, dict[str, Accuracy]]:
    """Accuracies on the way, back from a checkpoint's JSON, if they were measured as they would be now."""
    rows = extra.get('accuracies', {})
    if rows and extra.get('judged') != judged:
        print(f'the accuracies on the way up to step {max(map(int, rows))} were measured under another protocol, on '
              'other test images or by another program: they are left out')
        return {}
    return {int(at): {name: Accuracy(mean, std, tuple(per_seed)) for name, (mean, std, per_seed) in row.items()}
            for at, row in rows.items()}


def _decode(job: jobs.Job, state: DistillState) -> SyntheticSet:
    return job.method.parametrization.decode(state.params, state.fixed)


def _before(job: jobs.Job) -> jax.Array:
    """What the set looked like at the start, decoded."""
    method = job.method.parametrization
    return method.decode(*method.init(jobs.key(job.config, jobs.INITIAL), job.initial)).images
