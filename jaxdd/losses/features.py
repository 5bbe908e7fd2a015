"""Matching of feature means."""
import chex
import jax
import jax.numpy as jnp

from jaxdd.types import Array


def mean_feature_distance(real: Array, synthetic: Array, *, axis_name: str | None = None) -> Array:
    """Squared distance between the mean real and the mean synthetic feature.

    d_k = || (1/B) sum_b psi(x_kb) - (1/n) sum_i psi(s_ki) ||^2, the empirical maximum mean discrepancy of DM.
    Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023,
    https://arxiv.org/abs/2110.04181.

    Args:
        real: `[K, B, D]` features of the real images, class-major.
        synthetic: `[K, n, D]` features of the synthetic images.
        axis_name: name of the `jax.pmap` or `jax.shard_map` axis over which the real batch is split in
            equal parts (`real` is this device's part, `synthetic` the same everywhere). None: not split.

    Returns:
        `[K]`, in squared feature units: summed over D and not divided by it, one value per class. DM sums
        over K.

    Note:
        No gradient is stopped here. With `axis_name`, gradients to `synthetic` are complete on every device
        and need no further reduction; gradients to `real` are not meant to be taken.
    """
    chex.assert_rank([real, synthetic], 3)
    chex.assert_equal_shape([real, synthetic], dims=(0, 2))
    real_mean = jnp.mean(real, axis=1)
    if axis_name is not None:
        real_mean = jax.lax.pmean(real_mean, axis_name)
    return jnp.sum(jnp.square(real_mean - jnp.mean(synthetic, axis=1)), axis=-1)
