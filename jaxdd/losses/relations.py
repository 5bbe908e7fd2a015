"""Relations between the images of a class (CC) and between their feature channels (CM).

Both from IID: Deng et al., "Exploiting Inter-sample and Inter-feature Relations in Dataset
Distillation", CVPR 2024, https://arxiv.org/abs/2404.00563.
"""

import functools
import math

import chex
import jax
import jax.numpy as jnp

from jaxdd import checks
from jaxdd.losses.features import class_mean, shares
from jaxdd.types import Array

DESCRIPTORS = ('channel', 'channel-row')
MAX_EXPONENT = 80.0  # exp(88.7) is the end of float32; the rest is room for sums and slopes


def local_covariance_distance(
    real: Array,
    synthetic: Array,
    *,
    real_weights: Array | None = None,
    descriptor: str = 'channel',
    axis_name: str | None = None,
) -> Array:
    """Squared distance between real and synthetic covariances of local features (CM).

    d_k = || Sigma(real_k) - Sigma(synthetic_k) ||_F^2 with Sigma(F) = (1/N) sum_i sum_p x_ip x_ip^T
    and x_ip = F_ip - (1/N) sum_j F_jp: the covariance matching constraint of IID (module
    docstring). Of real images both sums are weighted by w_i, and N is the sum of the weights.

    Args:
        real: `[K, B, P, D]` last feature maps of the real images, class-major.
        synthetic: `[K, n, P, D]` last feature maps of the synthetic images.
        real_weights: `[K, B]`, w; 0 for rows that only fill up a class with fewer images: of the
            maps 1, 3, 1 (P = D = 1) with weights 1, 1, 0 the mean is 2 and Sigma 1. None: all 1.
        descriptor: what covaries. 'channel': the D channels, x_ip of each of the P positions.
            'channel-row': the D H channels at every row of a square map, x_iw of each of its W
            columns; so much larger covariances of fewer samples.
        axis_name: name of the `jax.pmap` or `jax.shard_map` axis over which the real batch is split
            in equal parts (`real`, and its weights, are this device's part, `synthetic` the same
            everywhere). None: not split.

    Returns:
        `[K]`, in fourth powers of feature units: summed over the D x D (D H x D H) entries, one
        value per class. IID sums over K. With n = 1 the synthetic covariance is zero: the value is
        a constant with zero gradient.

    Raises:
        ValueError: an unknown descriptor, or 'channel-row' of maps that are not square.

    Note:
        'channel-row' is what the authors' code does on Tiny-ImageNet (maps reshaped to
        (N, C H, W)).
        The paper speaks of covariances of local descriptors; where they are centred and how they
        are scaled follows the authors' code (main_DM_IID.py): each position has its own mean over
        the batch, positions are summed and not averaged, the sum over images is divided by N and
        not N - 1. No gradient is stopped here. With `axis_name`, gradients to `synthetic` are
        complete on every device and need no further reduction; gradients to `real` are not meant to
        be taken.
    """
    chex.assert_rank([real, synthetic], 4)
    chex.assert_equal_shape([real, synthetic], dims=(0, 2, 3))
    checks.one_of('local descriptor', descriptor, DESCRIPTORS)
    if descriptor == 'channel-row':
        real, synthetic = _by_row(real), _by_row(synthetic)
    gap = _local_covariance(real, real_weights, axis_name) - _local_covariance(
        synthetic, None, None
    )
    return jnp.sum(jnp.square(gap), axis=(1, 2))


def class_centralization(
    features: Array, *, form: str = 'squared', alpha: float = 0.02, beta: float = 1.0
) -> Array:
    """Spread of the synthetic images of a class around their mean feature (CC).

    With d_i = || g_i - (1/n) sum_j g_j ||^2,
    'squared': sum_i d_i;    'exp_hinge': sum_i max(exp(alpha d_i) - beta, 0).
    The class centralization constraint of IID (module docstring).

    Args:
        features: `[K, n, D]` features of the synthetic images, class-major.
        form: 'squared' or 'exp_hinge'.
        alpha: steepness of 'exp_hinge', per squared feature unit; positive.
        beta: floor of 'exp_hinge'. 1 makes a collapsed class cost 0; above 1, images nearer to the
            mean than d = ln(beta) / alpha are left alone.

    Returns:
        `[K]`, 'squared' in squared feature units: summed over the n images and not averaged, one
        value per class. IID sums over K. Zero, with zero gradient, for n = 1 ('exp_hinge': if beta
        is at least 1).

    Raises:
        ValueError: `form` is unknown.

    Note:
        The authors' code (main_DM_IID.py) computes 'squared', the default here. 'exp_hinge' is our
        reading of the paper's form with its parameter beta: the code has it commented out, with
        alpha 0.02 and beta 0, and remarks that it made no difference. For small d it is alpha times
        'squared' (at beta 1), so its weight must be 1 / alpha times larger. Its exponent is clipped
        at 80 to keep float32 finite; an image beyond the clip has no gradient.
        The sum over images makes the pull on one image independent of n, while that of mean
        matching falls as 1 / n: a weight tuned at one n is relatively stronger at a larger one.
    """
    checks.one_of('class centralization form', form, ('squared', 'exp_hinge'))
    chex.assert_rank(features, 3)
    squared_distance = jnp.sum(
        jnp.square(features - jnp.mean(features, axis=1, keepdims=True)), axis=-1
    )
    if form == 'squared':
        return jnp.sum(squared_distance, axis=1)
    exponent = jnp.minimum(alpha * squared_distance, MAX_EXPONENT)
    # expm1 keeps the digits that exp(small) - 1 would lose.
    return jnp.sum(jnp.maximum(jnp.expm1(exponent) - (beta - 1.0), 0.0), axis=1)


def _by_row(maps: Array) -> Array:
    """`[K, N, H W, D]` -> `[K, N, W, H D]`: a channel at every row is a variable of its own."""
    num_classes, num_images, num_positions, width = maps.shape
    side = math.isqrt(num_positions)
    if side**2 != num_positions:
        raise ValueError(
            f"the local descriptor 'channel-row' needs square maps, got {num_positions} positions; "
            "use 'channel'"
        )
    rows = maps.reshape(num_classes, num_images, side, side, width).swapaxes(2, 3)
    return rows.reshape(num_classes, num_images, side, side * width)


def _local_covariance(maps: Array, weights: Array | None, axis_name: str | None) -> Array:
    """Covariance of the D channels, `[K, N, P, D]` -> `[K, D, D]`."""
    num_classes, num_images, num_positions, width = maps.shape
    centred = maps - class_mean(maps, weights, axis_name, keepdims=True)
    rows = centred.reshape(num_classes, num_images * num_positions, width)
    # Accelerators round matmul inputs to bfloat16 or TF32 by default: too coarse for a covariance
    # gap.
    product = functools.partial(jnp.einsum, 'krd,kre->kde', precision=jax.lax.Precision.HIGHEST)
    if weights is None:
        covariance = product(rows, rows) / num_images
        return covariance if axis_name is None else jax.lax.pmean(covariance, axis_name)
    covariance = product((shares(weights, maps, axis_name) * centred).reshape(rows.shape), rows)
    return covariance if axis_name is None else jax.lax.psum(covariance, axis_name)
