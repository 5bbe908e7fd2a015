"""The parts of a set that is recovered from teachers: what each starts from, and what it reads."""

import functools

import jax
import jax.numpy as jnp

from experiments.stages import jobs
from jaxdd import data, feeds
from jaxdd.coresets import rded
from jaxdd.engine import chunks
from jaxdd.networks import pools
from jaxdd.networks.teachers import Teacher
from jaxdd.types import Feed, Inputs, PRNGKey, SyntheticSet


def chunks_of(job: jobs.Job, teacher: Teacher, natural) -> list[chunks.Chunk]:
    """The parts of the set that this teacher recovers."""
    config, spec = job.config, job.spec
    bare, real = pools.attach(jax.tree_util.Partial(_nothing), 'encoder', [teacher.variables]), None
    if jobs.reads_real(config):
        real = pools.attach(config.entry.feed(config, job.dataset), 'encoder', [teacher.variables])
    images = natural.images.shape[1] if natural is not None else config.ipc
    start = source_of(job, teacher, natural)
    made = []
    for classes, numbers in chunks.cut(
        spec.num_classes,
        images,
        classes=config.classes_per_chunk or spec.num_classes,
        images=config.recover.images_per_chunk,
    ):
        feed = bare if real is None else of_classes(real, classes, spec.num_classes)
        shape = (classes.stop - classes.start, numbers.stop - numbers.start, *spec.image_shape)
        made.append(
            chunks.Chunk(functools.partial(start, classes, numbers, len(made)), feed, shape)
        )
    return made


def source_of(job: jobs.Job, teacher: Teacher, natural):
    """What a part starts from: (classes, images, number) -> set."""
    config, spec = job.config, job.spec
    real = natural if natural is not None else real_start(job, teacher)

    def start(classes: slice, numbers: slice, number: int) -> SyntheticSet:
        labels = jnp.repeat(
            jnp.eye(spec.num_classes)[classes, None], numbers.stop - numbers.start, axis=1
        )
        if real is not None:
            return SyntheticSet(jnp.asarray(real.images[classes, numbers]), labels)
        shape = (*labels.shape[:2], *spec.image_shape)
        own = jax.random.fold_in(jobs.key(config, jobs.INITIAL), number)
        return SyntheticSet(jax.random.normal(own, shape), labels)

    return start


def real_start(job: jobs.Job, teacher: Teacher) -> SyntheticSet | None:
    """The real images that are kept, or that recovery starts from; None where that is noise."""
    config, source = job.config, job.dataset.train
    key, count = jobs.key(config, jobs.INITIAL), jobs.real_start(config, job.spec)
    if config.init == 'real':
        return data.real_subset(key, source, job.spec, ipc=count)
    if config.init == 'rded':
        return rded.realistic_subset(
            key, source, job.spec, teacher.model, teacher.variables, ipc=count
        )
    return job.initial  # a core-set, or None


def _nothing(key, step) -> Inputs:
    del key, step
    return Inputs()


def of_classes(feed: Feed[Inputs], classes: slice, num_classes: int) -> Feed[Inputs]:
    """A feed whose real images are those of a part's classes."""
    if classes.stop - classes.start == num_classes:
        return feed
    return feeds.transform(feed, _real_of, jnp.arange(classes.start, classes.stop))


def _real_of(classes: jax.Array, inputs: Inputs, key: PRNGKey, step: jax.Array) -> Inputs:
    del key, step
    weights = inputs.real_weights
    return inputs._replace(
        real=inputs.real[classes], real_weights=None if weights is None else weights[classes]
    )
