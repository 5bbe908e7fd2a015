"""The stages of a run: load, prepare, distil, evaluate. Each is resumable and says how long it takes."""
import dataclasses
import functools
import json
import pathlib
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from experiments import build
from experiments.configs import Config
from experiments.progress import History, bar
from jaxdd import calibrate, checkpoint, data, distill, loop, parallel, pools, report, terms
from jaxdd import evaluate as evaluation
from jaxdd.types import Accuracy, DistillState, Method, Model, SyntheticSet, Variables

Stop = Callable[[], bool]


class Job(NamedTuple):
    """A configuration with everything that is built from it."""
    config: Config
    spec: data.Spec
    dataset: data.Dataset
    method: Method                   # without regularizers
    models: dict[str, Model]         # of the roles that regularizers add
    initial: SyntheticSet
    steps_per_call: int


class Distilled(NamedTuple):
    """What distillation leaves."""
    synthetic: SyntheticSet
    weights: dict[str, float]                    # lambda of each plug-in
    seconds_per_step: float                      # median, compilation excluded; 0 when nothing was left to do
    compile_seconds: float
    accuracies: dict[int, dict[str, Accuracy]]   # step -> on the way
    history: list[dict]


class Scores(NamedTuple):
    """Accuracy of students on the distilled set and on random real images, by architecture."""
    distilled: dict[str, Accuracy]
    random: dict[str, Accuracy]


def load(config: Config) -> Job:
    """Reads the data and builds everything that can fail on wrong input, before any computation."""
    dataset = data.load(config.dataset, data_dir=config.data.data_dir, image_size=config.data.image_size)
    spec = dataset.spec
    method = build.method(config, spec)
    models = {'proxy': build.model(config.proxies.network, spec)} if needs_proxy(config) else {}
    build.students(config.evaluation, spec)
    initial = data.real_subset(_key(config, 0), dataset.train, spec, ipc=config.ipc)
    return Job(config, spec, dataset, method, models, initial,
               config.steps_per_call or (1 if parallel.on_cpu() else 50))


def needs_proxy(config: Config) -> bool:
    """Whether a plug-in reads a proxy."""
    return any(read.role == 'proxy' for term in build.terms(config).values() for read in term.reads)


def prepare(job: Job, stop: Stop) -> list[Variables]:
    """The proxy pool: from the cache, trained where missing."""
    if not job.models:
        return []
    p, recipe = job.config.proxies, build.proxy_recipe(job.config, len(job.dataset.train.labels))
    shown, move = bar('proxies', p.count * recipe.num_steps)
    with shown:
        return pools.proxies(
            jax.random.key(p.seed), build.model(p.network, job.spec, batch_statistics=True),
            data.epochs(job.dataset.train, job.spec, batch_size=p.batch_size), recipe, count=p.count,
            cache=cache(job.config) / 'proxies', identity=_pool_identity(job),
            steps_per_call=job.steps_per_call, callbacks=[move], should_stop=stop, log=shown.write)


def distil(job: Job, pool: list[Variables], workdir: pathlib.Path, stop: Stop) -> Distilled:
    """Moves the synthetic set, from the last whole checkpoint if there is one."""
    config = job.config
    feed = build.feed(config, job.dataset)
    if pool:
        feed = pools.attach(feed, 'proxy', pool)
    optimizer = build.optimizer(config)
    state = distill.init_state(_key(config, 1), job.method, optimizer, job.initial)
    with checkpoint.Checkpoints(workdir / 'checkpoints', identity(job), keep=config.keep) as saved:
        found = saved.restore(state, warn=print)
        state, done, extra = found if found else (state, 0, {})
        if done:
            print(f'continuing at step {done}')
        weights = extra.get('weights') or _weights(job, state, feed)
        step = distill.make_step(_regularized(job, weights), optimizer)
        history = History(workdir / 'history.jsonl', up_to=done)
        clock, accuracies = _Clock(extra.get('timing', (0.0, 0.0))), _known(extra.get('accuracies', {}))

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
    return Distilled(_decode(job, state), weights, *clock.summary(job.steps_per_call), accuracies, history.rows())


def evaluate(job: Job, distilled: Distilled, stop: Stop) -> Scores:
    """Students on the distilled set, and on a random real subset of the same size under the same protocol.

    The random subset's accuracies depend on data, protocol and seed alone, so they are kept in the cache folder.
    """
    scored = score(job, distilled.synthetic, stop, title='students (distilled)')
    cached = cache(job.config) / 'random' / f'{checkpoint.fingerprint(_baseline_identity(job))}.json'
    if cached.exists():
        print(f'random real images: the accuracies of an earlier run under the same protocol ({cached})')
        return Scores(scored, {name: Accuracy(**row) for name, row in json.loads(cached.read_text()).items()})
    subset = data.real_subset(_key(job.config, 3), job.dataset.train, job.spec, ipc=job.config.ipc)
    random = score(job, subset, stop, title='students (random)')
    if not stop():
        report.write_results(cached, random)
    return Scores(scored, random)


def score(job: Job, synthetic: SyntheticSet, stop: Stop, *, title: str = 'students',
          quiet: bool = False) -> dict[str, Accuracy]:
    """Accuracy of the configured students on one synthetic set."""
    config = job.config.evaluation
    training, testing = build.students(config, job.spec)
    recipe = build.student_recipe(config, synthetic.images.shape[0] * synthetic.images.shape[1])
    shown, move = bar(title, config.num_seeds * len(training) * recipe.num_steps)
    shown.disable = quiet
    with shown:
        return evaluation.evaluate(
            _key(job.config, 2), synthetic, job.dataset.test, training, build.supervision(job.config, job.spec), recipe,
            num_seeds=config.num_seeds, preprocess=build.preprocess(job.spec), tested=testing,
            steps_per_call=job.steps_per_call, callbacks=[move], should_stop=stop)


