"""Crops and shifts of whole images as torchvision has them, with their draws.

Images are `[m, H, W, C]` in normalised pixels. A parameter has one entry per image, `[m, ...]`, or
a single one for all, `[1, ...]`; two numbers per entry are always (vertical, horizontal).
"""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from jaxdd import interpolation
from jaxdd.types import Array, PRNGKey

TRIES = 10  # boxes drawn before torchvision's crop falls back to the centre


def roll(images: Array, shift: Array) -> Array:
    """Shifts all images in a circle: what leaves on one side returns on the other.

    y[i, j] = x[(i - shift_v) mod H, (j - shift_h) mod W]

    Args:
        images: `[m, H, W, C]`.
        shift: `[2]` integers, pixels; one for the whole batch.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    chex.assert_rank([images, shift], [4, 1])
    return jnp.roll(images, shift, axis=(1, 2))


def resized_crop(images: Array, box: Array, size: tuple[int, ...]) -> Array:
    """Cuts out a box and resizes it, bilinearly.

    y[i, j] = box[(i + 1/2) h / size_v - 1/2, (j + 1/2) w / size_h - 1/2] between the four nearest
    pixels of the box, positions beyond its outermost pixel centres moved onto them (torch's
    `interpolate`, `align_corners=False`).

    Args:
        images: `[m, H, W, C]` normalised pixels.
        box: `[m, 4]` or `[1, 4]` integers (top, left, height, width), pixels, inside the image.
        size: (height, width) of the result, pixels.

    Returns:
        `[m, *size, C]`, dtype of `images`.

    Note:
        There is no antialiasing: exact for a box no larger than `size`, which is every box if
        `size` is (H, W).
    """
    chex.assert_rank([images, box], [4, 2])
    chex.assert_axis_dimension(box, 1, 4)

    # Separable, hence two small matrices, as in `geometry.scale`.
    def resample(image: Array, box: Array) -> Array:
        axes = (
            _taps(box[axis], box[2 + axis], image.shape[axis], size[axis], image.dtype)
            for axis in (0, 1)
        )
        return interpolation.resample(image, *axes)

    return _each(resample, images, box)


def padded_crop(images: Array, offset: Array, *, padding: int = 4, fill: Sequence[float]) -> Array:
    """Shifts the image by whole pixels, as cropping an image padded with one colour does.

    y[i, j] = x[i + offset_v, j + offset_h], `fill` outside

    Args:
        images: `[m, H, W, C]` normalised pixels.
        offset: `[m, 2]` or `[1, 2]` integers in -padding..padding, pixels; larger ones are cut to
            that range.
        padding: on each side, pixels.
        fill: C numbers, the colour outside in normalised pixels; black is -mean / std.
            (`geometry.crop` fills with zeros, the mean colour.)

    Returns:
        `[m, H, W, C]`, dtype of `images`.

    Raises:
        ValueError: when traced, with a `fill` that is not one number per channel.
    """
    chex.assert_rank([images, offset], [4, 2])
    height, width, channels = images.shape[1:]
    if len(fill) != channels:
        raise ValueError(
            f'fill must have one number per channel, {channels}, got {len(fill)}: {tuple(fill)}'
        )
    colour = jnp.asarray(fill, images.dtype).reshape(1, 1, -1)
    canvas = jnp.broadcast_to(colour, (height + 2 * padding, width + 2 * padding, channels))

    def window(image: Array, offset: Array) -> Array:
        padded = jax.lax.dynamic_update_slice(canvas, image, (padding, padding, 0))
        zero = jnp.zeros((), offset.dtype)
        return jax.lax.dynamic_slice(padded, (*(offset + padding), zero), image.shape)

    return _each(window, images, offset)


def draw_roll(key: PRNGKey, jitter: int, *, both_signs: bool = False) -> Array:
    """Draws a shift for `roll`: integers uniform in 0..jitter, or in -jitter..jitter.

    Args:
        key: random key.
        jitter: largest shift, pixels.
        both_signs: whether to shift to both sides.

    Returns:
        `[2]` int32 pixels.
    """
    return jax.random.randint(key, (2,), -jitter if both_signs else 0, jitter + 1, jnp.int32)


def draw_resized_crop(
    key: PRNGKey,
    num_draws: int,
    size: tuple[int, ...],
    *,
    scale: tuple[float | Array, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Array:
    """Draws boxes of random area, shape and place for `resized_crop` (Inception's crop).

    Area a H W with a uniform in `scale`, width / height = r with log r uniform in log `ratio`, both
    sides rounded; the first of 10 such boxes that fits into the image, anywhere in it. If none
    does: the largest centred box whose shape is within `ratio`. Szegedy et al., CVPR 2015,
    https://arxiv.org/abs/1409.4842, section 6; torchvision's RandomResizedCrop.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        size: (H, W) of the images, pixels.
        scale: least and largest area, fractions of the image's; the least may be traced, e.g.
            `curriculum_scale`.
        ratio: least and largest width / height.

    Returns:
        `[num_draws, 4]` int32 (top, left, height, width), pixels.

    Raises:
        ValueError: a `scale` that is not an interval within (0, 1], or a `ratio` that is no
            interval above 0.
    """
    check_scale(scale)
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(
            f'ratio is the least and the largest width / height, both above 0, got {tuple(ratio)}'
        )
    k_area, k_ratio, k_place = jax.random.split(key, 3)
    low, high = (jnp.log(jnp.float32(end)) for end in ratio)
    shape = jnp.exp(low + _uniform(k_ratio, (num_draws, TRIES)) * (high - low))
    area = (scale[0] + _uniform(k_area, (num_draws, TRIES)) * (scale[1] - scale[0])) * (
        size[0] * size[1]
    )
    sides = jnp.round(jnp.sqrt(jnp.stack([area / shape, area * shape], axis=-1))).astype(jnp.int32)

    image = jnp.array(size, jnp.int32)
    fits = jnp.all((sides > 0) & (sides <= image.reshape(1, 1, 2)), axis=-1)
    first = jnp.take_along_axis(sides, jnp.argmax(fits, axis=1).reshape(-1, 1, 1), axis=1)[:, 0]
    found, central = (
        jnp.any(fits, axis=1, keepdims=True),
        jnp.array(_central(size, ratio), jnp.int32)[None],
    )
    extent = jnp.where(found, first, central)
    room = image[None] - extent
    place = jax.random.randint(k_place, (num_draws, 2), 0, room + 1, jnp.int32)
    return jnp.concatenate([jnp.where(found, place, room // 2), extent], axis=1)


def draw_padded_crop(key: PRNGKey, num_draws: int, *, padding: int = 4) -> Array:
    """Draws offsets uniform in -padding..padding for `padded_crop`.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        padding: on each side, pixels.

    Returns:
        `[num_draws, 2]` int32 pixels.
    """
    return jax.random.randint(key, (num_draws, 2), -padding, padding + 1, jnp.int32)


def check_scale(scale: tuple[float | Array, float]) -> None:
    """Refuses areas that are no interval within (0, 1]; a traced end passes unseen.

    Args:
        scale: least and largest area, fractions of the image's.

    Raises:
        ValueError: the interval is empty, or leaves (0, 1].
    """
    if not any(isinstance(end, jax.Array) for end in scale) and not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(
            f'scale is the least and the largest area of a crop, fractions of the image with '
            f'0 < least <= largest <= 1, got {tuple(scale)}'
        )


def _each(function: Callable[[Array, Array], Array], images: Array, parameter: Array) -> Array:
    """Applies `function(image, its parameter)` to every image;
    a shared parameter is worked out once."""
    if len(parameter) == 1:
        return jax.vmap(function, in_axes=(0, None))(images, parameter[0])
    chex.assert_equal_shape_prefix([images, parameter], 1)
    return jax.vmap(function)(images, parameter)


def _taps(start: Array, extent: Array, length: int, size: int, dtype: jnp.dtype) -> Array:
    """Bilinear weights `[size, length]` (to, from) of cropping and resizing one axis."""
    precise = jnp.promote_types(dtype, jnp.float32)
    # Counted from the box and in whole numbers up to the division:
    # the weights are as exact as their type.
    halves = (2 * jnp.arange(size) + 1) * extent - size
    source = jnp.clip(halves.astype(precise) / (2 * size), 0, (extent - 1).astype(precise))
    pixel = (jnp.arange(length) - start).astype(precise)
    return interpolation.weights(source[:, None], pixel[None, :]).astype(dtype)


def _central(size: tuple[int, ...], ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest box whose width / height is within `ratio`."""
    height, width = size
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def _uniform(key: PRNGKey, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, jnp.float32)
