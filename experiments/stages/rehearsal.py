"""What later stages would refuse is refused before anything trains:
they are built and traced, not run."""

import jax
import jax.numpy as jnp

from experiments.configs import Config
from experiments.stages import build, students
from jaxdd import data, parallel
from jaxdd.types import SyntheticSet

MOST_STEPS = 2**31 - 1  # steps are counted in int32
WIDTH = 128  # channels of the first block of the papers' ConvNets


def rehearse(config: Config, dataset: data.Dataset) -> None:
    """Builds everything that labels, students, teachers and proxies need.

    Raises:
        ValueError: something in the configuration cannot work on this data.
    """
    spec, size = dataset.spec, len(dataset.train.labels)
    students.architectures(config.evaluation, spec)
    _require_countable(
        'evaluation',
        students.num_epochs(config.evaluation),
        spec.num_classes * config.ipc,
        config.evaluation.batch_size,
    )
    _require_countable('proxies', config.proxies.epochs, size, config.proxies.batch_size)
    _require_countable('teachers', config.teachers.epochs, size, config.teachers.batch_size)
    for name in config.evaluation.networks:
        students.recipe(config.evaluation, spec.num_classes * config.ipc, name)
    _trace(config, spec)
    for name in config.teachers.networks:
        build.teacher(config, name, spec)
        build.teacher_recipe(config, size)
        build.view(config.teachers.strategy, 'S', spec)
    top_k = config.evaluation.label_top_k
    if top_k is not None and top_k >= spec.num_classes:
        raise ValueError(
            f'evaluation.label_top_k must be below the number of classes, {spec.num_classes}, got '
            f'{top_k}; leave it out to keep every logit'
        )


def _require_countable(record: str, epochs: float, size: int, batch_size: int) -> None:
    updates = epochs * data.steps_per_epoch(size, batch_size)
    if updates > MOST_STEPS:
        raise ValueError(
            f'{record}.epochs: {epochs:g} epochs of {size} images are {updates:.3g} updates, more '
            f'than can be counted ({MOST_STEPS:,})'
        )


def _trace(config: Config, spec: data.Spec) -> None:
    """Traces what a student sees of one mini-batch, which no computation needs."""
    labels = jax.ShapeDtypeStruct((spec.num_classes, config.ipc, spec.num_classes), jnp.float32)
    images = jax.ShapeDtypeStruct((*labels.shape[:2], *spec.image_shape), jnp.float32)
    shown = students.student_supervision(config.evaluation, spec)
    jax.eval_shape(
        lambda key, synthetic: shown(key, jnp.int32(0), synthetic, config.evaluation.batch_size),
        jax.random.key(0),
        SyntheticSet(images, labels),
    )


def require_memory(
    config: Config, image_shape: tuple[int, int, int], num_classes: int, num_real: int
) -> None:
    """Refuses images of which not even the fewest that a step holds fit into memory.

    The stored images with their gradient and momentum, the real ones of a step (of one class as
    float32, of all as uint8), and one image before and behind the first norm: what is needed at the
    very least.

    Args:
        num_classes: Y.
        num_real: real images that a step draws, of all classes.

    Raises:
        ValueError: says how much they take and how much there is.
    """
    height, width, channels = image_shape
    stored, real = num_classes * config.ipc, 0 if config.recovers else num_real
    blocks = config.made_with.width or WIDTH
    per_pixel = channels * (12 * stored + real + 4 * real // num_classes) + 2 * 4 * blocks
    needed, there = height * width * per_pixel, parallel.memory()
    if needed > there:
        raise ValueError(
            f'{stored} images of {width}x{height} pixels and {real} real ones per step need at '
            f'least {_gib(needed)} GiB, and there are {_gib(there)} GiB of memory; lower '
            'data.image_size, ipc or data.per_class'
        )


def _gib(count: int) -> str:
    return f'{count / 2**30:,.{0 if count > 10 * 2**30 else 1}f}'
