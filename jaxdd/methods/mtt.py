"""Trajectory matching: students that train on the synthetic set follow experts on the real one.

Cazenavette et al., Dataset Distillation by Matching Training Trajectories (MTT, CVPR 2022),
https://arxiv.org/abs/2203.11932; Guo et al., Towards Lossless Dataset Distillation via
Difficulty-Aligned Trajectory Matching (DATM, ICLR 2024), https://arxiv.org/abs/2310.05773.
"""

from jaxdd.bound import bind
from jaxdd.methods._trajectory_matching import Unroll as Unroll
from jaxdd.methods._trajectory_matching import trajectory_matching
from jaxdd.networks import following
from jaxdd.parametrizations import pixels, with_learning_rate, with_soft_labels
from jaxdd.types import Array, Augment, Method, Metrics, Model


def mtt(model: Model, *, augment: Augment, unroll: Unroll, learning_rate: float) -> Method:
    """MTT: free pixels and a learned step size; a student follows an expert for a few epochs.

    Args:
        model: student and expert, e.g. ConvNet-3; without batch norm.
        augment: per image, e.g. `augment.independent(...)`; new in every inner step.
        unroll: the student's steps, and which gradient they give.
        learning_rate: of the students before the first step; it is moved like an image, at a rate
            of its own (`optax.partition`).

    Returns:
        A `Method`; its feed must supply `Inputs.expert` (`segments.attach`).

    Raises:
        ValueError: fewer than one inner step or image, an unknown gradient, or a learning rate that
            is not above 0.
    """
    return Method(
        with_learning_rate(pixels(), learning_rate),
        trajectory_matching('mtt', model, augment, unroll),
        following(),
        {'encoder': model},
        augment,
        'joint',
    )


def datm(
    model: Model,
    *,
    augment: Augment,
    unroll: Unroll,
    learning_rate: float,
    threshold: float | None = None,
) -> Method:
    """DATM: MTT with learned soft labels; what is too far from the expert is left out.

    Its range of start epochs belongs to the feed (`segments.Starts`), its images and labels to the
    initial set (`coresets.predicted`).

    Args:
        model, augment, unroll, learning_rate: as in `mtt`.
        threshold: a step whose trajectory loss is above it moves nothing; None: none is.

    Returns:
        A `Method`; the labels of its initial set are logits.

    Raises:
        ValueError: as `mtt`, or a threshold that is not above 0.
    """
    if threshold is not None and not threshold > 0:
        raise ValueError(f'threshold must be above 0, got {threshold}; None keeps every step')
    base = mtt(model, augment=augment, unroll=unroll, learning_rate=learning_rate)

    return base._replace(
        parametrization=with_learning_rate(with_soft_labels(pixels()), learning_rate),
        objective=trajectory_matching('datm', model, augment, unroll),
        accepts=None if threshold is None else bind(_at_most, threshold),
    )


def _at_most(threshold: float, metrics: Metrics) -> Array:
    return metrics['loss/datm'] <= threshold
