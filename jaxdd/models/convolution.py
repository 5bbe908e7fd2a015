"""Convolution whose derivatives of every order are convolutions that a CPU runs well.

XLA:CPU runs a forward convolution fast, but its own transposes of one slowly, and inside a loop a hundred times
slower still: the gradient to the weights of 64 images [32, 32, 128] took 160 ms alone and 19 s in a scan of two steps
(2 cores), against 90 to 160 ms here. Convolution and its weight gradient form a closed pair: the derivatives of
either are made of the two, so gradients of gradients (gradient matching) stay fast as well.
"""
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdd.models import winograd
from jaxdd.types import Array

Padding = tuple[tuple[int, int], tuple[int, int]]


def general_dilated(images: Array, kernel: Array, strides: Sequence[int], padding: Sequence[tuple[int, int]],
                    **others) -> Array:
    """`jax.lax.conv_general_dilated` as Flax calls it for a plain 2-d convolution, with the derivatives above.

    Args:
        images: `[N, H, W, I]`.
        kernel: `[h, w, I, O]`.
        strides, padding: pixels per axis; padding on both sides of each.
        others: what Flax adds; dilations and groups must be 1.

    Returns:
        `[N, H', W', O]`.

    Note:
        Reverse mode of any order; forward mode (`jax.jvp`) is not defined.
    """
    plain = (others.get('feature_group_count', 1) == 1
             and all(set(others.get(f'{side}_dilation') or (1,)) == {1} for side in ('lhs', 'rhs')))
    if not plain:
        raise ValueError(f'only plain convolutions are handled here, got {others}')
    return _conv(images, kernel, tuple(strides), tuple(map(tuple, padding)))


def _product(images: Array, kernel: Array, strides: tuple[int, ...], padding: Padding) -> Array:
    shape = images.shape[0], *_result(images, kernel.shape[:2], strides, padding), kernel.shape[3]
    if winograd.worthwhile(shape, kernel.shape, strides):
        return winograd.conv(_padded(images, padding), kernel)
    return jax.lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(images: Array, kernel: Array, strides: tuple[int, ...], padding: Padding) -> Array:
    return _product(images, kernel, strides, padding)


def _conv_forward(images, kernel, strides, padding):
    return _conv(images, kernel, strides, padding), (images, kernel)


def _conv_backward(strides, padding, residuals, cotangent):
    images, kernel = residuals
    return (_to_images(cotangent, kernel, images.shape[1:3], strides, padding),
            _to_kernel(images, cotangent, kernel.shape[:2], strides, padding))


_conv.defvjp(_conv_forward, _conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _to_kernel(images: Array, cotangent: Array, size: tuple[int, int], strides: tuple[int, ...],
               padding: Padding) -> Array:
    """The gradient of <cotangent, conv(images, kernel)> to the kernel.

    With stride 1 it is a convolution in which images and channels have changed places, else one product per tap.
    """
    height, width = cotangent.shape[1:3]
    padded = _padded(images, padding)
    if winograd.worthwhile(cotangent.shape, (*size, images.shape[-1], cotangent.shape[-1]), strides, for_kernel=True):
        return winograd.to_kernel(padded, cotangent)
    if strides == (1, 1):
        moved = jax.lax.conv_general_dilated(padded.transpose(3, 1, 2, 0), cotangent.transpose(1, 2, 0, 3), (1, 1),
                                             'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
        return moved.transpose(1, 2, 0, 3)

    def tap(i, j):
        rows = slice(i, i + (height - 1) * strides[0] + 1, strides[0])
        columns = slice(j, j + (width - 1) * strides[1] + 1, strides[1])
        return jnp.einsum('nhwi,nhwo->io', padded[:, rows, columns], cotangent)
    return jnp.stack([jnp.stack([tap(i, j) for j in range(size[1])]) for i in range(size[0])])


def _to_kernel_forward(images, cotangent, size, strides, padding):
    return _to_kernel(images, cotangent, size, strides, padding), (images, cotangent)


def _to_kernel_backward(size, strides, padding, residuals, kernel):
    del size
    images, cotangent = residuals
    return (_to_images(cotangent, kernel, images.shape[1:3], strides, padding),
            _conv(images, kernel, strides, padding))


_to_kernel.defvjp(_to_kernel_forward, _to_kernel_backward)


def _to_images(cotangent: Array, kernel: Array, shape: tuple[int, int], strides: tuple[int, ...],
               padding: Padding) -> Array:
    """The gradient of <cotangent, conv(images, kernel)> to images of side `shape`: a convolution with stride 1."""
    ends = []
    for axis in (0, 1):
        size, low = kernel.shape[axis], padding[axis][0]
        dilated = (cotangent.shape[1 + axis] - 1) * strides[axis] + 1
        ends.append((size - 1 - low, shape[axis] + low - dilated))
    spread = jax.lax.pad(cotangent, jnp.zeros((), cotangent.dtype),
                         ((0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)))
    return _conv(spread, kernel[::-1, ::-1].swapaxes(2, 3), (1, 1), tuple(ends))


def _padded(images: Array, padding: Padding) -> Array:
    # lax.pad also cuts, which the derivative of a convolution with wide padding asks for
    return jax.lax.pad(images, jnp.zeros((), images.dtype), ((0, 0, 0), *((*ends, 0) for ends in padding), (0, 0, 0)))


def _result(images: Array, size: Sequence[int], strides: tuple[int, ...], padding: Padding) -> list[int]:
    """Height and width of a convolution's result."""
    return [(images.shape[1 + i] + sum(padding[i]) - size[i]) // strides[i] + 1 for i in (0, 1)]
