"""Bilinear interpolation of images on a grid: one small matrix of weights per axis.

Where images are scaled, cropped, cut into tiles or shrunk, only the positions differ that new
pixels come from.
"""

import functools
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Numbers = TypeVar('Numbers', jax.Array, np.ndarray)


def weights(source: Numbers, pixel: Numbers, reach: jax.Array | None = None) -> Numbers:
    """How much of a pixel is seen at a position: max(0, 1 - |source - pixel| / reach).

    Two neighbours share a position between them; a pixel that lies on the position counts alone.

    Args:
        source: positions along an axis, in pixels, e.g. `[to, 1]`.
        pixel: numbers of the pixels there, counted from the same origin, e.g. `[1, from]`.
        reach: how far a pixel is seen, in pixels; None is 1. More than 1 blurs what shrinks
            (antialiasing).

    Returns:
        The arguments' common shape, e.g. `[to, from]`, from 0 to 1; numpy's where `source` is
        numpy's, which keeps float64.
    """
    distance = abs(source - pixel)
    larger: Any = np.maximum if isinstance(source, np.ndarray) else jnp.maximum
    return larger(1 - (distance if reach is None else distance / reach), 0)


def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Images whose pixels are weighted sums:
    y[i, j] = sum over p, q of rows[i, p] columns[j, q] x[p, q].

    Args:
        images: `[..., h, w, C]`.
        rows: `[H, h]` weights (to, from).
        columns: `[W, w]`.

    Returns:
        `[..., H, W, C]`.
    """
    # Accelerators round the inputs of float32 products unless told otherwise.
    exact = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    return exact('jq,...iqc->...ijc', columns, exact('ip,...pqc->...iqc', rows, images))
