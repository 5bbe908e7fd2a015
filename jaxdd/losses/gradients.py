"""Matching of parameter gradients.

Arguments are pytrees in Flax layout: convolution kernels [h, w, in, out], dense kernels [in, out],
scale and bias [C], those of layer normalisation [H, W, C]. The last axis counts output units.
"""

import functools
from collections.abc import Callable
from typing import cast

import chex
import jax
import jax.numpy as jnp

from jaxdd.types import Array, PyTree


def layerwise_cosine_distance(
    real: PyTree, synthetic: PyTree, *, epsilon: float = 1e-6, axis_name: str | None = None
) -> Array:
    """Cosine distance of gradients, output unit by output unit (DC, DSA).

    d = sum_l sum_o 1 - <a_lo, b_lo> / (||a_lo|| ||b_lo|| + epsilon), with a_lo and b_lo the real
    and the synthetic gradient of all weights into output unit o of layer l. Zhao, Mopuri & Bilen,
    "Dataset Condensation with Gradient Matching", ICLR 2021, https://arxiv.org/abs/2006.05929.

    Args:
        real: gradients of the mean loss of the real images, module docstring's layout.
        synthetic: the same of the synthetic images: same structure, same shapes.
        epsilon: added to the product of norms, squared gradient units.
        axis_name: name of the `jax.pmap` or `jax.shard_map` axis over which the real batch is split
            in equal parts (`real` is the gradient of this device's part, `synthetic` the same
            everywhere). None: not split.

    Returns:
        Scalar in 0..2 times the number of units: summed over units and tensors and not averaged. DC
        sums over classes. Tensors of one axis (biases, scales) count nothing; of layer
        normalisation every channel is a unit.

    Note:
        The epsilon and the disregard of one-axis tensors are those of the authors' code (utils.py).
        A unit with a zero gradient on either side is at distance 1. The derivative of a norm at
        zero is taken as zero, as torch does: at b = 0 the gradient is -a / epsilon, finite but
        huge; at a = 0 it is 0. No gradient is stopped here. With `axis_name`, gradients to
        `synthetic` are complete on every device and need no further reduction; gradients to `real`
        are not meant to be taken.
    """

    distance = functools.partial(_by_unit, epsilon)
    return _total(distance, real, synthetic, axis_name, counts=lambda tensor: tensor.ndim > 1)


def cosine_distance(
    real: PyTree, synthetic: PyTree, *, epsilon: float = 1e-6, axis_name: str | None = None
) -> Array:
    """Cosine distance of gradients, all parameters as one vector.

    d = 1 - <a, b> / (||a|| ||b|| + epsilon): the metric 'cos' of DC's code (Zhao, Mopuri & Bilen,
    ICLR 2021, https://arxiv.org/abs/2006.05929).

    Args:
        real, synthetic, epsilon, axis_name: as in `layerwise_cosine_distance`.

    Returns:
        Scalar in 0..2, over every parameter including biases and scales. At zero gradients as in
        `layerwise_cosine_distance`.
    """

    def products(a: Array, b: Array) -> Array:
        return jnp.stack(_products(a, b, None))

    inner, square_a, square_b = _total(products, real, synthetic, axis_name)
    return _cosine_distance(inner, square_a, square_b, epsilon)


def squared_distance(real: PyTree, synthetic: PyTree, *, axis_name: str | None = None) -> Array:
    """Squared distance of gradients over all parameters.

    d = || a - b ||^2: the metric 'mse' of DC's code (Zhao, Mopuri & Bilen, ICLR 2021,
    https://arxiv.org/abs/2006.05929).

    Args:
        real, synthetic, axis_name: as in `layerwise_cosine_distance`.

    Returns:
        Scalar in squared gradient units: summed over every parameter including biases and scales,
        and not averaged.
    """
    return _total(_squared, real, synthetic, axis_name)


def layerwise_l1(real: PyTree, synthetic: PyTree, *, axis_name: str | None = None) -> Array:
    """Absolute distance of the gradients of convolution kernels (IDC).

    d = sum_l || a_l - b_l ||_1 over convolutions l. Kim et al., "Dataset Condensation via Efficient
    Synthetic-Data Parameterization", ICML 2022, https://arxiv.org/abs/2205.14959.

    Args:
        real, synthetic, axis_name: as in `layerwise_cosine_distance`.

    Returns:
        Scalar in gradient units: summed over the entries of all four-axis tensors and not averaged;
        0 where a network has none. Where an entry agrees exactly, its gradient is 0.

    Note:
        That biases, normalisation and dense layers count nothing follows the authors' code, where
        it is the default.
    """

    def distance(a: Array, b: Array) -> Array:
        gap = a - b
        # The derivative of jnp.abs is 1 at zero; this one is 0, as in torch.
        return jnp.sum(gap * jnp.sign(gap))

    return _total(distance, real, synthetic, axis_name, counts=_is_convolution)


