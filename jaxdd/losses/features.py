"""Matching of feature means."""

import chex
import jax
import jax.numpy as jnp

from jaxdd.types import Array


def mean_feature_distance(
    real: Array,
    synthetic: Array,
    *,
    real_weights: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """Squared distance between the mean real and the mean synthetic feature.

    d_k = || sum_b w_kb psi(x_kb) / sum_b w_kb - (1/n) sum_i psi(s_ki) ||^2, w = 1: the empirical
    maximum mean discrepancy of DM.
    Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023,
    https://arxiv.org/abs/2110.04181.

    Args:
        real: `[K, B, D]` features of the real images, class-major.
        synthetic: `[K, n, D]` features of the synthetic images.
        real_weights: `[K, B]`, w; 0 for rows that only fill up a class with fewer images: of the
            features 1, 3, 1 with weights 1, 1, 0 the mean is 2. None: all 1.
        axis_name: name of the `jax.pmap` or `jax.shard_map` axis over which the real batch is split
            in equal parts (`real`, and its weights, are this device's part, `synthetic` the same
            everywhere). None: not split.

    Returns:
        `[K]`, in squared feature units: summed over D and not divided by it, one value per class.
        DM sums over K.

    Note:
        No gradient is stopped here. With `axis_name`, gradients to `synthetic` are complete on
        every device and need no further reduction; gradients to `real` are not meant to be taken.
    """
    chex.assert_rank([real, synthetic], 3)
    chex.assert_equal_shape([real, synthetic], dims=(0, 2))
    real_mean = class_mean(real, real_weights, axis_name)
    return jnp.sum(jnp.square(real_mean - jnp.mean(synthetic, axis=1)), axis=-1)


def class_mean(
    x: Array, weights: Array | None, axis_name: str | None, *, keepdims: bool = False
) -> Array:
    """The mean over the images of each class, weighted, over all parts of a split batch.

    Args:
        x: `[K, B, ...]`.
        weights: `[K, B]`; None: all 1.
        axis_name: as in `mean_feature_distance`.
        keepdims: whether the axis of images stays, with length 1.
    """
    if weights is None:
        mean = jnp.mean(x, axis=1, keepdims=keepdims)
        return mean if axis_name is None else jax.lax.pmean(mean, axis_name)
    mean = jnp.sum(shares(weights, x, axis_name) * x, axis=1, keepdims=keepdims)
    return mean if axis_name is None else jax.lax.psum(mean, axis_name)


def shares(weights: Array, x: Array, axis_name: str | None) -> Array:
    """Each image's share of the mean of its class:
    weights `[K, B]` over their sum, with the rank and dtype of `x`."""
    chex.assert_equal_shape_prefix([weights, x], 2)
    weights = weights.astype(x.dtype).reshape(*weights.shape, *[1] * (x.ndim - 2))
    total = jnp.sum(weights, axis=1, keepdims=True)
    return weights / (total if axis_name is None else jax.lax.psum(total, axis_name))
