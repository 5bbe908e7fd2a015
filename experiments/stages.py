"""The stages of a run: prepare, distil, evaluate. Each is resumable and says how long it takes."""
import functools
import json
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax

from experiments import build, jobs
from experiments.progress import Clock, History, bar
from jaxdd import calibrate, checkpoint, data, distill, loop, pools, report, terms
from jaxdd import evaluate as evaluation
from jaxdd.types import Accuracy, DistillState, Method, SyntheticSet, Variables

Stop = Callable[[], bool]


class Distilled(NamedTuple):
    """What distillation leaves."""
    synthetic: SyntheticSet                      # decoded: what students see
    stored: jax.Array                            # [K, ipc, H, W, C]: what is kept
    weights: dict[str, float]                    # lambda of each plug-in
    seconds_per_step: float                      # median, compilation excluded; 0 when nothing was left to do
    compile_seconds: float
    accuracies: dict[int, dict[str, Accuracy]]   # step -> on the way
    history: list[dict]


class Scores(NamedTuple):
    """Accuracy of students on the distilled set and on random real images, by architecture."""
    distilled: dict[str, Accuracy]
    random: dict[str, Accuracy]


def prepare(job: jobs.Job, stop: Stop) -> list[Variables]:
    """The proxy pool: from the cache, trained where missing."""
    if not job.models:
        return []
    p, recipe = job.config.proxies, build.proxy_recipe(job.config, len(job.dataset.train.labels))
    shown, move = bar('proxies', p.count * recipe.num_steps)
    with shown:
        return pools.proxies(
            jax.random.key(p.seed), build.model(p.network, job.spec, batch_statistics=True),
            data.epochs(job.dataset.train, job.spec, batch_size=p.batch_size), recipe, count=p.count,
            cache=jobs.cache(job.config) / 'proxies', identity=jobs.pool_identity(job),
            steps_per_call=job.steps_per_call, callbacks=[move], should_stop=stop, log=shown.write)


def distil(job: jobs.Job, pool: list[Variables], workdir: pathlib.Path, stop: Stop) -> Distilled:
    """Moves the synthetic set, from the last whole checkpoint if there is one."""
    config = job.config
    feed = build.feed(config, job.dataset)
    if pool:
        feed = pools.attach(feed, 'proxy', pool)
    optimizer = build.optimizer(config)
    state = distill.init_state(jobs.key(config, jobs.RUN), job.method, optimizer, job.initial)
    with checkpoint.Checkpoints(workdir / 'checkpoints', jobs.identity(job), keep=config.keep) as saved:
        found = saved.restore(state, warn=print)
        state, done, extra = found if found else (state, 0, {})
        if done:
            print(f'continuing at step {done}')
        weights = extra.get('weights') or _weights(job, state, feed)
        step = distill.make_step(_regularized(job, weights), optimizer)
        history = History(workdir / 'history.jsonl', up_to=done)
        clock, accuracies = Clock(extra.get('timing', (0.0, 0.0))), _known(extra.get('accuracies', {}))

        def facts() -> dict:
            return {'weights': weights, 'accuracies': {str(at): known for at, known in accuracies.items()},
                    'timing': clock.summary(job.steps_per_call)}

        shown, move = bar('distil', config.num_steps, initial=done, every=job.steps_per_call)
        callbacks = [loop.Callback(job.steps_per_call, clock.tick), move, history.callback(_history_period(job))]
        if config.evaluation.every:
            callbacks.append(loop.Callback(config.evaluation.every, functools.partial(_measure, job, stop, accuracies)))
        callbacks.append(loop.Callback(config.checkpoint_every, lambda state, at, _: saved.save(at, state, facts())))
        with shown:
            state = distill.run(step, state, feed, num_steps=config.num_steps, steps_per_call=job.steps_per_call,
                                callbacks=callbacks, should_stop=stop)
        saved.save(int(state.step), state, facts())
    return Distilled(_decode(job, state), state.params['images'], weights,
                     *clock.summary(job.steps_per_call), accuracies, history.rows())


