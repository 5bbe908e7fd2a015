"""Realistic synthetic images without optimisation:
the crops that a teacher finds easiest, pasted into mosaics.

Sun et al., "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation
Paradigm" (RDED), CVPR 2024, https://arxiv.org/abs/2312.03526. The images come from here; the
teacher labels them while a student trains (`relabel`).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import interpolation, passes
from jaxdd.augment import cropping
from jaxdd.data import Spec, class_members, normalise
from jaxdd.losses import soft_cross_entropy
from jaxdd.parametrizations import mosaics
from jaxdd.types import Array, Model, PRNGKey, Source, SyntheticSet, Variables


def realistic_subset(
    key: PRNGKey,
    source: Source,
    spec: Spec,
    model: Model,
    variables: Variables,
    *,
    ipc: int,
    factor: int = 1,
    num_images: int = 300,
    num_crops: int = 5,
) -> SyntheticSet:
    """Mosaics of the crops of real images that a teacher classifies best: RDED's synthetic set.

    Per class: random real images without replacement; square crops of each, area uniform in 8 % to
    100 %, resized to H / factor; the best crop of every image (`crop_scores`); the factor^2 ipc
    best of these (`select`); these as tiles, along the rows (`mosaics.encode_nearest`).

    Args:
        key: which images and which crops.
        source: the training set; square images.
        spec: its normalisation and classes.
        model: the teacher, with running moments (`batch_statistics` False).
        variables: its weights.
        ipc: images per class that are stored.
        factor: tiles per side of a stored image; the authors use 2 for ImageNet and 1 for smaller
            images.
        num_images: real images that crops are taken of, per class; capped at the class's size.
        num_crops: per real image.

    Returns:
        Normalised images `[Y, ipc, H, W, C]` and one-hot labels, in class order.

    Raises:
        ValueError: a number below 1, images that are not square or smaller than `factor`, or fewer
            real images per class than the factor^2 ipc that are needed.

    Note:
        The authors normalise every data set by ImageNet's moments; here each has its own.
    """
    side = _require(spec, ipc, factor, num_images, num_crops)
    members, _ = class_members(source, spec.num_classes, 1)
    _require_images((members >= 0).sum(axis=1), ipc, factor, num_images)

    @jax.jit
    def one_class(key: PRNGKey, images: Array, valid: Array, label: Array) -> Array:
        crops = _crops(key, normalise(spec, images), num_crops, side // factor)
        scores = crop_scores(model, variables, crops, label, side=side)
        best = select(jnp.where(valid[:, None], scores, jnp.inf), crops, factor**2 * ipc)
        return mosaics.encode_nearest(best, factor, order='row', size=(side, side))

    made = []
    for label, row in enumerate(members):
        k_images, k_crops = jax.random.split(jax.random.fold_in(key, label))
        mine = np.asarray(jax.random.permutation(k_images, row[row >= 0]))[:num_images]
        # All classes have the shape of the largest, so that one program serves them.
        index = np.resize(mine, min(num_images, members.shape[1]))
        made.append(
            one_class(
                k_crops, np.asarray(source.images[index]), np.arange(len(index)) < len(mine), label
            )
        )
    classes = jnp.repeat(jnp.arange(spec.num_classes)[:, None], ipc, axis=1)
    return SyntheticSet(jnp.stack(made), jax.nn.one_hot(classes, spec.num_classes))


def crop_scores(
    model: Model, variables: Variables, crops: Array, label: Array, *, side: int
) -> Array:
    """How unrealistic each crop is: the teacher's cross-entropy under its class.

    Lower is more realistic.

    s = -log softmax(f(padded crop))_label; the crop lies in the middle of zeros, an odd one more
    below and right.

    Args:
        model: the teacher f, with running moments.
        variables: its weights.
        crops: `[m, c, h, w, C]` normalised, c crops of each of m images; h, w <= side.
        label: of all of them, integer in 0..Y-1.
        side: H = W of what the teacher takes.

    Returns:
        `[m, c]` in nats, not reduced.

    Raises:
        ValueError: crops that are larger than `side`.
    """
    h, w = crops.shape[2:4]
    if max(h, w) > side:
        raise ValueError(f'crops of {h} x {w} pixels do not fit into images of side {side}')
    rows, columns = ((rest // 2, rest - rest // 2) for rest in (side - h, side - w))

    def score(images: Array) -> Array:
        padded = jnp.pad(images, ((0, 0), rows, columns, (0, 0)))
        logits = model.apply(variables, padded).logits
        return soft_cross_entropy(logits, jnp.zeros_like(logits).at[:, label].set(1))

    # One crop of every image at a time: the teacher's maps of all of them may not fit.
    return jax.lax.map(functools.partial(passes.chunked, score), crops.swapaxes(0, 1)).T


def select(scores: Array, crops: Array, count: int) -> Array:
    """The best crop of every image, then the best of these: diverse and realistic.

    Args:
        scores: `[m, c]`, lower is better.
        crops: `[m, c, h, w, C]`.
        count: how many to keep, at most m.

    Returns:
        `[count, h, w, C]`, the lowest score first; where scores are equal, in their order.

    Raises:
        ValueError: `count` below 1 or above m.
    """
    if not 1 <= count <= len(crops):
        raise ValueError(
            f'count must be between 1 and the {len(crops)} images that crops were taken of, got '
            f'{count}'
        )
    best, images = scores.argmin(axis=1), jnp.arange(len(crops))
    order = jnp.argsort(scores[images, best])[:count]
    return crops[order, best[order]]


def _crops(key: PRNGKey, images: Array, num_crops: int, size: int) -> Array:
    """`[m, num_crops, size, size, C]` random square crops of square images,
    resized with antialiasing."""
    num, side = images.shape[:2]
    boxes = cropping.draw_resized_crop(key, num * num_crops, (side, side), ratio=(1.0, 1.0))
    top, left, height, width = boxes.reshape(num, num_crops, 4).transpose(2, 0, 1)
    rows, columns = _resampling(top, height, side, size), _resampling(left, width, side, size)
    exact = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    return exact('mcjq,mciqd->mcijd', columns, exact('mcip,mpqd->mciqd', rows, images))


def _resampling(start: Array, length: Array, side: int, size: int) -> Array:
    """`[m, c, size, side]` bilinear weights of the pixels start..start + length - 1 in each of
    `size`; rows sum to 1.

    Where it shrinks, the triangle is as much wider, so that every pixel counts (torchvision's
    antialiasing, which `cropping.resized_crop` leaves out).
    """
    start, length = start[..., None, None], length[..., None, None]
    scale = length / size
    pixel, out = jnp.arange(side).reshape(1, 1, 1, -1), jnp.arange(size).reshape(1, 1, -1, 1)
    inside = (pixel >= start) & (pixel < start + length)
    triangle = interpolation.weights(
        start + (out + 0.5) * scale - 0.5, pixel, jnp.maximum(1, scale)
    )
    weight = jnp.where(inside, triangle, 0)
    return weight / weight.sum(axis=-1, keepdims=True)


def _require(spec: Spec, ipc: int, factor: int, num_images: int, num_crops: int) -> int:
    """The side of the square images; refuses what cannot be a mosaic."""
    for name, value in (
        ('ipc', ipc),
        ('factor', factor),
        ('num_images', num_images),
        ('num_crops', num_crops),
    ):
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    height, width, _ = spec.image_shape
    if height != width:
        raise ValueError(
            f'crops are square, so the images must be; those of {spec.name} are {height} x {width}'
        )
    if factor > height:
        raise ValueError(f'factor must be between 1 and the side, {height}, got {factor}')
    return height


def _require_images(sizes: np.ndarray, ipc: int, factor: int, num_images: int) -> None:
    """Refuses too few real images: each gives one crop."""
    smallest = int(np.argmin(sizes))
    available = min(num_images, int(sizes[smallest]))
    if factor**2 * ipc > available:
        raise ValueError(
            f'ipc {ipc} with factor {factor} needs crops of {factor**2 * ipc} real images per '
            f'class, but num_images is {num_images} and the smallest class (class {smallest}) has '
            f'{int(sizes[smallest])}; ask for at most ipc {available // factor**2}'
        )
