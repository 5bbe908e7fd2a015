"""The stages of a run: prepare, distil, evaluate. Each is resumable and says how long it takes."""
import functools
import json
import pathlib
import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from experiments import build, jobs, labelling, recover, students, teaching
from experiments.progress import Clock, History, bar
from experiments.weighing import regularized, weigh
from jaxdd import checkpoint, data, distill, loop, pools, report
from jaxdd import evaluate as evaluation
from jaxdd.teachers import Teacher
from jaxdd.types import Accuracy, DistillState, SyntheticSet, Variables

Stop = Callable[[], bool]


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


class Scores(NamedTuple):
    """Accuracy of students on the distilled set and on random real images, by architecture."""
    distilled: dict[str, Accuracy]
    random: dict[str, Accuracy]
    label_bytes: dict[str, int]                  # of either set


class Prepared(NamedTuple):
    """Networks trained on the real set."""
    proxies: list[Variables]
    teachers: list[Teacher]


def prepare(job: jobs.Job, stop: Stop) -> Prepared:
    """The networks that plug-ins and labels need: from the cache, trained where missing."""
    return Prepared(_proxies(job, stop) if job.models else [], teaching.prepare(job, stop))


def _proxies(job: jobs.Job, stop: Stop) -> list[Variables]:
    p, recipe = job.config.proxies, build.proxy_recipe(job.config, len(job.dataset.train.labels))
    shown, move = bar('proxies', p.count * recipe.num_steps)
    with shown:
        return pools.proxies(
            jax.random.key(p.seed), build.model(p.network, job.spec, batch_statistics=True),
            data.epochs(job.dataset.train, job.spec, batch_size=p.batch_size), recipe, count=p.count,
            cache=jobs.cache(job.config) / 'proxies', identity=jobs.pool_identity(job),
            steps_per_call=job.steps_per_call, callbacks=[move], should_stop=stop, log=shown.write)


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
        clock, accuracies = Clock(extra.get('timing', (0.0, 0.0))), _known(extra.get('accuracies', {}))

        def facts() -> dict:
            return {'weights': weights, 'accuracies': {str(at): known for at, known in accuracies.items()},
                    'timing': clock.summary(job.steps_per_call)}

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


def evaluate(job: jobs.Job, prepared: Prepared, distilled: Distilled, workdir: pathlib.Path, stop: Stop) -> Scores:
    """Students on the distilled set, and on a random real subset of the same size under the same protocol and labels.

    The random subset's accuracies depend on data, protocol, teachers and seed alone, so they are kept in the cache.
    """
    given = functools.partial(_labelled, job, prepared.teachers)
    labelled = given(distilled.synthetic, workdir / 'labels.npz')
    kept = functools.partial(_kept, job, workdir)
    scored = score(job.config, job.dataset, labelled, stop, title='students (distilled)', path=kept(labelled))
    cached = jobs.cache(job.config) / 'random' / f'{checkpoint.fingerprint(jobs.baseline_identity(job))}.json'
    if cached.exists():
        print(f'random real images: the accuracies of an earlier run under the same protocol ({cached})')
        found = json.loads(cached.read_text())
        random = {name: Accuracy(**row) for name, row in found['accuracy'].items()}
        return Scores(scored, random, {'distilled': labelled.label_bytes, 'random': found['label_bytes']})
    subset = given(data.real_subset(jobs.key(job.config, jobs.RANDOM), job.dataset.train, job.spec, ipc=job.config.ipc))
    random = score(job.config, job.dataset, subset, stop, title='students (random)', path=kept(subset))
    if not stop():
        report.write_results(cached, {'accuracy': random, 'label_bytes': subset.label_bytes})
    return Scores(scored, random, {'distilled': labelled.label_bytes, 'random': subset.label_bytes})


def _labelled(job: jobs.Job, teachers: list[Teacher], synthetic: SyntheticSet,
              path: pathlib.Path | None = None) -> labelling.Labelled:
    return labelling.label(jobs.key(job.config, jobs.LABELS), job.config.evaluation, job.spec, synthetic, teachers,
                           path=path)


def score(options, dataset: data.Dataset, labelled: labelling.Labelled, stop: Stop, *, title: str = 'students',
          quiet: bool = False, path: pathlib.Path | None = None) -> dict[str, Accuracy]:
    """Accuracy of the students of `options.evaluation` on one labelled set, from `options.seed`.

    Args:
        path: keeps the accuracies of the finished students, and those that it holds are not trained again.
    """
    config, spec, images = options.evaluation, dataset.spec, labelled.synthetic.images
    training, testing = students.architectures(config, spec)
    recipe = {name: students.recipe(config, images.shape[0] * images.shape[1], name) for name in training}
    known = json.loads(path.read_text()) if path is not None and path.exists() else {}
    keep = functools.partial(report.write_results, path) if path is not None else lambda per_seed: None
    shown, move = bar(title, config.num_seeds * sum(one.num_steps for one in recipe.values()),
                      initial=sum(len(known.get(name, ())) * one.num_steps for name, one in recipe.items()))
    shown.disable = quiet
    with shown:
        return evaluation.evaluate(
            jobs.key(options, jobs.STUDENTS), labelled.synthetic, dataset.test, training, labelled.supervision, recipe,
            num_seeds=config.num_seeds, preprocess=build.preprocess(spec), tested=testing,
            steps_per_call=jobs.steps_per_call(options), callbacks=[move], should_stop=stop, known=known,
            keep=keep)


def _kept(job: jobs.Job, workdir: pathlib.Path, labelled: labelling.Labelled) -> pathlib.Path:
    """Where the accuracies of one set's finished students lie, under a name for all that determines them."""
    set_ = zlib.crc32(np.asarray(labelled.synthetic.images).tobytes())
    identity = {**jobs.baseline_identity(job), 'set': set_}
    return workdir / 'students' / f'{checkpoint.fingerprint(identity)}.json'


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
    measured = score(job.config, job.dataset, _labelled(job, teachers, _decode(job, state)), stop, quiet=True)
    if not stop():  # else not every student has finished
        accuracies[at] = measured


def _known(rows: dict) -> dict[int, dict[str, Accuracy]]:
    """Accuracies on the way, back from a checkpoint's JSON."""
    return {int(at): {name: Accuracy(mean, std, tuple(per_seed)) for name, (mean, std, per_seed) in row.items()}
            for at, row in rows.items()}


def _decode(job: jobs.Job, state: DistillState) -> SyntheticSet:
    return job.method.parametrization.decode(state.params, state.fixed)


def _before(job: jobs.Job) -> jax.Array:
    """What the set looked like at the start, decoded."""
    method = job.method.parametrization
    return method.decode(*method.init(jobs.key(job.config, jobs.INITIAL), job.initial)).images
