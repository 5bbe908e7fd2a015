"""Geometric operations of differentiable Siamese augmentation, with their draws.

Zhao and Bilen, ICML 2021, https://arxiv.org/abs/2102.08259. Images are `[m, H, W, C]` in normalised
pixels, so that the zeros brought in from outside are the mean colour of the data set. A parameter
has one entry per image, `[m, ...]`, or a single one for all, `[1, ...]`; two numbers per entry are
always (vertical, horizontal). Below u is uniform in [0, 1).

Sources of warped pixels are counted from the image centre ((H - 1)/2, (W - 1)/2) and blended
bilinearly from their four neighbours; a neighbour outside counts as zero, without renormalisation
(torch's `affine_grid` and `grid_sample` with `align_corners=False`).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import chex
import jax
import jax.numpy as jnp

from jaxdd import interpolation
from jaxdd.types import Array, PRNGKey, PyTree


class Axes(NamedTuple):
    """Weights (to, from) of the pixels of one axis."""

    rows: Array  # [m, H, H] or [1, H, H]
    columns: Array  # [m, W, W] or [1, W, W]


def crop(images: Array, offset: Array, *, ratio: float = 0.125) -> Array:
    """Shifts the image by whole pixels, as cropping a zero-padded image does.

    y[i, j] = x[i + offset_v, j + offset_h], zero outside

    Args:
        images: `[m, H, W, C]` normalised pixels.
        offset: `[m, 2]` or `[1, 2]` integers in -s..s, pixels; larger ones are cut to that range.
        ratio: padding s = int(ratio size + 1/2) on each side of each axis, fraction of the size.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    chex.assert_rank([images, offset], [4, 2])
    pad = _pixels(ratio, images.shape[1:3])
    padded = jnp.pad(images, ((0, 0), (pad[0], pad[0]), (pad[1], pad[1]), (0, 0)))

    def window(padded: Array, offset: Array) -> Array:
        zero = jnp.zeros((), offset.dtype)
        start = (zero, offset[0] + pad[0], offset[1] + pad[1], zero)
        return jax.lax.dynamic_slice(padded, start, (padded.shape[0], *images.shape[1:]))

    return _once_or_each(window, padded, offset)


def cutout(images: Array, centre: Array, *, ratio: float = 0.5) -> Array:
    """Sets a rectangle to zero, clipped at the border.

    Rows max(0, o - k//2) .. min(H, o - k//2 + k) - 1 with k = int(ratio H + 1/2), columns likewise.

    Args:
        images: `[m, H, W, C]` normalised pixels.
        centre: `[m, 2]` or `[1, 2]` integers o, pixels.
        ratio: side of the rectangle, fraction of the image's side.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    chex.assert_rank([images, centre], [4, 2])
    chex.assert_is_broadcastable(centre.shape[:1], images.shape[:1])
    rows, columns = (
        _inside(centre[:, axis], side, images.shape[1 + axis])
        for axis, side in enumerate(_pixels(ratio, images.shape[1:3]))
    )
    erased = rows[:, :, None] & columns[:, None, :]
    return jnp.where(erased[..., None], jnp.zeros((), images.dtype), images)


def flip(images: Array, mirrored: Array) -> Array:
    """Mirrors left and right.

    Args:
        images: `[m, H, W, C]` normalised pixels.
        mirrored: `[m]` or `[1]` bool.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    chex.assert_rank([images, mirrored], [4, 1])
    chex.assert_is_broadcastable(mirrored.shape, images.shape[:1])
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def scale(images: Array, factor: Array) -> Array:
    """Shrinks (factor above 1) or enlarges (below 1) about the centre.

    y[i, j] = x[factor_v i, factor_h j], i and j counted from the centre

    Args:
        images: `[m, H, W, C]` normalised pixels.
        factor: `[m, 2]` or `[1, 2]`, positive.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    chex.assert_rank([images, factor], [4, 2])

    # Separable, hence two small matrices: measured faster than gathers, above all in the gradient.
    return resample(images, scale_axes(factor, images.shape[1:3], images.dtype))


def resample(images: Array, axes: Axes) -> Array:
    """What an operation does that treats rows and columns apart.

    y[i, j] = sum over p, q of rows[i, p] columns[j, q] x[p, q]

    Args:
        images: `[m, H, W, C]`.
        axes: of `crop_axes`, `flip_axes` or `scale_axes`.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    return _once_or_each(lambda x, both: interpolation.resample(x, *both), images, axes)


