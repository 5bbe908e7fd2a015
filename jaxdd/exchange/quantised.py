"""Images at 2 to 8 bits: one scale and one zero point per patch, and codes packed bit by bit.

Asymmetric uniform quantisation, after Jacob et al., "Quantization and Training of Neural Networks
for Efficient Integer-Arithmetic-Only Inference" (CVPR 2018), https://arxiv.org/abs/1712.05877,
eq. 1, with the smallest value itself in the place of their integer zero point:

    q = clip(round((x - zero) / scale), 0, 2^bits - 1),    x' = zero + scale q

A patch has patch x patch pixels of one channel; where `patch` does not divide a side, the last ones
are smaller, and nothing is added to them. Both numbers of a patch are float16 and cover its range:
zero is the largest float16 that is not above the minimum, scale the smallest one that is not below
(maximum - zero) / (2^bits - 1). So no value is clipped, and what zero loses by rounding is in
scale:

    |x - x'| <= scale / 2 + 2^-24 |x'|,
    scale <= (1 + 2^-10) (maximum - minimum + u) / (2^bits - 1) + 2^-24

where u is the distance of the float16 numbers around the minimum; the terms with 2^-24 are the
rounding of the float32 sum and of scales too small for float16. A patch of one value that float16
holds has scale 0 and comes back as it is; one of another value has a scale above 0 and keeps the
bound.
"""

import math
from typing import NamedTuple

import numpy as np

from jaxdd.storage.distilled_checks import is_floating

BITS = range(2, 9)
LARGEST_PATCH = 2**16
GREATEST = float(np.finfo(np.float16).max)


class Quantised(NamedTuple):
    """Quantised images."""

    codes: np.ndarray  # [K, ipc, H, W, C] uint8, below 2^bits
    scale: np.ndarray  # [K, ipc, ceil(H / patch), ceil(W / patch), C] float16, at least 0
    zero: np.ndarray  # the same
    bits: int
    patch: int  # pixels


def quantise(images: np.ndarray, bits: int, patch: int) -> Quantised:
    """Quantises what is stored of a set.

    Args:
        images: `[K, ipc, H, W, C]` floats, in any space; taken as float32.
        bits: per value, 2 to 8.
        patch: side of a patch, in pixels; one that is larger than the images makes each channel of
            an image one patch.

    Raises:
        ValueError: bits or a patch out of range; images that are none, not finite, or beyond what
            float16 holds.
    """
    require_setting(bits, patch)
    images = _checked(images)
    low, high = (_by_patch(bound, images, patch) for bound in (np.minimum, np.maximum))
    zero = _down(low)
    scale = _up((high.astype(np.float64) - zero) / (2**bits - 1))
    # a copy of all of them in float64 may not fit
    codes = [_codes(*one, bits, patch) for one in zip(images, scale, zero)]
    return Quantised(np.stack(codes), scale, zero, bits, patch)


def dequantise(quantised: Quantised) -> np.ndarray:
    """zero + scale q, `[K, ipc, H, W, C]` float32."""
    codes, scale, zero, _, patch = quantised
    shape = codes.shape
    return np.stack(
        [
            _spread(z.astype(np.float32), shape, patch)
            + _spread(s.astype(np.float32), shape, patch) * q
            for q, s, z in zip(codes, scale, zero)
        ]
    )


def num_bytes(quantised: Quantised) -> int:
    """Bytes of the packed codes, the scales and the zero points."""
    codes, scale, zero, bits, _ = quantised
    return packed_bytes(codes.size, bits) + scale.nbytes + zero.nbytes


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of so many packed codes."""
    return -(-count * bits // 8)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes in the order of their array, `bits` bits each, the highest one first.

    Args:
        codes: uint8 of any shape, below 2^bits.

    Returns:
        `[packed_bytes(codes.size, bits)]` uint8; bits of the last one that are left over are 0.

    Raises:
        ValueError: bits out of range, or codes that need more of them.
    """
    require_setting(bits)
    if codes.dtype != np.uint8 or codes.size and codes.max() >= 2**bits:
        raise ValueError(
            f'codes of {bits} bits are uint8 below {2**bits}, got {codes.dtype}'
            + (f' up to {codes.max()}' if codes.size else '')
        )
    return np.packbits(np.unpackbits(codes.reshape(-1, 1), axis=1)[:, 8 - bits :])