def evaluate(job: jobs.Job, distilled: Distilled, stop: Stop) -> Scores:
    """Students on the distilled set, and on a random real subset of the same size under the same protocol.

    The random subset's accuracies depend on data, protocol and seed alone, so they are kept in the cache folder.
    """
    scored = score(job.config, job.dataset, distilled.synthetic, stop, title='students (distilled)')
    cached = jobs.cache(job.config) / 'random' / f'{checkpoint.fingerprint(jobs.baseline_identity(job))}.json'
    if cached.exists():
        print(f'random real images: the accuracies of an earlier run under the same protocol ({cached})')
        return Scores(scored, {name: Accuracy(**row) for name, row in json.loads(cached.read_text()).items()})
    subset = data.real_subset(jobs.key(job.config, jobs.RANDOM), job.dataset.train, job.spec, ipc=job.config.ipc)
    random = score(job.config, job.dataset, subset, stop, title='students (random)')
    if not stop():
        report.write_results(cached, random)
    return Scores(scored, random)


def score(options, dataset: data.Dataset, synthetic: SyntheticSet, stop: Stop, *, title: str = 'students',
          quiet: bool = False) -> dict[str, Accuracy]:
    """Accuracy of the students of `options.evaluation` on one synthetic set, from `options.seed`."""
    config, spec = options.evaluation, dataset.spec
    training, testing = build.students(config, spec)
    size = synthetic.images.shape[0] * synthetic.images.shape[1]
    recipe = {name: build.student_recipe(config, size, name) for name in training}
    shown, move = bar(title, config.num_seeds * sum(one.num_steps for one in recipe.values()))
    shown.disable = quiet
    with shown:
        return evaluation.evaluate(
            jobs.key(options, jobs.STUDENTS), synthetic, dataset.test, training,
            build.supervision(config, spec), recipe, num_seeds=config.num_seeds,
            preprocess=build.preprocess(spec), tested=testing, steps_per_call=jobs.steps_per_call(options),
            callbacks=[move], should_stop=stop)


def require_continuable(job: jobs.Job, workdir: pathlib.Path) -> None:
    """Refuses a workdir with another run's checkpoints, or with one that went further, before any computation.

    Raises:
        ValueError: says what differs, or how far the run there went.
    """
    with checkpoint.Checkpoints(workdir / 'checkpoints', jobs.identity(job), keep=job.config.keep) as saved:
        if saved.steps and saved.steps[-1] > job.config.num_steps:
            raise ValueError(f'{workdir} holds a run that went to step {saved.steps[-1]}, further than num_steps '
                             f'{job.config.num_steps}; ask for more steps or use another workdir')


def _history_period(job: jobs.Job) -> int:
    """Steps between rows, about 500 of them; whole dispatches, so that none is cut short for a row."""
    return job.steps_per_call * max(1, job.config.num_steps // (500 * job.steps_per_call))


def _measure(job: jobs.Job, stop: Stop, accuracies: dict, state: DistillState, at: int, metrics: dict) -> None:
    """A callback: notes the accuracy of the set as it stands."""
    del metrics
    measured = score(job.config, job.dataset, _decode(job, state), stop, quiet=True)
    if not stop():  # else not every student has finished
        accuracies[at] = measured


def _known(rows: dict) -> dict[int, dict[str, Accuracy]]:
    """Accuracies on the way, back from a checkpoint's JSON."""
    return {int(at): {name: Accuracy(mean, std, tuple(per_seed)) for name, (mean, std, per_seed) in row.items()}
            for at, row in rows.items()}


def _decode(job: jobs.Job, state: DistillState) -> SyntheticSet:
    return job.method.parametrization.decode(state.params, state.fixed)


def _weights(job: jobs.Job, state: DistillState, feed) -> dict[str, float]:
    """lambda of every plug-in: configured, or measured once at the start and then kept with the checkpoints."""
    made = build.terms(job.config)
    entries = {name: getattr(job.config.regularizers, name) for name in made}
    chosen = {name: entry.weight for name, entry in entries.items() if entry.weight is not None}
    unknown = {name: term for name, term in made.items() if name not in chosen}
    if unknown:  # each ratio scales the pull that was measured for a ratio of 1
        measured = calibrate.automatic_weights(job.method, unknown, state, feed, ratio=1.0, models=job.models)
        chosen |= {name: entries[name].ratio * measured[name] for name in unknown}
    for name in made:
        idle = ', no gradient at the start: it changes nothing' if name in unknown and not chosen[name] else ''
        print(f'weight of {name}: {chosen[name]:.4g} ({entries[name].source}{idle})')
    return chosen


def _regularized(job: jobs.Job, weights: dict[str, float]) -> Method:
    made = build.terms(job.config)
    return terms.regularize(job.method, {name: (weights[name], made[name]) for name in made}, models=job.models)