def crop_axes(offset: Array, size: tuple[int, ...], dtype: jnp.dtype) -> Axes:
    """`crop` as a pair of matrices, which move pixels and mix none.

    Args:
        offset: `[m, 2]` or `[1, 2]` integers, pixels.
        size: (H, W) pixels.
        dtype: of the images.
    """

    def axis(shift: Array, length: int) -> Array:
        place = jnp.arange(length)
        seen = place[None, :] + shift[:, None]
        return (seen[:, :, None] == place[None, None]).astype(dtype)

    return Axes(*(axis(offset[:, i], length) for i, length in enumerate(size)))


def flip_axes(mirrored: Array, size: tuple[int, ...], dtype: jnp.dtype) -> Axes:
    """`flip` as a pair of matrices.

    Args:
        mirrored: `[m]` or `[1]` bool.
        size, dtype: as in `crop_axes`.
    """
    rows, columns = (
        jnp.broadcast_to(jnp.eye(length, dtype=dtype), (len(mirrored), length, length))
        for length in size
    )
    return Axes(rows, jnp.where(mirrored[:, None, None], columns[:, ::-1], columns))


def scale_axes(factor: Array, size: tuple[int, ...], dtype: jnp.dtype) -> Axes:
    """`scale` as a pair of matrices.

    Args:
        factor: `[m, 2]` or `[1, 2]`, positive.
        size, dtype: as in `crop_axes`.
    """

    def axis(factor: Array, length: int) -> Array:
        return jax.vmap(lambda one: _taps(one, length, dtype))(factor)

    return Axes(*(axis(factor[:, i], length) for i, length in enumerate(size)))


