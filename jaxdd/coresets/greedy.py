"""Core-sets chosen one sample after the other: herding, k-center, and one per k-means cluster.

Every function takes one class, `features [M, D]` with `valid [M]` true for samples and false for
padding; `jax.vmap` over classes of padded length. Only the first centres of k-means are random:
equal samples are taken in their order.
"""

import jax
import jax.numpy as jnp

from jaxdd.coresets.kmeans import kmeans, squared_distances
from jaxdd.types import Array, PRNGKey

ITERATIONS = 100  # of Lloyd


def herding(features: Array, valid: Array, *, num: int) -> Array:
    """Samples whose mean stays nearest to the mean of the class, at every number of them.

    p_k = argmin_x || mu - (x + sum_{j<k} p_j) / k ||, each sample once. Welling, "Herding Dynamical
    Weights to Learn" (ICML 2009); Rebuffi et al., "iCaRL" (CVPR 2017),
    https://arxiv.org/abs/1611.07725, equation 4.

    Args:
        features: `[M, D]`.
        valid: `[M]` bool.
        num: samples to select, at most as many as are valid.

    Returns:
        `[num]` int32 positions in the order of selection; the first ones are the core-set of a
        smaller `num`.

    Raises:
        ValueError: `num` below 1 or above M.
    """
    features = _precise(features)
    mean = jnp.sum(jnp.where(valid[:, None], features, 0), axis=0) / jnp.maximum(valid.sum(), 1)

    def next_one(k: Array, total: Array, left: Array, gaps: Array) -> Array:
        del left, gaps
        return jnp.sum((mean[None] - (features + total[None]) / (k + 1)) ** 2, axis=-1)

    return _selected(next_one, features, valid, num)


def k_center(features: Array, valid: Array, *, num: int) -> Array:
    """Samples that leave no other one far from all of them: the farthest is taken next.

    The first is the one nearest to the class mean. A greedy 2-approximation of the smallest radius:
    Gonzalez, "Clustering to Minimize the Maximum Intercluster Distance" (1985); Sener & Savarese,
    "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (ICLR 2018),
    https://arxiv.org/abs/1708.00489.

    Args:
        features, valid, num: as for `herding`.

    Returns:
        `[num]` int32 positions in the order of selection.

    Raises:
        ValueError: `num` below 1 or above M.
    """
    features = _precise(features)
    mean = jnp.sum(jnp.where(valid[:, None], features, 0), axis=0) / jnp.maximum(valid.sum(), 1)
    first = jnp.sum((features - mean[None]) ** 2, axis=-1)

    def next_one(k: Array, total: Array, left: Array, gaps: Array) -> Array:
        del total, left
        return jnp.where(k == 0, first, -gaps)

    return _selected(next_one, features, valid, num)


def k_means(key: PRNGKey, features: Array, valid: Array, *, num: int) -> Array:
    """The sample nearest to the centre of each of `num` k-means clusters, no sample twice.

    Centre by centre, the nearest sample that no earlier centre took; `kmeans.kmeans` finds the
    centres in 100 Lloyd iterations.

    Args:
        key: the first centres.
        features, valid, num: as for `herding`.

    Returns:
        `[num]` int32 positions, one per centre.

    Raises:
        ValueError: `num` below 1 or above M.
    """
    features = _precise(features)
    centres = kmeans(key, features, valid, num_clusters=num, iterations=ITERATIONS)
    # around 0, where the expanded square is exact
    middle = centres.mean(axis=0, keepdims=True)
    distances = squared_distances(features - middle, centres - middle)

    def next_one(k: Array, total: Array, left: Array, gaps: Array) -> Array:
        del total, left, gaps
        return distances[:, k]

    return _selected(next_one, features, valid, num)


def _selected(cost, features: Array, valid: Array, num: int) -> Array:
    """The cheapest sample that is left, `num` times.

    Args:
        cost: (number selected, their sum, which are left, squared distances to the nearest selected
            one) -> `[M]`.
    """
    if not 1 <= num <= len(features):
        raise ValueError(f'num must be between 1 and the {len(features)} samples, got {num}')

    def step(carry, k):
        total, left, gaps = carry
        # what is left counts; of padding alone the first, where a class has too few
        costs = jnp.where(left, cost(k, total, left, gaps), jnp.inf)
        chosen = jnp.argmin(costs)
        own = features[chosen]
        gaps = jnp.minimum(gaps, jnp.sum((features - own[None]) ** 2, axis=-1))
        return (total + own, left.at[chosen].set(False), gaps), chosen.astype(jnp.int32)

    start = jnp.zeros_like(features[0]), valid, jnp.full(len(features), jnp.inf, features.dtype)
    return jax.lax.scan(step, start, jnp.arange(num))[1]


def _precise(features: Array) -> Array:
    return features.astype(jnp.promote_types(features.dtype, jnp.float32))
