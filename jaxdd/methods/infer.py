"""Inter-class feature compensation.

Zhang, Du, Liu & Zhou, Breaking Class Barriers: Efficient Dataset Distillation via Inter-Class
Feature Compensator (INFER, ICLR 2025), https://arxiv.org/abs/2408.06927.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxdd.methods import _recovery
from jaxdd.networks import pretrained
from jaxdd.parametrizations import Normalisation, clipped, compensated
from jaxdd.types import Array, Augment, Curriculum, Method, Model


class Budget(NamedTuple):
    """What an INFER set of `ipc` nominal images per class consists of."""

    natural: int  # K: real images per class, each in a set of its own with one image of every class
    compensators: int  # K * M: images that all classes share
    instances: int  # K * (M + 1): images per class that a student sees
    # K * (1 + M / Y): what is paid for, a compensator counting 1/Y of an image per class
    effective_ipc: float


def budget(num_classes: int, num_teachers: int, ipc: int) -> Budget:
    """How many natural images and compensators fit into `ipc` images per class:
    K = floor(ipc / (1 + M / Y)).

    Args:
        num_classes: Y.
        num_teachers: M, networks; each gives one compensator per set.
        ipc: nominal images per class.

    Raises:
        ValueError: K would be 0; names the smallest ipc that holds one natural image per class.
    """
    natural = ipc * num_classes // (num_classes + num_teachers)
    if natural < 1:
        smallest = -(-(num_classes + num_teachers) // num_classes)
        raise ValueError(
            f'ipc {ipc} holds no natural image per class: K = floor(ipc * Y / (Y + M)) = 0 with Y '
            f'= {num_classes} classes and M = {num_teachers} teachers; the smallest ipc is '
            f'{smallest}'
        )
    return Budget(
        natural,
        natural * num_teachers,
        natural * (num_teachers + 1),
        natural * (1 + num_teachers / num_classes),
    )


def infer(
    model: Model,
    *,
    augment: Augment | Curriculum,
    bn_weight: float = 1.0,
    first_bn_weight: float = 10.0,
    tv_weight: float = 0.0,
    norm_weight: float = 0.0,
) -> Method:
    """INFER's generation for one teacher:
    one additive image for all classes, CE plus batch moments.

    Distil one chunk per set of natural images (`chunks.run`, one image of every class) and teacher;
    all of them are independent. The optimiser is SRe2L's.

    Args:
        model: the teacher in test mode, with batch norm.
        augment: e.g. `augment.recovery(jitter=4)`.
        bn_weight, first_bn_weight, tv_weight, norm_weight: see `methods._recovery.objective`; the
            authors' alpha is 1 on CIFAR and 0.01 on ImageNet.

    Returns:
        A `Method`; its feed must supply the teacher as `Inputs.pretrained['encoder']`.
    """
    objective = _recovery.objective(
        'infer',
        bn_weight=bn_weight,
        first_bn_weight=first_bn_weight,
        tv_weight=tv_weight,
        norm_weight=norm_weight,
    )
    return Method(
        compensated(), objective, pretrained(), {'encoder': model}, augment, 'joint', 'step'
    )


def instances(natural: Array, compensators: Array, box: Normalisation) -> Array:
    """The images that a student sees:
    natural ones, then those with each teacher's compensator, all clipped.

    Args:
        natural: `[Y, K, H, W, C]` normalised.
        compensators: `[M, K, H, W, C]`; that of set k goes to set k alone.
        box: (mean, std) per channel.

    Returns:
        `[Y, K * (M + 1), H, W, C]`: index j holds set j % K, natural for j < K, then teacher j // K
        - 1.
    """
    every = [natural, *(natural + one[None] for one in compensators)]
    return clipped(jnp.concatenate(every, axis=1), box)
