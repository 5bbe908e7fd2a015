"""Priors on natural images: smoothness and size of pixels.

DeepInversion: Yin et al., CVPR 2020, https://arxiv.org/abs/1912.08795, section 3.1; offered by
SRe2L (Yin, Xing & Shen, NeurIPS 2023, https://arxiv.org/abs/2306.13092), whose published commands
give both weight 0.
"""

from typing import cast

import chex
import jax.numpy as jnp
import optax

from jaxdd.types import Array


def total_variation(images: Array) -> Array:
    """Total variation of a batch: how much neighbouring pixels differ, in four directions.

    sum_d || x - shift_d(x) ||_F over d = right, down and the two diagonals; a norm is over all
    pairs of neighbours in all images and channels (papers: module docstring).

    Args:
        images: `[N, H, W, C]` normalised pixels.

    Returns:
        Scalar in normalised pixels: the norms of four whole batches, so it grows as sqrt(N H W C).
        The gradient is taken as 0 where a norm vanishes.

    Note:
        The usual total variation sums one norm, or absolute value, per pixel; this one follows the
        authors' code.
    """
    chex.assert_rank(images, 4)
    pairs = (
        (images[:, :, :-1], images[:, :, 1:]),
        (images[:, :-1], images[:, 1:]),
        (images[:, :-1, :-1], images[:, 1:, 1:]),
        (images[:, 1:, :-1], images[:, :-1, 1:]),
    )
    return cast(Array, sum(optax.safe_norm((one - other).ravel(), 0.0) for one, other in pairs))


def pixel_norm(images: Array) -> Array:
    """Mean size of an image.

    (1/N) sum_i || x_i ||_2 over H, W and C (papers: module docstring).

    Args:
        images: `[N, H, W, C]` normalised pixels.

    Returns:
        Scalar in normalised pixels: mean over the N images. The gradient of an image that is 0 is
        taken as 0.
    """
    chex.assert_rank(images, 4)
    return jnp.mean(optax.safe_norm(images.reshape(len(images), -1), 0.0, axis=1))
