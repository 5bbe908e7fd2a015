"""Augmentation of images under recovery from a network (SRe2L, CDA, INFER).

SRe2L: Yin, Xing & Shen, NeurIPS 2023, https://arxiv.org/abs/2306.13092. CDA: Yin & Shen, "Dataset
Distillation in Large Data Era", TMLR 2024, https://arxiv.org/abs/2311.18838. INFER: Zhang et al.,
ICLR 2025, https://arxiv.org/abs/2408.06927.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxdd import checks
from jaxdd.augment import cropping
from jaxdd.augment.natural import crop_and_flip
from jaxdd.types import Array, Augment, PRNGKey


def recovery(
    *,
    jitter: int,
    both_signs: bool = False,
    crop: bool = False,
    scale: tuple[float | Array, float] = (0.08, 1.0),
) -> Augment:
    """What images under recovery undergo:
    one crop, one flip and one circular shift for the whole batch.

    A resized crop and a flip with probability 1/2, both only with `crop`; then a roll (papers:
    module docstring).

    Args:
        jitter: largest shift, pixels: 32 for ImageNet, 4 for images of 64 or 32 pixels.
        both_signs: shifts in -jitter..jitter instead of 0..jitter (SRe2L on Tiny-ImageNet).
        crop: whether to crop and flip (ImageNet, Tiny-ImageNet) or not (CIFAR).
        scale: least and largest area of the crop, fractions of the image's; the least may be traced
            (`curriculum_scale`).

    Returns:
        (key, images `[m, H, W, C]` normalised pixels) -> images, same shape and dtype; all of a
        call alike.

    Raises:
        ValueError: a negative `jitter`, or a `scale` that is not an interval within (0, 1].
    """
    cropping.check_scale(scale)
    if jitter < 0:
        raise ValueError(
            f'jitter is the largest shift in pixels; it must be 0 (none) or more, got {jitter}'
        )

    def transform(key: PRNGKey, images: Array) -> Array:
        k_crop, k_roll = jax.random.split(key)
        if crop:
            images = crop_and_flip(k_crop, images, 1, scale)
        return cropping.roll(images, cropping.draw_roll(k_roll, jitter, both_signs=both_signs))

    return transform


def curriculum_scale(
    step: Array,
    num_steps: int,
    *,
    smallest: float = 0.08,
    milestone: float = 1.0,
    kind: Literal['cosine', 'linear', 'step'] = 'cosine',
) -> Array:
    """Least area of CDA's crops: the whole image at first, ever smaller crops later.

    With p = min(step / (milestone num_steps), 1),
    'cosine': smallest + (1 - smallest) (1 + cos(pi p)) / 2;
    'linear': smallest + (1 - smallest) (1 - p);
    'step': 1 while p < 1, then smallest. Yin & Shen (module docstring), section 3.

    Args:
        step: int32, synthetic-set updates done.
        num_steps: synthetic-set updates in all.
        smallest: the least area at the end, fraction of the image's.
        milestone: when that is reached, fraction of `num_steps`.
        kind: how it falls.

    Returns:
        Shape of `step`, float32 in [smallest, 1], for `scale=(..., 1.0)`.

    Raises:
        ValueError: an unknown `kind`, or a number out of its range.
    """
    checks.one_of('crop curriculum', kind, ('cosine', 'linear', 'step'))
    if num_steps < 1:
        raise ValueError(f'num_steps must be at least 1, got {num_steps}')
    for name, value in (('smallest', smallest), ('milestone', milestone)):
        if not 0 < value <= 1:
            raise ValueError(f'{name} is a fraction; it must lie in (0, 1], got {value}')
    progress = jnp.minimum(jnp.asarray(step, jnp.float32) / (milestone * num_steps), 1)
    left = {
        'cosine': (1 + jnp.cos(jnp.pi * progress)) / 2,
        'linear': 1 - progress,
        'step': (progress < 1).astype(jnp.float32),
    }[kind]
    return smallest + (1 - smallest) * left