def layerwise_l2(real: PyTree, synthetic: PyTree, *, axis_name: str | None = None) -> Array:
    """Squared distance of the gradients of convolution kernels (IDC).

    d = sum_l || a_l - b_l ||^2 over convolutions l. Kim et al., ICML 2022,
    https://arxiv.org/abs/2205.14959.

    Args:
        real, synthetic, axis_name: as in `layerwise_cosine_distance`.

    Returns:
        Scalar in squared gradient units: summed over the entries of all four-axis tensors and not
        averaged; 0 where a network has none.

    Note:
        The selection is that of `layerwise_l1`. The authors' code calls this 'mse'; with biases and
        all layers it is `squared_distance`.
    """
    return _total(_squared, real, synthetic, axis_name, counts=_is_convolution)


def layerwise_l1_mean(real: PyTree, synthetic: PyTree, *, axis_name: str | None = None) -> Array:
    """Absolute distance of the gradients of convolution kernels, averaged within output units.

    d = sum_l sum_o mean_i |a_loi - b_loi| over convolutions l and their output units o: 'l1_mean'
    of IDC's code. Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959.

    Args:
        real, synthetic, axis_name: as in `layerwise_cosine_distance`.

    Returns:
        Scalar in gradient units: averaged over the weights into a unit, summed over units and
        four-axis tensors; 0 where a network has none. Where an entry agrees exactly, its gradient
        is 0.
    """

    def distance(a: Array, b: Array) -> Array:
        gap = a - b
        return jnp.sum(gap * jnp.sign(gap)) / (a.size // a.shape[-1])

    return _total(distance, real, synthetic, axis_name, counts=_is_convolution)


def convolution_cosine_distance(
    real: PyTree, synthetic: PyTree, *, epsilon: float = 1e-6, axis_name: str | None = None
) -> Array:
    """Cosine distance of the gradients of convolution kernels, output unit by output unit.

    `layerwise_cosine_distance` of four-axis tensors alone: 'cos' of IDC's code. Kim et al., ICML
    2022, https://arxiv.org/abs/2205.14959.

    Args:
        real, synthetic, epsilon, axis_name: as in `layerwise_cosine_distance`.

    Returns:
        Scalar in 0..2 times the number of units; 0 where a network has no convolution.
    """

    distance = functools.partial(_by_unit, epsilon)
    return _total(distance, real, synthetic, axis_name, counts=_is_convolution)


def _total(
    distance: Callable[[Array, Array], Array],
    real: PyTree,
    synthetic: PyTree,
    axis_name: str | None,
    counts: Callable[[Array], bool] = lambda tensor: True,
) -> Array:
    """Sum of `distance` over the pairs of tensors that count."""
    chex.assert_trees_all_equal_shapes(real, synthetic)
    if axis_name is not None:
        real = jax.lax.pmean(real, axis_name)
    pairs = zip(jax.tree.leaves(real), jax.tree.leaves(synthetic), strict=True)
    # `sum` begins with the number 0, which alone is no array: the distance of two empty trees.
    return cast(
        Array, sum(distance(a, b) if counts(a) else jnp.zeros((), a.dtype) for a, b in pairs)
    )


def _by_unit(epsilon: float, a: Array, b: Array) -> Array:
    """Cosine distances of the weights into each output unit, summed over units."""
    weights_of_a_unit = tuple(range(a.ndim - 1))
    return jnp.sum(_cosine_distance(*_products(a, b, weights_of_a_unit), epsilon))


def _is_convolution(tensor: Array) -> bool:
    return tensor.ndim == 4


def _squared(a: Array, b: Array) -> Array:
    return jnp.sum(jnp.square(a - b))


def _products(a: Array, b: Array, axes: tuple[int, ...] | None) -> tuple[Array, Array, Array]:
    """<a, b>, <a, a> and <b, b> over `axes`."""
    return jnp.sum(a * b, axes), jnp.sum(jnp.square(a), axes), jnp.sum(jnp.square(b), axes)


def _cosine_distance(inner: Array, square_a: Array, square_b: Array, epsilon: float) -> Array:
    return 1.0 - inner / (_root(square_a) * _root(square_b) + epsilon)


def _root(square: Array) -> Array:
    """Square root with derivatives of zero at zero."""
    # Below the smallest normal number, accelerators may flush to zero and then divide by it.
    positive = square >= float(jnp.finfo(square.dtype).tiny)
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
