"""Colour operations of differentiable Siamese augmentation, with their draws.

Zhao and Bilen, ICML 2021, https://arxiv.org/abs/2102.08259. Images are `[m, H, W, C]` in normalised
pixels. A parameter has one entry per image, `[m]`, or a single one for all, `[1]`; it is drawn
apart from its use, so that a draw can be shared, stored or injected. Below u is uniform in [0, 1).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdd.types import Array, PRNGKey


class ColorDraw(NamedTuple):
    """Parameters of `color`, each `[m]` or `[1]`."""

    offset: Array  # brightness, normalised pixels
    saturation: Array  # factor
    contrast: Array  # factor


def brightness(images: Array, offset: Array) -> Array:
    """Adds one number to all pixels of an image.

    y = x + offset

    Args:
        images: `[m, H, W, C]` normalised pixels.
        offset: `[m]` or `[1]` normalised pixels.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    return images + _per_image(images, offset)


def saturation(images: Array, factor: Array) -> Array:
    """Scales the distance of each pixel from its own grey value.

    y = g + factor (x - g), g = mean of x over the channels of the pixel

    Args:
        images: `[m, H, W, C]` normalised pixels; unchanged where C = 1.
        factor: `[m]` or `[1]`; 0 gives grey, 1 the image itself.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    grey = images.mean(axis=-1, keepdims=True)
    return (images - grey) * _per_image(images, factor) + grey


def contrast(images: Array, factor: Array) -> Array:
    """Scales the distance of each pixel from the mean of its image.

    y = g + factor (x - g), g = mean of x over H, W and C

    Args:
        images: `[m, H, W, C]` normalised pixels.
        factor: `[m]` or `[1]`; 0 gives a constant image, 1 the image itself.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return (images - mean) * _per_image(images, factor) + mean


def color(images: Array, draw: ColorDraw) -> Array:
    """Brightness, then saturation, then contrast.

    Args:
        images: `[m, H, W, C]` normalised pixels.
        draw: parameters, each `[m]` or `[1]`.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    return contrast(saturation(brightness(images, draw.offset), draw.saturation), draw.contrast)


def draw_brightness(key: PRNGKey, num_draws: int, *, strength: float = 1.0) -> Array:
    """Draws offsets (u - 1/2) strength for `brightness`.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        strength: width of the range, normalised pixels.

    Returns:
        `[num_draws]` normalised pixels in [-strength/2, strength/2).
    """
    return (jax.random.uniform(key, (num_draws,), jnp.float32) - 0.5) * strength


def draw_saturation(key: PRNGKey, num_draws: int, *, strength: float = 2.0) -> Array:
    """Draws factors u strength for `saturation`.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        strength: upper end of the range.

    Returns:
        `[num_draws]` in [0, strength).
    """
    return jax.random.uniform(key, (num_draws,), jnp.float32) * strength


def draw_contrast(key: PRNGKey, num_draws: int, *, strength: float = 0.5) -> Array:
    """Draws factors u + strength for `contrast`.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        strength: lower end of a range of width 1.

    Returns:
        `[num_draws]` in [strength, strength + 1).
    """
    return jax.random.uniform(key, (num_draws,), jnp.float32) + strength


def draw_color(
    key: PRNGKey,
    num_draws: int,
    *,
    brightness: float = 1.0,
    saturation: float = 2.0,
    contrast: float = 0.5,
) -> ColorDraw:
    """Draws the three parameters of `color`, independent of each other.

    Args:
        key: random key.
        num_draws: m, or 1 for one draw shared by all images.
        brightness: strength of `draw_brightness`.
        saturation: strength of `draw_saturation`.
        contrast: strength of `draw_contrast`.

    Returns:
        Three arrays `[num_draws]`.
    """
    k_brightness, k_saturation, k_contrast = jax.random.split(key, 3)
    return ColorDraw(
        draw_brightness(k_brightness, num_draws, strength=brightness),
        draw_saturation(k_saturation, num_draws, strength=saturation),
        draw_contrast(k_contrast, num_draws, strength=contrast),
    )


def _per_image(images: Array, parameter: Array) -> Array:
    """`[m]` or `[1]` -> `[m, 1, 1, 1]` or `[1, 1, 1, 1]` in the images' dtype."""
    chex.assert_rank([images, parameter], [4, 1])
    chex.assert_is_broadcastable(parameter.shape, images.shape[:1])
    return parameter.astype(images.dtype)[:, None, None, None]