def require_continuable(job: Job, workdir: pathlib.Path) -> None:
    """Refuses a workdir with another run's checkpoints, or with one that went further, before any computation.

    Raises:
        ValueError: says what differs, or how far the run there went.
    """
    with checkpoint.Checkpoints(workdir / 'checkpoints', identity(job), keep=job.config.keep) as saved:
        if saved.steps and saved.steps[-1] > job.config.num_steps:
            raise ValueError(f'{workdir} holds a run that went to step {saved.steps[-1]}, further than num_steps '
                             f'{job.config.num_steps}; ask for more steps or use another workdir')


def identity(job: Job) -> dict:
    """What determines the distilled images: data and configuration, less paths, evaluation and how far to go."""
    config = job.config
    fields = {**dataclasses.asdict(config), 'data_set': _data_identity(job), 'plugins': sorted(config.plugins)}
    for name in ('workdir', 'cache_dir', 'num_steps', 'evaluation', 'checkpoint_every', 'keep', 'steps_per_call',
                 'num_devices', 'smoke'):
        del fields[name]
    del fields['data']['data_dir']
    if not needs_proxy(config):
        del fields['proxies']
    fields['regularizers'] = {name: fields['regularizers'][name] for name in sorted(fields['regularizers'])
                              if name in config.plugins or name == 'cc_form' and 'cc' in config.plugins}
    return fields


def prepare_message(job: Job) -> str:
    """What the second stage will do."""
    p = job.config.proxies
    if not job.models:
        return 'no plug-in reads a proxy: nothing to prepare'
    return (f'{p.count} proxies ({p.network.name}), {p.epochs:g} epochs of {len(job.dataset.train.labels)} images '
            f'each; cached in {job.config.cache_dir}')


def distil_message(job: Job) -> str:
    """What the third stage will do."""
    c = job.config
    return (f'distilling {job.spec.num_classes * c.ipc} images with {" + ".join((c.method, *c.plugins))}: '
            f'{c.num_steps} steps, {c.data.per_class} real images per class and step, on {parallel.hardware()}')


def evaluate_message(job: Job) -> str:
    """What the fourth stage will do."""
    e = job.config.evaluation
    return (f'training {e.num_seeds} students x {", ".join(e.networks)} for {e.epochs + 1} epochs on the distilled '
            'set, and as many on random real images')


def _history_period(job: Job) -> int:
    """Steps between rows, about 500 of them; whole dispatches, so that none is cut short for a row."""
    return job.steps_per_call * max(1, job.config.num_steps // (500 * job.steps_per_call))


def _measure(job: Job, stop: Stop, accuracies: dict, state: DistillState, at: int, metrics: dict) -> None:
    """A callback: notes the accuracy of the set as it stands."""
    del metrics
    measured = score(job, _decode(job, state), stop, quiet=True)
    if not stop():  # else not every student has finished
        accuracies[at] = measured


def _known(rows: dict) -> dict[int, dict[str, Accuracy]]:
    """Accuracies on the way, back from a checkpoint's JSON."""
    return {int(at): {name: Accuracy(mean, std, tuple(per_seed)) for name, (mean, std, per_seed) in row.items()}
            for at, row in rows.items()}


def _key(config: Config, purpose: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(config.seed), purpose)


def _decode(job: Job, state: DistillState) -> SyntheticSet:
    return job.method.parametrization.decode(state.params, state.fixed)


def _weights(job: Job, state: DistillState, feed) -> dict[str, float]:
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


def _regularized(job: Job, weights: dict[str, float]) -> Method:
    made = build.terms(job.config)
    return terms.regularize(job.method, {name: (weights[name], made[name]) for name in made}, models=job.models)


def _pool_identity(job: Job) -> dict:
    fields = dataclasses.asdict(job.config.proxies)
    del fields['count']
    return {'recipe': fields, **_data_identity(job)}


def _baseline_identity(job: Job) -> dict:
    c = job.config
    return {'evaluation': dataclasses.asdict(c.evaluation), 'augmentation': dataclasses.asdict(c.augmentation),
            'ipc': c.ipc, 'seed': c.seed, 'hardware': parallel.hardware(), **_data_identity(job)}


def _data_identity(job: Job) -> dict:
    train = job.dataset.train
    return {'mean': job.spec.mean, 'std': job.spec.std, 'images': list(np.shape(train.images)),
            'checksum': zlib.crc32(np.ascontiguousarray(train.labels), zlib.crc32(np.ascontiguousarray(train.images)))}


def cache(config: Config) -> pathlib.Path:
    """The folder of what runs share."""
    return pathlib.Path(config.cache_dir).expanduser()


class _Clock:
    """Times dispatches; the first one compiles.

    Args:
        before: the summary of the process that this one continues; stands where too little was left to time.
    """

    def __init__(self, before: tuple[float, float]):
        self.times, self._before = [time.perf_counter()], before

    def tick(self, state, step, metrics) -> None:
        """Notes that a dispatch has ended."""
        del state, step, metrics
        self.times.append(time.perf_counter())

    def summary(self, steps_per_call: int) -> tuple[float, float]:
        """(median seconds per step without the first dispatch, seconds that the first took longer)."""
        spans = np.diff(self.times)
        if len(spans) < 2:
            return self._before if self._before[0] or not len(spans) else (0.0, float(spans.sum()))
        typical = float(np.median(spans[1:]))
        return typical / steps_per_call, float(max(0.0, spans[0] - typical))
