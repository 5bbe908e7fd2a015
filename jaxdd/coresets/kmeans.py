"""Representative samples by k-means: which real images a class is matched against.

DREAM: Liu et al., ICCV 2023, https://arxiv.org/abs/2302.14416. Every function takes one class,
`features [M, D]` with `valid [M]` true for samples and false for padding; `jax.vmap` over classes
of padded length. Distances and sums are float32 (float64 if given) at full precision.
"""

import chex
import jax
import jax.numpy as jnp

from jaxdd.types import Array, PRNGKey


def representatives(
    key: PRNGKey,
    features: Array,
    valid: Array,
    *,
    num: int,
    iterations: int = 100,
    per_centre: int = 1,
) -> Array:
    """DREAM's batch: the samples nearest to the centres of the class's clusters.

    For each centre of k-means with k = num / per_centre, the per_centre nearest samples. Liu et
    al., ICCV 2023, https://arxiv.org/abs/2302.14416.

    Args:
        key: random key, for the initial centres.
        features: `[M, D]`.
        valid: `[M]` bool.
        num: samples to select, at most M.
        iterations: Lloyd iterations.
        per_centre: 1 for DREAM; DREAM+ may take more.

    Returns:
        `[num]` int32 positions in 0..M-1, all valid if any is; a sample may occur more than once.

    Raises:
        ValueError: `num` below 1, above M, or no multiple of `per_centre`; `per_centre` below 1.

    Note:
        The authors' program stops at 100 iterations or once centres move less than 1e-4; here the
        number of iterations is fixed, one program for all classes. For Tiny ImageNet it instead
        takes the `num` samples that are nearest to any centre, which are less diverse; not offered.
    """
    _check_between('num', num, len(features))
    _check_between('per_centre', per_centre, len(features))
    if num % per_centre:
        raise ValueError(
            f'num must be a multiple of per_centre, the samples taken at each centre; '
            f'got num {num}, per_centre {per_centre}'
        )
    centres = kmeans(key, features, valid, num_clusters=num // per_centre, iterations=iterations)
    return nearest(features, centres, valid, per_centre=per_centre)


def kmeans(
    key: PRNGKey, features: Array, valid: Array, *, num_clusters: int, iterations: int
) -> Array:
    """Centres of k-means clusters, by Lloyd's iterations from distinct random samples.

    a_i = argmin_j ||z_i - c_j||^2, then c_j = mean of the z_i with a_i = j; an empty cluster keeps
    c_j.

    Args:
        key: random key, for the initial centres.
        features: `[M, D]`; rows that are not valid have no influence, whatever they hold.
        valid: `[M]` bool. With fewer valid rows than clusters, some initial centres coincide.
        num_clusters: k, at most M.
        iterations: Lloyd iterations, all of them done.

    Returns:
        `[k, D]` float32 (float64 if given); zeros if no row is valid.

    Raises:
        ValueError: `num_clusters` below 1 or above M.
    """
    _check_between('num_clusters', num_clusters, len(features))
    features, mean = _centred(features, valid)
    order = jnp.argsort(
        jnp.where(valid, jax.random.uniform(key, valid.shape, jnp.float32), jnp.inf)
    )

    def lloyd(_: Array, centres: Array) -> Array:
        cluster = jnp.argmin(squared_distances(features, centres), axis=1)
        member = jax.nn.one_hot(cluster, num_clusters, dtype=features.dtype) * valid[
            :, None
        ].astype(features.dtype)
        # A product, not a scatter: its order of summation is fixed on every device.
        total = jnp.matmul(member.T, features, precision=jax.lax.Precision.HIGHEST)
        count = member.sum(axis=0)[:, None]
        return jnp.where(count > 0, total / jnp.maximum(count, 1), centres)

    initial = features[_first_valid(order, valid, num_clusters)]
    return jax.lax.fori_loop(0, iterations, lloyd, initial) + mean


def nearest(features: Array, centres: Array, valid: Array, *, per_centre: int = 1) -> Array:
    """The valid samples nearest to each centre.

    Args:
        features: `[M, D]`; rows that are not valid have no influence, whatever they hold.
        centres: `[k, D]`.
        valid: `[M]` bool.
        per_centre: samples per centre; with fewer valid rows they repeat, nearest first.

    Returns:
        `[k per_centre]` int32 positions in 0..M-1, centre by centre, nearest first; centres may
        share a sample. Ties go to the lower position.

    Raises:
        ValueError: `per_centre` below 1 or above M.
    """
    _check_between('per_centre', per_centre, len(features))
    features, mean = _centred(features, valid)
    distances = jnp.where(valid[:, None], squared_distances(features, centres - mean), jnp.inf)
    _, order = jax.lax.top_k(-distances.T, per_centre)
    return (
        jax.vmap(lambda one: _first_valid(one, valid, per_centre))(order).ravel().astype(jnp.int32)
    )


def squared_distances(features: Array, centres: Array) -> Array:
    """Squared Euclidean distances between samples and centres.

    ||z||^2 - 2 <z, c> + ||c||^2, so that no `[M, k, D]` is built; at least 0. Rounding is relative
    to the norms, hence best on features around 0.

    Args:
        features: `[M, D]`.
        centres: `[k, D]`.

    Returns:
        `[M, k]`.
    """
    chex.assert_rank([features, centres], 2)
    # Accelerators round the inputs of float32 products unless told otherwise.
    product = jnp.matmul(features, centres.T, precision=jax.lax.Precision.HIGHEST)
    norms = jnp.square(features).sum(axis=1)[:, None] + jnp.square(centres).sum(axis=1)[None, :]
    return jnp.maximum(norms - 2 * product, 0)


def _centred(features: Array, valid: Array) -> tuple[Array, Array]:
    """Features minus the mean `[1, D]` of valid ones, padding set to zero:
    the expanded square needs both."""
    chex.assert_rank([features, valid], [2, 1])
    chex.assert_equal_shape_prefix([features, valid], 1)
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    features = jnp.where(valid[:, None], features, 0)
    mean = features.sum(axis=0, keepdims=True) / jnp.maximum(valid.sum(), 1).astype(features.dtype)
    return jnp.where(valid[:, None], features - mean, 0), mean


def _first_valid(order: Array, valid: Array, num: int) -> Array:
    """The first `num` of an order that lists valid rows before others;
    over again once they are used up."""
    return order[jnp.arange(num) % jnp.maximum(valid.sum(), 1)]


def _check_between(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ValueError(f'{name} must lie between 1 and the number of rows, {most}, got {value}')
