"""The augmentation that DC trains students with on MNIST and with batch norm.

Zhao, Mopuri & Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929. Coarser than DSA's, and not meant
to be differentiated: students alone see it. Images are `[m, H, W, C]` normalised pixels; every
operation draws its parameters per image, apart from its use.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import checks
from jaxdd.augment import cropping
from jaxdd.types import Array, Augment, PRNGKey

PADDING = 4  # pixels of a crop
DEGREES = 45  # largest rotation
NOISE = 1e-3  # standard deviation, normalised pixels
SCALES = (0.8, 1.2)


def coarse(strategy: str) -> Augment:
    """One operation per image, drawn evenly.

    Args:
        strategy: operations joined by '_', of crop, scale, rotate and noise.

    Returns:
        (key, images `[m, H, W, C]` normalised pixels) -> images, same shape and dtype.

    Raises:
        ValueError: an unknown operation.

    Note:
        As in DC's code (augment in utils.py), a crop shifts by -4 to +3 pixels, never +4.
    """
    named = strategy.split('_')
    for name in named:
        checks.one_of('operation of the coarse augmentation', name, OPERATIONS)

    def transform(key: PRNGKey, images: Array) -> Array:
        k_which, *keys = jax.random.split(key, 1 + len(named))
        which = jax.random.randint(k_which, (len(images),), 0, len(named))
        done = [OPERATIONS[name](k, images) for name, k in zip(named, keys)]
        return jnp.stack(done)[which, jnp.arange(len(images))]

    return transform


def scale(images: Array, size: Array) -> Array:
    """Resizes every image to a size of its own, by nearest pixels, centred on zeros or cut.

    Row i of an image of h rows is row floor(i H / h) of the original; a larger result than H x W
    loses its rim, a smaller one lies in the middle of zeros.

    Args:
        images: `[m, H, W, C]`.
        size: `[m, 2]` integers h, w above 0, pixels.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    chex.assert_rank([images, size], [4, 2])

    def one(image: Array, size: Array) -> Array:
        for axis in (0, 1):
            length = image.shape[axis]
            rim = jnp.abs(length - size[axis]) // 2
            place = jnp.arange(length) + jnp.where(size[axis] > length, rim, -rim)
            image = jnp.take(image, jnp.clip(place * length // size[axis], 0, length - 1), axis)
            shape = [1, 1, 1]
            shape[axis] = length
            inside = ((place >= 0) & (place < size[axis])).reshape(shape)
            image = jnp.where(inside, image, jnp.zeros((), image.dtype))
        return image

    return jax.vmap(one)(images, size)


def rotate(images: Array, degrees: Array) -> Array:
    """Rotates every image about its centre, by cubic splines; outside is the image's mean colour.

    y[i, j] = s(cos a i + sin a j, -sin a i + cos a j), i and j counted from the centre, with s the
    interpolating cubic B-spline of x (mirrored at the rim); where that place lies outside the
    outermost pixel centres, the mean of x over H, W and C. What scipy.ndimage.rotate does.

    Args:
        images: `[m, H, W, C]`.
        degrees: `[m]`, a.

    Returns:
        `[m, H, W, C]`, dtype of `images`.
    """
    chex.assert_rank([images, degrees], [4, 1])
    height, width = images.shape[1:3]
    weights = [jnp.asarray(_prefilter(side), images.dtype) for side in (height, width)]
    exact = jax.lax.Precision.HIGHEST
    spline = jnp.einsum('ia,jb,mabc->mijc', *weights, images, precision=exact)
    i, j = jnp.meshgrid(
        jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing='ij'
    )

    def one(image: Array, spline: Array, degrees: Array) -> Array:
        angle = jnp.deg2rad(degrees.astype(image.dtype))
        row = jnp.cos(angle) * i + jnp.sin(angle) * j + (height - 1) / 2
        column = jnp.cos(angle) * j - jnp.sin(angle) * i + (width - 1) / 2
        inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
        rows, columns = (
            _taps(at, side, image.dtype) for at, side in ((row, height), (column, width))
        )
        turned = jnp.einsum('ija,ijb,abc->ijc', rows, columns, spline, precision=exact)
        return jnp.where(inside[..., None], turned, image.mean())

    return jax.vmap(one)(images, spline, degrees)


def _crop(key: PRNGKey, images: Array) -> Array:
    """A shift over a rim of the batch's mean colour."""
    offset = jax.random.randint(key, (len(images), 2), -PADDING, PADDING)
    colour = images.mean((0, 1, 2))
    # what lies outside is the colour: it is 0 of the images without it
    fill = (0.0,) * images.shape[-1]
    shifted = cropping.padded_crop(
        images - colour[None, None, None], offset, padding=PADDING, fill=fill
    )
    return shifted + colour[None, None, None]


def _scale(key: PRNGKey, images: Array) -> Array:
    factor = jax.random.uniform(key, (len(images), 2), jnp.float32, *SCALES)
    return scale(images, (factor * jnp.array(images.shape[1:3])[None]).astype(jnp.int32))


def _rotate(key: PRNGKey, images: Array) -> Array:
    return rotate(images, jax.random.randint(key, (len(images),), -DEGREES, DEGREES))


def _noise(key: PRNGKey, images: Array) -> Array:
    return images + NOISE * jax.random.normal(key, images.shape, images.dtype)


OPERATIONS: dict[str, Callable[[PRNGKey, Array], Array]] = {
    'crop': _crop,
    'scale': _scale,
    'rotate': _rotate,
    'noise': _noise,
}


@functools.cache
def _prefilter(side: int) -> np.ndarray:
    """`[side, side]`: pixels -> coefficients of the cubic B-spline through them, mirrored at both
    outermost pixels."""
    if side == 1:
        return np.ones((1, 1))
    through = np.zeros((side, side))
    for at in range(side):
        for shift, weight in ((-1, 1 / 6), (0, 2 / 3), (1, 1 / 6)):
            place = abs(at + shift)
            through[at, place if place < side else 2 * (side - 1) - place] += weight
    return np.linalg.inv(through)


def _taps(at: Array, side: int, dtype: jnp.dtype) -> Array:
    """`[..., side]` weights of a spline's coefficients at places within the image."""
    found = jnp.zeros((*at.shape, side), dtype)
    first = jnp.floor(at).astype(jnp.int32)
    for shift in range(-1, 3):
        place = jnp.abs(first + shift)
        place = jnp.where(place < side, place, 2 * (side - 1) - place)
        weight = _cubic(at - (first + shift)).astype(dtype)
        found += weight[..., None] * (place[..., None] == jnp.arange(side)[None, None])
    return found


def _cubic(distance: Array) -> Array:
    """The cubic B-spline."""
    x = jnp.abs(distance)
    near, far = 2 / 3 - x**2 + x**3 / 2, jnp.maximum(2 - x, 0) ** 3 / 6
    return jnp.where(x < 1, near, far)