def unpack(packed: np.ndarray, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """The codes that `pack` packed, uint8 of a shape.

    Raises:
        ValueError: bits out of range, or another number of bytes than the shape needs.
    """
    require_setting(bits)
    count = math.prod(shape)
    if packed.dtype != np.uint8 or packed.shape != (packed_bytes(count, bits),):
        raise ValueError(
            f'{count:,} codes of {bits} bits are {packed_bytes(count, bits):,} bytes, got '
            f'{packed.dtype} of shape {packed.shape}'
        )
    rows = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    return (np.packbits(rows, axis=1)[:, 0] >> (8 - bits)).reshape(shape)


def patches(shape: tuple[int, ...], patch: int) -> tuple[int, ...]:
    """The shape of the scales of images `[..., H, W, C]`."""
    *lead, height, width, channels = shape
    return (*lead, -(-height // patch), -(-width // patch), channels)


def require_setting(bits: int, patch: int = 1) -> None:
    """Refuses bits and patches that cannot be.

    Raises:
        ValueError: says what is valid.
    """
    if not isinstance(bits, int) or bits not in BITS:
        raise ValueError(f'bits must be an integer from {BITS[0]} to {BITS[-1]}, got {bits!r}')
    if not isinstance(patch, int) or not 1 <= patch <= LARGEST_PATCH:
        raise ValueError(
            f'patch must be an integer from 1 to {LARGEST_PATCH}, pixels per side, got {patch!r}'
        )


def _checked(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 5 or not images.size or not is_floating(images):
        raise ValueError(
            f'images must be floats [K, ipc, H, W, C], got {images.dtype} of shape {images.shape}'
        )
    images = np.asarray(images, np.float32)
    if not np.isfinite(images).all() or np.abs(images).max() > GREATEST:
        raise ValueError(
            f'images must be finite and within {GREATEST:g} of 0, which float16 holds, got values '
            f'from {images.min():g} to {images.max():g}'
        )
    return images


def _by_patch(bound: np.ufunc, images: np.ndarray, patch: int) -> np.ndarray:
    """The minimum or maximum of every patch."""
    for axis in (2, 3):
        starts = np.arange(0, images.shape[axis], patch)
        images = bound.reduceat(images, starts, axis=axis)
    return images


def _codes(
    images: np.ndarray, scale: np.ndarray, zero: np.ndarray, bits: int, patch: int
) -> np.ndarray:
    """Codes of the images of one class; those of a patch with scale 0 are 0."""
    wide, above = (
        _spread(values.astype(np.float64), images.shape, patch) for values in (scale, zero)
    )
    steps = np.divide(images - above, wide, out=np.zeros_like(wide), where=wide > 0)
    return np.clip(np.rint(steps), 0, 2**bits - 1).astype(np.uint8)


def _spread(values: np.ndarray, shape: tuple[int, ...], patch: int) -> np.ndarray:
    """One value per patch -> per pixel of images `[..., H, W, C]`."""
    rows, columns = (np.arange(side) // patch for side in shape[-3:-1])
    return values[..., rows, :, :][..., columns, :]


def _down(values: np.ndarray) -> np.ndarray:
    """The largest float16 numbers that are not above values."""
    near = values.astype(np.float16)
    return np.where(near > values, np.nextafter(near, np.float16(-np.inf)), near)


def _up(values: np.ndarray) -> np.ndarray:
    """The smallest float16 numbers that are not below values."""
    near = values.astype(np.float16)
    return np.where(near < values, np.nextafter(near, np.float16(np.inf)), near)
