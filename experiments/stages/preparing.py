"""The first stage of a run: the networks that plug-ins and labels need, resumable."""

import jax

from experiments.stages import build, choosing, identity, jobs, pooling, teaching
from experiments.stages.jobs import Prepared
from experiments.stages.scores import Stop
from jaxdd import data
from jaxdd.types import Variables


def prepare(job: jobs.Job, stop: Stop) -> Prepared:
    """The networks that plug-ins and labels need:
    from files, from the cache, trained where missing."""
    # what may be refused comes first
    given = teaching.prepare(job, stop) if job.config.teachers.weights else None
    proxies = _proxies(job, stop) if job.models else []
    teachers = teaching.prepare(job, stop) if given is None else given
    chooser = None
    if jobs.chooses(job.config):
        looking = proxies or ([] if teachers else _proxies(job, stop, count=1))
        chooser = choosing.chooser(job, teachers, looking)
    experts, verifier = job.config.entry.stage.experts(job, stop), teaching.verifier(job, stop)
    return Prepared(proxies, teachers, experts, chooser, verifier)


def _proxies(job: jobs.Job, stop: Stop, count: int | None = None) -> list[Variables]:
    p = job.config.proxies
    return pooling.pool(
        job,
        stop,
        pooling.Pool(
            'proxies',
            count or p.count,
            jax.random.key(p.seed),
            build.model(p.network, job.spec, batch_statistics=True),
            data.epochs(job.dataset.train, job.spec, batch_size=p.batch_size),
            build.proxy_recipe(job.config, len(job.dataset.train.labels)),
            identity.of_pool(job),
        ),
    )
