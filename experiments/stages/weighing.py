"""The plug-ins' weights of a run, and the method that carries them."""

from experiments.stages import build, jobs
from jaxdd import terms
from jaxdd.engine import auto_weights
from jaxdd.types import DistillState, Method


def weigh(job: jobs.Job, method: Method, state: DistillState, feed) -> dict[str, float]:
    """lambda of every plug-in: configured, or measured once at the start and then kept with the
    checkpoints."""
    made = build.terms(job.config)
    entries = {name: getattr(job.config.regularizers, name) for name in made}
    chosen = {name: entry.weight for name, entry in entries.items() if entry.weight is not None}
    unknown = {name: term for name, term in made.items() if name not in chosen}
    if unknown:  # each ratio scales the pull that was measured for a ratio of 1
        measured = auto_weights.automatic_weights(
            method, unknown, state, feed, ratio=1.0, models=job.models
        )
        chosen |= {name: entries[name].ratio * measured[name] for name in unknown}
    for name in made:
        idle = (
            ', no gradient at the start: it changes nothing'
            if name in unknown and not chosen[name]
            else ''
        )
        print(f'weight of {name}: {chosen[name]:.4g} ({entries[name].source}{idle})')
    return chosen


def regularized(job: jobs.Job, method: Method, weights: dict[str, float]) -> Method:
    """A base method with the run's plug-ins."""
    settings = job.config.regularizers
    made = {
        name: (weights[name], terms.at_every(term, getattr(settings, name).every))
        for name, term in build.terms(job.config).items()
    }
    return terms.regularize(method, made, models=job.models)
