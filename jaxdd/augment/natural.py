"""Augmentation of networks trained on natural images (SRe2L, INFER: teachers and students)."""

from collections.abc import Sequence

import chex
import jax

from jaxdd.augment import cropping, geometry
from jaxdd.types import Array, Augment, PRNGKey


def resized_crop_flip(
    *, scale: tuple[float | Array, float] = (0.08, 1.0), flip: bool = True
) -> Augment:
    """Training on larger images: a resized crop and a flip with probability 1/2, drawn per image.

    He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, with Inception's crop
    (`cropping.draw_resized_crop`).

    Args:
        scale: least and largest area of the crop, fractions of the image's.
        flip: False where a mirror image changes the class (digits).

    Returns:
        (key, images `[m, H, W, C]` normalised pixels) -> images, same shape and dtype.

    Raises:
        ValueError: a `scale` that is not an interval within (0, 1].
    """
    cropping.check_scale(scale)
    return lambda key, images: crop_and_flip(key, images, len(images), scale, flip)


def padded_crop_flip(*, padding: int = 4, fill: Sequence[float], flip: bool = True) -> Augment:
    """Training on CIFAR: a crop of the padded image and a flip of probability 1/2, per image.

    He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, section 4.2.

    Args:
        padding: on each side, pixels.
        fill: C numbers, the colour of the padding in normalised pixels. SRe2L and INFER pad before
            they normalise, with black: -mean / std.
        flip: False where a mirror image changes the class (digits).

    Returns:
        (key, images `[m, H, W, C]` normalised pixels) -> images, same shape and dtype.

    Raises:
        ValueError: a negative `padding`; when traced, a `fill` that is not one number per channel.
    """
    if padding < 0:
        raise ValueError(
            f'padding counts pixels on each side; it must be 0 (none) or more, got {padding}'
        )

    def transform(key: PRNGKey, images: Array) -> Array:
        k_crop, k_flip = jax.random.split(key)
        offset = cropping.draw_padded_crop(k_crop, len(images), padding=padding)
        images = cropping.padded_crop(images, offset, padding=padding, fill=fill)
        return geometry.flip(images, geometry.draw_flip(k_flip, len(images))) if flip else images

    return transform


def then(*transforms: Augment) -> Augment:
    """Several augmentations, one after the other, each with draws of its own.

    Args:
        transforms: (key, images) -> images, in their order.
    """

    def transform(key: PRNGKey, images: Array) -> Array:
        chex.assert_rank(images, 4)
        for one, k_own in zip(transforms, jax.random.split(key, len(transforms))):
            images = one(k_own, images)
        return images

    return transform


def crop_and_flip(
    key: PRNGKey,
    images: Array,
    num_draws: int,
    scale: tuple[float | Array, float],
    flip: bool = True,
) -> Array:
    """Crops, resizes and flips a batch.

    Args:
        key: of the crops and flips.
        images: `[m, H, W, C]`.
        num_draws: 1, one crop and flip for all images; m, one for each.
        scale: least and largest area of the crop, fractions of the image's.
        flip: whether to mirror with probability 1/2.

    Returns:
        `[m, H, W, C]`.
    """
    k_crop, k_flip = jax.random.split(key)
    size = images.shape[1:3]
    images = cropping.resized_crop(
        images, cropping.draw_resized_crop(k_crop, num_draws, size, scale=scale), size
    )
    return geometry.flip(images, geometry.draw_flip(k_flip, num_draws)) if flip else images
