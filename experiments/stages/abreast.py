"""The distillation stage of several runs at once, against the same real images and networks."""

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from experiments.stages import identity, jobs, messages, progress
from experiments.stages.going import opened, supplied
from experiments.stages.jobs import Prepared
from experiments.stages.matching import advance
from experiments.stages.scores import Stop
from jaxdd.engine import distill, loop
from jaxdd.methods import together
from jaxdd.storage import checkpoint
from jaxdd.storage.fingerprint import fingerprint
from jaxdd.types import DistillState, Method, Metrics


class Ready(NamedTuple):
    """A run before its first step, or where it stopped."""

    job: jobs.Job
    workdir: pathlib.Path
    prepared: Prepared = Prepared([], [])


def require(runs: Sequence[Ready]) -> None:
    """Refuses runs that cannot go together, before any computation.

    Raises:
        ValueError: what `together` refuses, or runs that stand at different steps or need different
            proxies.
    """
    common_step(runs)
    _require_one_pool([one.job for one in runs if one.job.models])
    _together(runs, [one.job.method for one in runs])


def distil(runs: Sequence[Ready], stop: Stop) -> None:
    """Moves all sets to their last step, or as far as `stop` lets them.

    Each workdir is left as its run alone would have left it: `experiments.run` goes on from there.

    Args:
        runs: alike in all that decides which images and networks a step looks at.

    Raises:
        ValueError: runs that stand at different steps.
    """
    named, at = {str(i): one for i, one in enumerate(runs)}, common_step(runs)
    first = runs[0].job
    if at == first.config.num_steps:
        return
    with contextlib.ExitStack() as stack:
        for one in runs:
            stack.enter_context(_timed(one))
        going = {
            name: stack.enter_context(
                opened(one.job, one.prepared, _feed([one]), one.workdir, stop, up_to=at)
            )
            for name, one in named.items()
        }
        optimizers = {
            name: one.job.config.entry.stage.optimizer(one.job.config)
            for name, one in named.items()
        }
        method = _together(runs, [run.method for run in going.values()])
        state = advance(
            distill.make_step(method, together.optimizer(optimizers)),
            together.joined({name: run.state for name, run in going.items()}),
            _feed(runs),
            [_shown(name, each) for name, run in going.items() for each in run.callbacks],
            first,
            stop,
        )
        for name, run in going.items():
            run.keep(together.part(state, name))


def common_step(runs: Sequence[Ready]) -> int:
    """The newest step of which every run has a whole checkpoint; 0 where none has any.

    Raises:
        ValueError: there is none, and some have gone further; says how far each went.
    """
    steps = []
    for one in runs:
        with checkpoint.Checkpoints(
            one.workdir / 'checkpoints', identity.of_run(one.job), keep=one.job.config.keep
        ) as saved:
            steps.append(set(saved.steps))
    if common := set.intersection(*steps):
        return max(common)
    if not any(steps):
        return 0
    stand = ', '.join(f'{one.workdir} at {max(own, default=0)}' for one, own in zip(runs, steps))
    raise ValueError(
        f'runs go on together from a step that all have reached, and there is none: {stand}. Go on '
        'with each alone (experiments.run), or use new workdirs'
    )


def _feed(runs: Sequence[Ready]) -> Any:
    """What all of them look at: the real images, and the proxies that some of them read."""
    one = next((one for one in runs if one.prepared.proxies), runs[0])
    base = one.job.config.entry.feed(one.job.config, one.job.dataset)
    return supplied(one.job, one.prepared, base)


def _require_one_pool(reading: Sequence[jobs.Job]) -> None:
    options = [(job.config.proxies, identity.of_pool(job)) for job in reading]
    pools = {
        fingerprint({**pool, 'count': p.count, 'every': p.every, 'pixels': p.pixels})
        for p, pool in options
    }
    if len(pools) > 1:
        raise ValueError(
            f'runs together read one pool of proxies, and these would need {len(pools)}: give all '
            'of them the same --proxies options, weight decay included (CC alone and CMI differ)'
        )


def _together(runs: Sequence[Ready], methods: Sequence[Method]) -> Method:
    counts = {str(i): _count(one.job) for i, one in enumerate(runs)}
    return together.together(dict(zip(counts, methods)), counts)


def _count(job: jobs.Job) -> int:
    """Images per class that a step looks at."""
    way, key = job.method.parametrization, jobs.key(job.config, jobs.INITIAL)
    return jax.eval_shape(lambda: way.decode(*way.init(key, job.initial))).images.shape[1]


def _shown(name: str, callback: loop.Callback) -> loop.Callback:
    """A run's callback, which is shown that run alone."""

    def call(state: DistillState, at: int, metrics: Mapping[str, Any]) -> None:
        callback.call(together.part(state, name), at, _own(metrics, name))

    return loop.Callback(callback.every, call)


def _own(metrics: Mapping[str, Any], name: str) -> Metrics:
    """A run's metrics under their own names."""
    begin = f'{name}/'
    return {
        metric.removeprefix(begin): values
        for metric, values in metrics.items()
        if metric.startswith(begin)
    }


@contextlib.contextmanager
def _timed(one: Ready):
    """Counts the seconds of all as those of each run: none was distilled in less."""
    stages = progress.Stages(1)
    stages.keep(one.workdir / 'seconds.json', fingerprint(identity.of_run(one.job)))
    stages.begin('distil', messages.distil(one.job))
    try:
        yield
    finally:
        stages.end()
