"""Matching of batch-norm statistics:
what a trained network expects of its layers' inputs, and what it gets.

Used by SRe2L (Yin, Xing & Shen, "Squeeze, Recover and Relabel", NeurIPS 2023,
https://arxiv.org/abs/2306.13092) and INFER (Zhang et al., ICLR 2025,
https://arxiv.org/abs/2408.06927); the idea is DeepInversion's (Yin et al., CVPR 2020,
https://arxiv.org/abs/1912.08795, section 3.2). Layers are in sorted order of their paths; the first
is the one behind the network's first convolution in every architecture of `jaxdd.models`.
"""

from collections.abc import Mapping

import chex
import jax.numpy as jnp
import optax

from jaxdd.types import Array, Moments


def batch_moment_distance(
    batch: Mapping[str, Moments],
    running: Mapping[str, Mapping[str, Array]],
    *,
    first_weight: float = 10.0,
) -> Array:
    """Distance between a batch's moments and the running moments of batch norm, summed over layers.

    sum_l w_l (|| var_l - running var_l ||_2 + || mean_l - running mean_l ||_2), w_l = first_weight
    at the first layer and 1 at all others (papers: module docstring).

    Args:
        batch: `Outputs.moments`: per batch-norm layer path the moments of its input, variance
            biased.
        running: `Variables.batch_stats` of the same network: per path `{'mean': [D], 'var': [D]}`.
        first_weight: weight of the first layer.

    Returns:
        Scalar, in units of the layers' inputs and their squares: summed over layers, not divided by
        their number; a norm over the D channels is neither squared nor divided by D. Its size
        therefore grows with the network: a weight tuned on one does not fit another.

    Raises:
        ValueError: as `layer_moment_distances`.

    Note:
        The weight 10 of the first layer is in the authors' code alone (first_bn_multiplier); the
        papers' formula has no weights. The gradient of a norm is taken as 0 where it vanishes.
    """
    distances = layer_moment_distances(batch, running)
    return first_weight * distances[0] + jnp.sum(distances[1:])


def layer_moment_distances(
    batch: Mapping[str, Moments], running: Mapping[str, Mapping[str, Array]]
) -> Array:
    """Distance between batch and running moments at each batch-norm layer.

    It serves `batch_moment_distance` or a log.

    || var_l - running var_l ||_2 + || mean_l - running mean_l ||_2 (papers: module docstring).

    Args:
        batch: as for `batch_moment_distance`.
        running: as for `batch_moment_distance`.

    Returns:
        `[number of layers]`, no weights, in sorted order of the paths.

    Raises:
        ValueError: when traced, with a network without batch norm, or with layers that only one
            side has.
    """
    _check_layers(batch, running)
    distances = []
    for path in sorted(batch):
        mean, var, _ = batch[path]
        stored = running[path]
        chex.assert_rank([mean, var], 1)
        chex.assert_equal_shape([mean, var, stored['mean'], stored['var']])
        # A plain square root would have no gradient where a layer's moments are exactly the running
        # ones.
        distances.append(
            optax.safe_norm(var - stored['var'], 0.0) + optax.safe_norm(mean - stored['mean'], 0.0)
        )
    return jnp.stack(distances)


def _check_layers(batch: Mapping[str, Moments], running: Mapping[str, Mapping[str, Array]]) -> None:
    if not batch and not running:
        raise ValueError(
            'matching batch-norm statistics needs a network with batch norm, but this one has '
            "none; choose an architecture with it, e.g. 'convnet_bn' or 'resnet18_bn'"
        )
    if set(batch) != set(running):
        raise ValueError(
            'the batch and the running moments must come from one network; only the batch has '
            f'layers {sorted(set(batch) - set(running))}, only the running moments have '
            f'{sorted(set(running) - set(batch))}'
        )
