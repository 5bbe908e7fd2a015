"""Convolution whose derivatives of every order are convolutions that a CPU runs well.

XLA:CPU runs a forward convolution fast, but its own transposes of one slowly, and inside a loop a
hundred times slower still: the gradient to the weights of 64 images [32, 32, 128] took 160 ms alone
and 19 s in a scan of two steps (2 cores), against 90 to 160 ms here. Convolution and its weight
gradient form a closed pair: the derivatives of either are made of the two, so gradients of
gradients (gradient matching) stay fast as well.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdd.models.cpu import winograd
from jaxdd.types import Array

Padding = tuple[tuple[int, int], tuple[int, int]]


def general_dilated(
    images: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **others,
) -> Array:
    """`jax.lax.conv_general_dilated` as Flax calls it for a plain 2-d convolution.

    The derivatives are those above.

    Args:
        images: `[N, H, W, I]`.
        kernel: `[h, w, I, O]`.
        strides, padding: pixels per axis; padding on both sides of each.
        others: what Flax adds; dilations and groups must be 1.

    Returns:
        `[N, H', W', O]`.

    Note:
        Reverse mode of any order; forward mode (`jax.jvp`) is not defined, see
        `models.xla_derivatives`.
    """
    plain = others.get('feature_group_count', 1) == 1 and all(
        set(others.get(f'{side}_dilation') or (1,)) == {1} for side in ('lhs', 'rhs')
    )
    if not plain:
        raise ValueError(f'only plain convolutions are handled here, got {others}')
    return _conv(images, kernel, tuple(strides), tuple(map(tuple, padding)))


def _product(images: Array, kernel: Array, strides: tuple[int, ...], padding: Padding) -> Array:
    side = _result(images, kernel.shape[:2], strides, padding)
    if _wide(images) and winograd.worthwhile(
        (images.shape[0], *side, kernel.shape[3]), kernel.shape, strides
    ):
        return winograd.conv(_padded(images, padding), kernel)
    if strides == (1, 1) and math.prod(side) <= 4:  # where XLA's takes ten times as long
        return _by_taps(_padded(images, padding), kernel, side)
    return jax.lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(images: Array, kernel: Array, strides: tuple[int, ...], padding: Padding) -> Array:
    return _product(images, kernel, strides, padding)


def _conv_forward(images, kernel, strides, padding):
    return _conv(images, kernel, strides, padding), (images, kernel)


def _conv_backward(strides, padding, residuals, cotangent):
    images, kernel = residuals
    if strides != (1, 1):
        return jax.vjp(lambda *given: _in_phases(*given, strides, padding), images, kernel)[1](
            cotangent
        )
    return (
        _to_images(cotangent, kernel, images.shape[1:3], padding),
        _to_kernel(images, cotangent, kernel.shape[:2], padding),
    )


_conv.defvjp(_conv_forward, _conv_backward)


def _in_phases(images: Array, kernel: Array, strides: tuple[int, ...], padding: Padding) -> Array:
    """The same as a sum of convolutions with stride 1, one for each place of a pixel between the
    strides.

    Its gradient to the images has no zeros to multiply with: of nine taps each meets every pixel of
    the result once.
    """
    height, width = _result(images, kernel.shape[:2], strides, padding)
    padded, parts = _padded(images, padding), []
    for i in range(min(strides[0], kernel.shape[0])):
        for j in range(min(strides[1], kernel.shape[1])):
            part = kernel[i :: strides[0], j :: strides[1]]
            rows, columns = (
                (size + taps - 2) * stride + 1
                for size, taps, stride in zip((height, width), part.shape, strides)
            )
            pixels = padded[:, i : i + rows : strides[0], j : j + columns : strides[1]]
            parts.append(_conv(pixels, part, (1, 1), ((0, 0), (0, 0))))
    return sum(parts[1:], parts[0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _to_kernel(images: Array, cotangent: Array, size: tuple[int, int], padding: Padding) -> Array:
    """The gradient of <cotangent, conv(images, kernel)> to the kernel:
    images and channels change places."""
    padded, shape = _padded(images, padding), (*size, images.shape[-1], cotangent.shape[-1])
    if _wide(images) and winograd.worthwhile(cotangent.shape, shape, (1, 1), for_kernel=True):
        return winograd.to_kernel(padded, cotangent)
    moved = jax.lax.conv_general_dilated(
        padded.transpose(3, 1, 2, 0),
        cotangent.transpose(1, 2, 0, 3),
        (1, 1),
        'VALID',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    return moved.transpose(1, 2, 0, 3)


def _to_kernel_forward(images, cotangent, size, padding):
    return _to_kernel(images, cotangent, size, padding), (images, cotangent)


def _to_kernel_backward(size, padding, residuals, kernel):
    del size
    images, cotangent = residuals
    return _to_images(cotangent, kernel, images.shape[1:3], padding), _conv(
        images, kernel, (1, 1), padding
    )


_to_kernel.defvjp(_to_kernel_forward, _to_kernel_backward)


def _to_images(cotangent: Array, kernel: Array, shape: tuple[int, int], padding: Padding) -> Array:
    """The gradient of <cotangent, conv(images, kernel)> to images of side `shape`:
    a convolution with that, turned."""
    ends = tuple(
        (size - 1 - low, side + low - given)
        for size, (low, _), side, given in zip(kernel.shape, padding, shape, cotangent.shape[1:])
    )
    if math.prod(shape) <= 16:  # to turn a wide kernel would take as long as the convolution
        return _by_taps(_padded(cotangent, ends), kernel[::-1, ::-1], shape, axis=1)
    return _conv(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), (1, 1), ends)


def _by_taps(padded: Array, kernel: Array, side: Sequence[int], axis: int = 0) -> Array:
    """The convolution with stride 1 as one matrix product per tap,
    over the kernel's channels `axis`."""
    products = [
        jax.lax.dot_general(
            padded[:, i : i + side[0], j : j + side[1]], kernel[i, j], (((3,), (axis,)), ((), ()))
        )
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    ]
    return sum(products[1:], products[0])


def _padded(images: Array, padding: Padding) -> Array:
    # lax.pad also cuts, which the derivative of a convolution with wide padding asks for
    return jax.lax.pad(
        images,
        jnp.zeros((), images.dtype),
        ((0, 0, 0), *((*ends, 0) for ends in padding), (0, 0, 0)),
    )


def _wide(images: Array) -> bool:
    """Whether sums and differences of pixels lose nothing that matters,
    as they would in half precision."""
    return jnp.finfo(images.dtype).bits >= 32


def _result(
    images: Array, size: Sequence[int], strides: tuple[int, ...], padding: Padding
) -> list[int]:
    """Height and width of a convolution's result."""
    return [(images.shape[1 + i] + sum(padding[i]) - size[i]) // strides[i] + 1 for i in (0, 1)]
