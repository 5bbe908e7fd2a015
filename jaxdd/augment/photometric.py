"""Changes of colour that networks of natural images are trained with, and their draws.

Krizhevsky, Sutskever & Hinton, NIPS 2012, section 4.1 (lighting); Howard,
https://arxiv.org/abs/1312.5402, section 2.2 (jitter). IDC (Kim et al., ICML 2022,
https://arxiv.org/abs/2205.14959) trains so on ImageNet. Images are `[m, H, W, 3]` pixels in [0, 1]
(`jitter_and_light` takes normalised ones); a parameter has one entry per image.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.types import Array, Augment, PRNGKey

GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
# eigenvalues and eigenvectors (columns) of ImageNet's colours, per channel of pixels in [0, 1]
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def jitter(images: Array, factors: Array, order: Array) -> Array:
    """Brightness, contrast and saturation in a given order.

    Each mixes an image with a plain one, y = f x + (1 - f) p: of brightness p is black, of contrast
    the mean of the image's grey values, of saturation each pixel's own grey value.

    Args:
        images: `[m, H, W, 3]` pixels in [0, 1].
        factors: `[m, 3]`, f of brightness, contrast, saturation; 1 leaves the image alone.
        order: `[3]` integers, a permutation of 0 (brightness), 1 (contrast), 2 (saturation).

    Returns:
        `[m, H, W, 3]`; values may leave [0, 1].
    """
    chex.assert_rank([images, factors, order], [4, 2, 1])
    for place in range(3):
        which = order[place]
        grey = _grey(images)
        plain = jnp.stack(
            [
                jnp.zeros_like(images),
                jnp.broadcast_to(grey.mean((1, 2, 3), keepdims=True), images.shape),
                jnp.broadcast_to(grey, images.shape),
            ]
        )[which]
        factor = factors[:, which].astype(images.dtype)[:, None, None, None]
        images = factor * images + (1 - factor) * plain
    return images


def lighting(images: Array, amounts: Array) -> Array:
    """Adds multiples of the principal colours of ImageNet: y = x + sum_k a_k l_k v_k.

    Args:
        images: `[m, H, W, 3]` pixels in [0, 1].
        amounts: `[m, 3]`, a.

    Returns:
        `[m, H, W, 3]`; values may leave [0, 1].
    """
    chex.assert_rank([images, amounts], [4, 2])
    colours = jnp.asarray(np.array(EIGENVECTORS) * np.array(EIGENVALUES), images.dtype)
    shift = jnp.einsum(
        'mk,ck->mc', amounts.astype(images.dtype), colours, precision=jax.lax.Precision.HIGHEST
    )
    return images + shift[:, None, None]


def draw_jitter(key: PRNGKey, num_draws: int, *, strength: float = 0.4) -> tuple[Array, Array]:
    """Draws factors uniform in [1 - strength, 1 + strength) and one order for `jitter`.

    Args:
        key: random key.
        num_draws: m.
        strength: half the width of the range, at most 1.

    Returns:
        `[num_draws, 3]` factors; `[3]` int32 order.
    """
    k_factor, k_order = jax.random.split(key)
    unit = jax.random.uniform(k_factor, (num_draws, 3), jnp.float32, -1, 1)
    return 1 + strength * unit, jax.random.permutation(k_order, 3)


def jitter_and_light(
    *, mean: Sequence[float], std: Sequence[float], strength: float = 0.4, spread: float = 0.1
) -> Augment:
    """Colour jitter, then lighting, drawn per image; the order of the jitter once per call.

    Args:
        mean, std: 3 numbers each, of pixels in [0, 1], that the images are normalised with.
        strength: of the jitter.
        spread: standard deviation of the lighting's amounts.

    Returns:
        (key, images `[m, H, W, 3]` normalised pixels) -> images, same shape and dtype.

    Raises:
        ValueError: other than three channels, a strength outside [0, 1], or a negative spread.
    """
    if (len(mean), len(std)) != (3, 3):
        raise ValueError(
            f'colour jitter and lighting need red, green and blue; got {len(mean)} means and '
            f'{len(std)} stds'
        )
    if not 0 <= strength <= 1:
        raise ValueError(f'strength of the jitter must lie in [0, 1], got {strength}')
    if spread < 0:
        raise ValueError(f'spread of the lighting must be 0 (none) or more, got {spread}')

    def transform(key: PRNGKey, images: Array) -> Array:
        k_jitter, k_light = jax.random.split(key)
        shift, scale = (jnp.asarray(v, images.dtype)[None, None, None] for v in (mean, std))
        pixels = images * scale + shift
        pixels = jitter(pixels, *draw_jitter(k_jitter, len(images), strength=strength))
        amounts = spread * jax.random.normal(k_light, (len(images), 3), jnp.float32)
        return (lighting(pixels, amounts) - shift) / scale

    return transform


def _grey(images: Array) -> Array:
    weights = jnp.asarray(GREY, images.dtype)[None, None, None]
    return jnp.sum(images * weights, axis=-1, keepdims=True)