def rotate(images: Array, angle: Array) -> Array:
    """Rotates about the centre, in coordinates that run from -1 to 1 along both axes.

    y[i, j] = x[cos(angle) i + sin(angle) (H/W) j, cos(angle) j - sin(angle) (W/H) i],
    i and j counted from the centre; a plain rotation if H = W.

    Args:
        images: `[m, H, W, C]` normalised pixels.
        angle: `[m]` or `[1]` radians.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    chex.assert_rank([images, angle], [4, 1])
    height, width = images.shape[1:3]
    dtype = jnp.promote_types(images.dtype, jnp.float32)

    def resample(images: Array, angle: Array) -> Array:
        cos, sin = jnp.cos(angle.astype(dtype)), jnp.sin(angle.astype(dtype))
        i, j = jnp.meshgrid(_from_centre(height, dtype), _from_centre(width, dtype), indexing='ij')
        return _gather(
            images,
            cos * i + sin * (height / width) * j + (height - 1) / 2,
            cos * j - sin * (width / height) * i + (width - 1) / 2,
        )

    return _once_or_each(resample, images, angle)


def draw_crop(
    key: PRNGKey, num_draws: int, size: tuple[int, ...], *, ratio: float = 0.125
) -> Array:
    """Draws offsets uniform in -s..s, s = int(ratio size + 1/2), for `crop`.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        size: (H, W) pixels.
        ratio: largest shift, fraction of the size.

    Returns:
        `[num_draws, 2]` int32 pixels.
    """
    largest = jnp.array(_pixels(ratio, size), jnp.int32)[None]
    return jax.random.randint(key, (num_draws, 2), -largest, largest + 1, jnp.int32)


def draw_cutout(
    key: PRNGKey, num_draws: int, size: tuple[int, ...], *, ratio: float = 0.5
) -> Array:
    """Draws centres for `cutout`: uniform in 0..size if the side is even, in 0..size - 1 if odd.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        size: (H, W) pixels.
        ratio: side of the rectangle, fraction of the image's side.

    Returns:
        `[num_draws, 2]` int32 pixels.
    """
    ends = [length + 1 - side % 2 for length, side in zip(size, _pixels(ratio, size))]
    return jax.random.randint(key, (num_draws, 2), 0, jnp.array(ends, jnp.int32)[None], jnp.int32)


def draw_flip(key: PRNGKey, num_draws: int) -> Array:
    """Draws for `flip`: true where u < 1/2.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.

    Returns:
        `[num_draws]` bool.
    """
    return jax.random.uniform(key, (num_draws,), jnp.float32) < 0.5


def draw_scale(key: PRNGKey, num_draws: int, *, strength: float = 1.2) -> Array:
    """Draws factors 1/strength + u (strength - 1/strength), one per axis, for `scale`.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        strength: largest factor.

    Returns:
        `[num_draws, 2]` in [1/strength, strength).
    """
    uniform = jax.random.uniform(key, (num_draws, 2), jnp.float32)
    return uniform * (strength - 1 / strength) + 1 / strength


def draw_rotate(key: PRNGKey, num_draws: int, *, degrees: float = 15.0) -> Array:
    """Draws angles (2u - 1) degrees pi/180 for `rotate`.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        degrees: largest angle, degrees.

    Returns:
        `[num_draws]` radians.
    """
    return (2 * jax.random.uniform(key, (num_draws,), jnp.float32) - 1) * (degrees * jnp.pi / 180)


def _pixels(ratio: float, size: tuple[int, ...]) -> tuple[int, int]:
    return int(ratio * size[0] + 0.5), int(ratio * size[1] + 0.5)


def _once_or_each(
    function: Callable[[Array, Any], Array], images: Array, parameter: PyTree
) -> Array:
    """Applies `function(images, one parameter)` to the whole batch if shared,
    else to each image."""
    leaves = jax.tree.leaves(parameter)
    if len(leaves[0]) == 1:
        return function(images, jax.tree.map(lambda leaf: leaf[0], parameter))
    chex.assert_equal_shape_prefix([images, *leaves], 1)
    return jax.vmap(lambda image, one: function(image[None], one)[0])(images, parameter)


def _inside(centre: Array, side: int, length: int) -> Array:
    """`[m]` centres -> `[m, length]`, true within the interval of `side` pixels."""
    position = jnp.arange(length)[None] - (centre - side // 2)[:, None]
    return (position >= 0) & (position < side)


def _from_centre(length: int, dtype: jnp.dtype) -> Array:
    return jnp.arange(length, dtype=dtype) - (length - 1) / 2


def _taps(factor: Array, length: int, dtype: jnp.dtype) -> Array:
    """Bilinear weights `[length, length]` (to, from) of scaling one axis."""
    precise = jnp.promote_types(dtype, jnp.float32)
    source = _from_centre(length, precise) * factor.astype(precise)
    return interpolation.weights(source[:, None], _from_centre(length, precise)[None, :]).astype(
        dtype
    )


def _gather(images: Array, row: Array, column: Array) -> Array:
    """Samples all images at the same `[H, W]` positions, bilinearly.

    With pixels leading, each of the four gathers copies whole rows of m C numbers; a matrix over
    all pixels was measured 3 to 40 times slower on CPU.
    """
    num, height, width, channels = images.shape
    pixels = images.transpose(1, 2, 0, 3).reshape(height * width, num * channels)
    seen = (
        jnp.take(pixels, index.ravel(), axis=0) * weight.astype(images.dtype).reshape(-1, 1)
        for index, weight in _neighbours(row, column, height, width)
    )
    return cast(Array, sum(seen)).reshape(height, width, num, channels).transpose(2, 0, 1, 3)


def _neighbours(
    row: Array, column: Array, height: int, width: int
) -> Iterator[tuple[Array, Array]]:
    """Flat index and weight, both `[H, W]`, of the four neighbours;
    weight zero outside the image."""
    top, left = jnp.floor(row), jnp.floor(column)
    for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        within = (r >= 0) & (r < height) & (c >= 0) & (c < width)
        weight = jnp.where(within, (1 - jnp.abs(row - r)) * (1 - jnp.abs(column - c)), 0)
        index = jnp.clip(r, 0, height - 1) * width + jnp.clip(c, 0, width - 1)
        yield index.astype(jnp.int32), weight
