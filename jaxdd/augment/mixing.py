"""Augmentation that mixes images and labels within a batch: CutMix and mixup, with their draws.

Images are `[m, H, W, C]`, labels `[m, Y]` probabilities. One number lambda, and one box, serve the
whole batch; the partner of an image is its entry in a random permutation of the batch, whatever its
class and possibly itself. Cross-entropy is linear in the label, so training on mixed labels is what
the papers' programs do by mixing two losses. Two numbers per entry are (vertical, horizontal).
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdd.types import Array, PRNGKey

# (key, images, labels) -> the same, mixed
Mix = Callable[[PRNGKey, Array, Array], tuple[Array, Array]]


class Box(NamedTuple):
    """Pixels start <= position < stop; empty where they are equal."""

    start: Array  # [2] int32
    stop: Array  # [2] int32


def cutmix(
    key: PRNGKey, images: Array, labels: Array, *, alpha: float = 1.0, probability: float = 1.0
) -> tuple[Array, Array]:
    """CutMix: a box of each image is replaced by the same box of its partner.

    x~ = M x_a + (1 - M) x_b and y~ = r y_a + (1 - r) y_b, lambda ~ Beta(alpha, alpha), M = 0 in
    `box`, r = mean of M. Yun et al., ICCV 2019, https://arxiv.org/abs/1905.04899, eq. 1 and 2.

    Args:
        key: random key.
        images: `[m, H, W, C]`.
        labels: `[m, Y]` probabilities.
        alpha: 1 draws lambda evenly; smaller, boxes are mostly tiny or nearly whole.
        probability: of mixing the batch at all; otherwise it returns unchanged.

    Returns:
        Mixed images `[m, H, W, C]` and labels `[m, Y]`, dtypes kept.

    Raises:
        ValueError: an alpha that is not positive, or a probability outside [0, 1].

    Note:
        The paper weighs the labels with lambda; its program, and IDC's (Kim et al., ICML 2022,
        https://arxiv.org/abs/2205.14959), with the area kept after clipping, as here.
    """
    _check_alpha('CutMix', alpha)
    _check_probability(probability)
    chex.assert_rank([images, labels], [4, 2])
    k_apply, k_lam, k_centre, k_partner = jax.random.split(key, 4)
    size = images.shape[1:3]
    if alpha == 1:  # a draw that many runs know
        lam = jax.random.uniform(k_lam, (), jnp.float32)
    else:
        lam = jax.random.beta(k_lam, alpha, alpha, (), jnp.float32)
    centre = jax.random.randint(k_centre, (2,), 0, jnp.array(size, jnp.int32), jnp.int32)
    region = box(jnp.where(_applies(k_apply, probability), lam, 1.0), centre, size)
    return paste(images, labels, jax.random.permutation(k_partner, len(images)), region)


def mixup(
    key: PRNGKey, images: Array, labels: Array, *, alpha: float = 1.0, probability: float = 1.0
) -> tuple[Array, Array]:
    """Mixup: the convex combination of each image with its partner.

    x~ = lambda x_a + (1 - lambda) x_b and y~ = lambda y_a + (1 - lambda) y_b, lambda ~ Beta(alpha,
    alpha). Zhang et al., ICLR 2018, https://arxiv.org/abs/1710.09412, section 2.

    Args:
        key: random key.
        images: `[m, H, W, C]`.
        labels: `[m, Y]` probabilities.
        alpha: small leaves one of the two images dominant; large mixes half and half.
        probability: of mixing the batch at all; otherwise it returns unchanged.

    Returns:
        Mixed images `[m, H, W, C]` and labels `[m, Y]`, dtypes kept.

    Raises:
        ValueError: an alpha that is not positive, or a probability outside [0, 1].
    """
    _check_alpha('mixup', alpha)
    _check_probability(probability)
    chex.assert_rank([images, labels], [4, 2])
    k_apply, k_lam, k_partner = jax.random.split(key, 3)
    lam = jax.random.beta(k_lam, alpha, alpha, (), jnp.float32)
    lam = jnp.where(_applies(k_apply, probability), lam, 1.0)
    return blend(images, labels, jax.random.permutation(k_partner, len(images)), lam)


def box(lam: Array, centre: Array, size: tuple[int, ...]) -> Box:
    """The box of CutMix, clipped at the border.

    From o - k//2 to o + k//2 with k = int(size sqrt(1 - lambda)), cut to 0..size.

    Args:
        lam: scalar in [0, 1], fraction of the image to keep; 1 gives an empty box.
        centre: `[2]` integers o, pixels.
        size: (H, W) pixels.

    Returns:
        `Box` in pixels.

    Note:
        An odd k gives a box of k - 1 pixels, as in the programs of CutMix and IDC (rand_bbox).
    """
    chex.assert_rank([lam, centre], [0, 1])
    length = jnp.array(size, jnp.int32)
    half = (length * jnp.sqrt(1 - lam)).astype(jnp.int32) // 2
    return Box(jnp.clip(centre - half, 0, length), jnp.clip(centre + half, 0, length))


def paste(images: Array, labels: Array, partner: Array, region: Box) -> tuple[Array, Array]:
    """Replaces a box of each image by that of its partner; labels by the area kept.

    Args:
        images: `[m, H, W, C]`.
        labels: `[m, Y]` probabilities.
        partner: `[m]` integers, positions in the batch.
        region: the box; an empty one returns the inputs bitwise.

    Returns:
        Mixed images `[m, H, W, C]` and labels `[m, Y]`, dtypes kept.
    """
    _check_batch(images, labels, partner)
    rows, columns = (
        (jnp.arange(length) >= region.start[axis]) & (jnp.arange(length) < region.stop[axis])
        for axis, length in enumerate(images.shape[1:3])
    )
    inside = rows[None, :, None, None] & columns[None, None, :, None]
    area = jnp.prod(region.stop - region.start).astype(jnp.float32)
    kept = 1 - area / (images.shape[1] * images.shape[2])
    return jnp.where(inside, images[partner], images), _interpolate(labels, partner, kept)


def blend(images: Array, labels: Array, partner: Array, lam: Array) -> tuple[Array, Array]:
    """Interpolates each image and label with its partner's.

    Args:
        images: `[m, H, W, C]`.
        labels: `[m, Y]` probabilities.
        partner: `[m]` integers, positions in the batch.
        lam: scalar in [0, 1], weight of an image itself; 1 returns the inputs bitwise.

    Returns:
        Mixed images `[m, H, W, C]` and labels `[m, Y]`, dtypes kept.
    """
    _check_batch(images, labels, partner)
    return _interpolate(images, partner, lam), _interpolate(labels, partner, lam)


def _interpolate(values: Array, partner: Array, lam: Array) -> Array:
    weight = lam.astype(values.dtype)
    # The selection keeps what 1 x + 0 x_b would change:
    # the sign of zero, and x where x_b is not finite.
    return jnp.where(lam < 1, weight * values + (1 - weight) * values[partner], values)


def _applies(key: PRNGKey, probability: float) -> Array:
    return jax.random.uniform(key, (), jnp.float32) < probability


def _check_batch(images: Array, labels: Array, partner: Array) -> None:
    chex.assert_rank([images, labels, partner], [4, 2, 1])
    chex.assert_equal_shape_prefix([images, labels, partner], 1)
    chex.assert_type([images, labels, partner], [float, float, int])


def _check_alpha(name: str, alpha: float) -> None:
    if not alpha > 0:
        raise ValueError(
            f'alpha of {name} is the parameter of a Beta distribution; it must be above 0, got '
            f'{alpha}; for no mixing use probability=0'
        )


def _check_probability(probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f'probability of mixing a batch must lie in [0, 1], got {probability}')
