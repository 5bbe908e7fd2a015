"""ZCA whitening: pixels without correlation, and the way back."""

import zlib
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas

EPS = 0.1  # added to every variance, as the authors' code does
LARGEST = 64 * 64 * 3  # numbers per image; the matrix of more would not be found in an hour
_ROWS = 2000  # images per matrix product


class Whitening(NamedTuple):
    """What whitens images of one data set, D = H W C numbers each."""

    mean: np.ndarray  # [D] of pixels in [0, 1]
    vectors: np.ndarray  # [D, D], column i is the i-th principal direction
    variances: np.ndarray  # [D] along them, at least 0
    eps: float = EPS


def fit(images: np.ndarray, eps: float = EPS) -> Whitening:
    """Finds what whitens a training set, in float64.

    Of pixels in [0, 1] without normalisation: their mean and the eigenvectors of their covariance,
    which divides by N - 1. Cazenavette et al., "Dataset Distillation by Matching Training
    Trajectories" (CVPR 2022), https://arxiv.org/abs/2203.11932, use kornia's.

    Args:
        images: `[N, H, W, C]` uint8, at least two.
        eps: added to the variances before their root is taken.

    Raises:
        ValueError: fewer than two images, images that are not uint8, or too many pixels.

    Note:
        Sums of integer pixels and of their products are exact below 2**53, so the covariance of up
        to 370,000 images is the same on every machine; eigenvectors are not, in their last bits.
    """
    rows = _checked(images)
    count, size = rows.shape
    total, products = np.zeros(size), np.zeros((size, size), order='F')
    for start in range(0, count, _ROWS):
        some = rows[start : start + _ROWS].astype(np.float64)
        total += some.sum(0)
        products = blas.dsyrk(1.0, some.T, beta=1.0, c=products, overwrite_c=True, lower=True)
    scatter = count * products - np.outer(total, total)
    variances, vectors = np.linalg.eigh(scatter / (count * (count - 1) * 255.0**2), 'L')
    return Whitening(total / (255 * count), vectors, np.maximum(variances, 0), eps)


def whiten(whitening: Whitening, pixels: np.ndarray) -> np.ndarray:
    """(x - mean) U diag((s + eps)^-1/2) U^T of every image.

    Args:
        pixels: `[..., H, W, C]` floats in [0, 1].

    Returns:
        The same shape and dtype; neither bounded nor of unit variance, since eps counts.
    """
    return _turned(pixels - _mean(whitening, pixels), whitening, -0.5)


def unwhiten(whitening: Whitening, images: np.ndarray) -> np.ndarray:
    """x U diag((s + eps)^1/2) U^T + mean of every image: pixels again, not clipped to [0, 1].

    Args:
        images: `[..., H, W, C]` floats, whitened.
    """
    return _turned(images, whitening, 0.5) + _mean(whitening, images)


def identity(whitening: Whitening) -> str:
    """A short name of what was fitted, the same on every machine.

    Returns:
        eps, and the CRC-32 of the mean in float32. The mean is a quotient of exact sums;
        eigenvectors differ between machines in their last bits and are left out, so whitenings of
        one mean and different covariances share a name.
    """
    mean = np.asarray(whitening.mean, np.float32)
    return f'{whitening.eps:g} {zlib.crc32(mean.tobytes()):08x}'


def check(whitening: Whitening, image_shape: tuple[int, ...]) -> None:
    """Refuses what does not whiten images of a shape.

    Raises:
        ValueError: arrays of another size, or values that are no variances.
    """
    size = int(np.prod(image_shape))
    shapes = {'mean': (size,), 'vectors': (size, size), 'variances': (size,), 'eps': ()}
    for name, shape in shapes.items():
        value = np.asarray(getattr(whitening, name))
        if value.shape != shape or value.dtype.kind != 'f' or not np.isfinite(value).all():
            raise ValueError(
                f'{name} of a whitening of images {tuple(image_shape)} must be finite numbers '
                f'{shape}, got {value.dtype} {value.shape}'
            )
    if not (np.asarray(whitening.variances) >= 0).all() or not whitening.eps > 0:
        raise ValueError('variances of a whitening must be at least 0 and eps above 0')


def require_size(image_shape: tuple[int, ...]) -> None:
    """Refuses images whose covariance is too large to be decomposed.

    Raises:
        ValueError: says how large they may be.
    """
    if (size := int(np.prod(image_shape))) > LARGEST:
        raise ValueError(
            f'images of {size:,} numbers are too large to be whitened: their covariance has '
            f'{size:,} x {size:,} entries; at most {LARGEST:,} (64 x 64 x 3) numbers per image'
        )


def _checked(images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8 or len(images) < 2:
        raise ValueError(
            f'a whitening is fitted to at least two uint8 images, got {len(images)} of '
            f'{images.dtype}'
        )
    require_size(images.shape[1:])
    return np.ascontiguousarray(images).reshape(len(images), -1)


def _mean(whitening: Whitening, like: np.ndarray) -> np.ndarray:
    return np.asarray(whitening.mean, like.dtype).reshape(like.shape[-3:])


def _turned(images: np.ndarray, whitening: Whitening, power: float) -> np.ndarray:
    """Images times U diag((s + eps)^power) U^T, some rows at a time."""
    vectors = np.asarray(whitening.vectors, np.float64)
    scale = (np.asarray(whitening.variances, np.float64) + whitening.eps) ** power
    matrix = ((vectors * scale) @ vectors.T).astype(images.dtype)
    rows = images.reshape(-1, len(matrix))
    return np.concatenate(
        [rows[start : start + _ROWS] @ matrix for start in range(0, len(rows), _ROWS)]
    ).reshape(images.shape)
