"""Images stored as mosaics of smaller ones: cut and enlarge (decode), shrink and lay out (encode).

A stored image holds factor x factor tiles. Decoded index = tile * ipc + stored image, so the first
ipc decoded images of a class are the top-left tiles. Class-major `[K, ipc, H, W, C]` throughout;
leading axes are free, so `[ipc, H, W, C]` is one class. Everything is affine in the images and
differentiable.

Zhao et al., "Improved Distribution Matching for Dataset Condensation" (IDM), CVPR 2023,
https://arxiv.org/abs/2307.09742; Kim et al., "Dataset Condensation via Efficient Synthetic-Data
Parameterization" (IDC), ICML 2022, https://arxiv.org/abs/2205.14959.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import interpolation
from jaxdd.checks import one_of
from jaxdd.types import Array

ORDERS = ('column', 'row')
LARGEST_SUGGESTED = 8


def check_factor(height: int, width: int, factor: int) -> None:
    """Refuses a factor that does not cut an image into equal tiles.

    Args:
        height: H of the stored images, pixels.
        width: W of the stored images, pixels.
        factor: tiles per side.

    Raises:
        ValueError: `factor` is below 1 or does not divide both sides; names the valid factors up to
            8.
    """
    side = math.gcd(height, width)
    valid = ', '.join(str(f) for f in range(1, LARGEST_SUGGESTED + 1) if side % f == 0)
    if factor < 1 or side % factor:
        raise ValueError(
            f'images of {height} x {width} pixels cannot be cut into {factor} x {factor} equal '
            f'tiles; valid factors: {valid}'
        )


def decode(images: Array, factor: int, *, order: str, padding: Array | None = None) -> Array:
    """Cuts every stored image into tiles and enlarges each tile to the full size.

    Bilinear, half-pixel centres, edges clamped: output row i is a tile's row (i + 1/2) h / H - 1/2,
    clipped to 0..h-1 and interpolated between its two neighbours.

    Args:
        images: `[K, ipc, H, W, C]` stored, any range.
        factor: tiles per side, so h = H / factor.
        order: of the tiles: 'column' walks down the columns (IDM: top-left, bottom-left, top-right,
            bottom-right), 'row' along the rows (IDC).
        padding: `[C]` value of the pixels added right and below where `factor` does not divide a
            side; the tiles then have ceil(H / factor) rows. IDC: 0.5, for stored pixels in [0, 1].

    Returns:
        `[K, factor**2 * ipc, H, W, C]`, index tile * ipc + stored image.

    Raises:
        ValueError: unknown `order`, `factor` below 1, or a side that it does not divide and no
            `padding`.

    Note:
        IDM's code also has a factor of 3, unused, which is row-major unlike its factor of 2.
    """
    one_of('tile order', order, ORDERS)
    *lead, ipc, height, width, channels = images.shape
    if padding is None or factor < 1:
        check_factor(height, width, factor)
    h, w = -(-height // factor), -(-width // factor)
    padded = _pad(images, factor * h, factor * w, padding)
    cut = padded.reshape(*lead, ipc, factor, h, factor, w, channels)
    tiles = jnp.moveaxis(cut, (-5, -3) if order == 'row' else (-3, -5), (-6, -5))
    tiles = tiles.reshape(*lead, factor**2 * ipc, h, w, channels)
    return _enlarge(tiles, height, width)


def decode_multi(images: Array, factor: int, *, order: str, padding: Array | None = None) -> Array:
    """Decodes at every factor from 1 up to the given one (IDC's 'multi').

    Args:
        images: `[K, ipc, H, W, C]` stored.
        factor: the largest number of tiles per side.
        order: as in `decode`.
        padding: as in `decode`.

    Returns:
        `[K, (1 + 4 + ... + factor**2) * ipc, H, W, C]`, the smallest factor first.

    Raises:
        ValueError: as in `decode`.
    """
    factors = range(1, factor + 1) if factor > 0 else (factor,)
    return jnp.concatenate(
        [decode(images, f, order=order, padding=padding) for f in factors], axis=-4
    )


def decode_bounded(
    images: Array, factor: int, limit: int, *, order: str, padding: Array | None = None
) -> Array:
    """Decodes into at most `limit` images per class, all stored ones at one factor (IDC's 'bound').

    From the largest factor f down: as many of the remaining stored images are cut at f as fit in
    (limit - decoded - remaining) / f**2, rounded down; the rest is used whole.

    Args:
        images: `[K, ipc, H, W, C]` stored.
        factor: the largest number of tiles per side.
        limit: decoded images per class, at least ipc.
        order: as in `decode`.
        padding: as in `decode`.

    Returns:
        `[K, n, H, W, C]` with ipc <= n <= limit: stored images in their order, the largest factor
        first.

    Raises:
        ValueError: `limit` is below ipc, or as in `decode`.
    """
    ipc = images.shape[-4]
    if limit < ipc:
        raise ValueError(f'limit must be at least the {ipc} stored images per class, got {limit}')
    pieces, start, decoded = [], 0, 0
    for f in range(factor, 0, -1) if factor > 0 else (factor,):
        left = ipc - start
        count = left if f <= 1 else min((limit - decoded - left) // f**2, left)
        part = jax.lax.slice_in_dim(images, start, start + count, axis=images.ndim - 4)
        pieces.append(decode(part, f, order=order, padding=padding))
        start, decoded = start + count, decoded + count * f**2
    return jnp.concatenate(pieces, axis=-4)


def encode_mean(images: Array, factor: int, *, order: str) -> Array:
    """Lays images out as the tiles of stored ones, each shrunk by averaging (IDM's initialisation).

    A tile's pixel is the mean of a factor x factor block. `decode` finds image j of a class again
    at index j.

    Args:
        images: `[K, factor**2 * ipc, H, W, C]` full size, index tile * ipc + stored image.
        factor: tiles per side; divides both sides.
        order: of the tiles, as in `decode`.

    Returns:
        `[K, ipc, H, W, C]` stored.

    Raises:
        ValueError: unknown `order`, `factor` below 1 or not a divisor of both sides, or a number of
            images per class that is not a multiple of factor**2.
    """
    *lead, height, width, channels = images.shape
    check_factor(height, width, factor)
    blocks = images.reshape(*lead, height // factor, factor, width // factor, factor, channels)
    return _mosaic(_by_tile(blocks.mean((-4, -2)), factor, order))


def encode_nearest(
    images: Array, factor: int, *, order: str, size: tuple[int, int] | None = None
) -> Array:
    """Lays images out as tiles, each resized by skipping pixels (IDC's 'mix', RDED's mosaics).

    Row i of a tile of h rows is row floor(i l / h) of its image of l rows: the even ones if l = H
    and factor is 2. Where `factor` does not divide a side, the first (H mod factor) rows of tiles
    are one pixel larger.

    Args:
        images: `[K, factor**2 * ipc, l, w, C]`, index tile * ipc + stored image.
        factor: tiles per side, at most the shorter side of the stored images.
        order: of the tiles, as in `decode`; IDC and RDED: 'row'.
        size: (H, W) of the stored images; None is that of `images`. RDED's crops have the size of a
            tile.

    Returns:
        `[K, ipc, H, W, C]` stored.

    Raises:
        ValueError: unknown `order`, `factor` below 1 or above a side, or a number of images per
            class that is not a multiple of factor**2.

    Note:
        Where `factor` does not divide a side, IDC's decoder cuts elsewhere (it pads: 7 pixels
        become tiles of 4 + 4, here 4 + 3), so that tiles there mix neighbouring images. Kept as in
        its code.
    """
    given = images.shape[-3:-1]
    height, width = size or given
    if not 1 <= factor <= min(height, width):
        raise ValueError(
            f'factor must be between 1 and {min(height, width)}, the shorter side, got {factor}'
        )
    rows, columns = _kept(given[0], height, factor), _kept(given[1], width, factor)
    grid = _by_tile(images, factor, order)
    return _mosaic(
        [
            [cell[..., rows[r], :, :][..., columns[c], :] for c, cell in enumerate(row)]
            for r, row in enumerate(grid)
        ]
    )


def _pad(images: Array, height: int, width: int, value: Array | None) -> Array:
    """Extends images to the right and below with a colour; unchanged where they have the size."""
    *lead, old_height, old_width, channels = images.shape
    if (old_height, old_width) == (height, width):
        return images
    colour = jnp.asarray(value, images.dtype).reshape((1,) * (len(lead) + 2) + (channels,))
    canvas = jnp.broadcast_to(colour, (*lead, height, width, channels))
    return canvas.at[..., :old_height, :old_width, :].set(images)


def _enlarge(images: Array, height: int, width: int) -> Array:
    """Bilinear up-sampling, in full precision on every device."""
    h, w = images.shape[-3:-1]
    if (h, w) == (height, width):
        return images
    axes = (jnp.asarray(_taps(*axis), images.dtype) for axis in ((height, h), (width, w)))
    return interpolation.resample(images, *axes)


def _taps(size: int, tile: int) -> np.ndarray:
    """`[size, tile]` weights of a tile's pixels in each enlarged one; rows sum to 1."""
    centres = np.clip((np.arange(size) + 0.5) * tile / size - 0.5, 0, tile - 1)
    return interpolation.weights(centres[:, None], np.arange(tile)[None, :])


def _kept(length: int, side: int, factor: int) -> list[np.ndarray]:
    """For each tile along a side, the indices of the pixels that it keeps of an image's
    `length`."""
    sizes = [side // factor + (t < side % factor) for t in range(factor)]
    return [np.arange(size) * length // size for size in sizes]


def _by_tile(images: Array, factor: int, order: str) -> list[list[Array]]:
    """Grid [row][column] of `[K, ipc, ...]`:
    the images that fill one tile of every stored image."""
    one_of('tile order', order, ORDERS)
    count, each = images.shape[-4], factor**2
    if count % each or not count:
        near = max(1, round(count / each)) * each
        raise ValueError(
            f'factor {factor} needs a multiple of {each} images per class, one for each tile of '
            f'each stored image; got {count}, the nearest valid is {near}'
        )
    parts = jnp.split(images, each, axis=-4)
    grid = [parts[start : start + factor] for start in range(0, each, factor)]
    return grid if order == 'row' else [list(row) for row in zip(*grid)]


def _mosaic(grid: list[list[Array]]) -> Array:
    """Joins a grid [row][column] of tiles `[K, ipc, h, w, C]` into stored images."""
    return jnp.concatenate([jnp.concatenate(row, axis=-2) for row in grid], axis=-3)
