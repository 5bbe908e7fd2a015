"""Real images of a run that are as many as the distilled ones: at random, or a core-set."""

from collections.abc import Sequence

from experiments.stages import build, jobs
from experiments.stages.jobs import Chooser, Prepared
from jaxdd import data
from jaxdd.coresets import selection
from jaxdd.networks.teachers import Teacher
from jaxdd.types import SyntheticSet, Variables


def chooser(
    job: jobs.Job, teachers: Sequence[Teacher], proxies: Sequence[Variables]
) -> Chooser | None:
    """The first teacher, else the first proxy; None where training was stopped."""
    if teachers:
        return Chooser(teachers[0].model, teachers[0].variables)
    if proxies:
        return Chooser(build.model(job.config.proxies.network, job.spec), proxies[0])
    return None


def real(job: jobs.Job, prepared: Prepared, kind: str) -> SyntheticSet:
    """The real images that a row compares with: 'random' ones, or a core-set by its rule."""
    if kind == 'random':
        return data.real_subset(
            jobs.key(job.config, jobs.RANDOM), job.dataset.train, job.spec, ipc=job.config.ipc
        )
    return _coreset(job, prepared, kind, jobs.RANDOM, job.config.ipc)


def started(job: jobs.Job, prepared: Prepared) -> jobs.Job:
    """The job with the core-set that it starts from, if it starts from one."""
    rule, needed = job.config.init, jobs.real_start(job.config, job.spec)
    if rule not in selection.RULES:
        return job
    return job._replace(initial=_coreset(job, prepared, rule, jobs.INITIAL, needed))


def _coreset(job: jobs.Job, prepared: Prepared, rule: str, purpose: int, ipc: int) -> SyntheticSet:
    return selection.coreset(
        jobs.key(job.config, purpose),
        rule,
        job.dataset.train,
        job.spec,
        *prepared.chooser,
        ipc=ipc,
    )
