"""Patches at 2 to 8 bits: by hand, within their bound, packed and unpacked."""

import numpy as np
import pytest

from jaxdd.exchange import quantised
from jaxdd.exchange.quantised import Quantised, dequantise, num_bytes, pack, quantise, unpack

BITS = list(quantised.BITS)


def of(*rows, channels=1):
    """One image of one class, of rows of numbers."""
    return np.asarray(rows, np.float32).reshape(1, 1, len(rows), -1, channels)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_four_values_at_two_bits_come_back_exactly():
    images = of([0, 1], [2, 3])
    found = quantise(images, 2, 2)
    assert found.codes.ravel().tolist() == [0, 1, 2, 3]
    assert found.scale.ravel().tolist() == [1] and found.zero.ravel().tolist() == [0]
    np.testing.assert_array_equal(dequantise(found), images)
    # one byte of codes, 2 of a scale, 2 of a zero point
    assert num_bytes(found) == 5


def test_values_between_codes_go_to_the_nearest():
    # zero -1, scale 2: codes of (x + 1) / 2, rounded
    found = quantise(of([-1, 5], [0.9, 3.1]), 2, 2)
    assert found.codes.ravel().tolist() == [0, 3, 1, 2]
    assert dequantise(found).ravel().tolist() == [-1, 5, 1, 3]


def test_every_patch_and_channel_has_a_range_of_its_own():
    # patches of 2 x 2: rows 0-1 and 2, columns 0-1 and 2; a second channel 10 times as wide
    one = np.array([[0, 1, 100], [2, 3, 103], [6, 12, 7]], np.float32)
    images = np.stack([one, 10 * one], axis=-1)[None, None]
    found = quantise(images, 2, 2)
    assert found.scale.shape == found.zero.shape == (1, 1, 2, 2, 2)
    assert found.zero[0, 0, ..., 0].tolist() == [[0, 100], [6, 7]]
    assert found.scale[0, 0, ..., 0].tolist() == [[1, 1], [2, 0]]  # the last patch is one pixel
    np.testing.assert_array_equal(dequantise(found), images)
    # 18 values of 2 bits are 5 bytes, 2 x 4 patches of 4 bytes
    assert num_bytes(found) == 5 + 32


@pytest.mark.parametrize('patch', [1, 2, 3, 4, 5, 7, 100, 2**16])
@pytest.mark.parametrize('bits', BITS)
def test_no_value_is_farther_away_than_the_bound(bits, patch):
    images = noise(2, 3, 7, 5, 3) * np.float32([0.001, 1, 300]) + np.float32([5, 0, 1000])
    found = quantise(images, bits, patch)
    assert found.scale.shape == quantised.patches(images.shape, patch)
    again = dequantise(found)
    assert again.dtype == np.float32 and again.shape == images.shape
    scale = quantised._spread(found.scale.astype(np.float64), images.shape, patch)
    apart = np.abs(images.astype(np.float64) - again)
    assert (apart <= scale / 2 + 2.0**-24 * np.abs(again)).all()


@pytest.mark.parametrize('bits', BITS)
def test_a_scale_is_hardly_wider_than_its_range(bits):
    images = noise(3, 2, 8, 8, 1) * 10 ** noise(3, 2, 1, 1, 1, seed=1)
    found = quantise(images, bits, 8)
    low, high = (bound(images, axis=(2, 3, 4)).ravel().astype(float) for bound in (np.min, np.max))
    zero, scale = (part.ravel().astype(float) for part in (found.zero, found.scale))
    gap = np.abs(np.spacing(found.zero.ravel())).astype(float)
    assert (zero <= low).all() and (low - zero < gap).all()
    levels = 2**bits - 1
    assert (zero + levels * scale >= high).all()
    assert (scale <= (1 + 2.0**-10) * (high - low + gap) / levels + 2.0**-24).all()


@pytest.mark.parametrize(
    'value, scale', [(0.0, 0), (0.5, 0), (-3.25, 0), (65504.0, 0), (0.1, None), (-1.0001, None)]
)
def test_a_patch_of_one_value(value, scale):
    found = quantise(np.full((1, 1, 4, 4, 1), value, np.float32), 2, 4)
    if scale == 0:  # float16 holds it
        assert found.scale.ravel().tolist() == [0] and not found.codes.any()
        assert (dequantise(found) == value).all()
    else:
        step = float(found.scale.ravel()[0])
        assert 0 < step < 0.001
        assert np.abs(dequantise(found) - np.float32(value)).max() <= step / 2 + 1e-7


def test_values_nearer_to_each_other_than_float16_can_say():
    images = of([1e-9, 3e-9], [0, 2e-9])
    found = quantise(images, 8, 2)
    assert float(found.scale.ravel()[0]) == 2.0**-24  # the smallest that is not 0
    assert np.abs(dequantise(found) - images).max() <= 2.0**-25


def test_more_bits_are_nearer():
    images = noise(2, 2, 8, 8, 3)
    errors = [np.abs(dequantise(quantise(images, bits, 4)) - images).mean() for bits in BITS]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 50


@pytest.mark.parametrize('count', [0, 1, 3, 7, 8, 9, 64, 101])
@pytest.mark.parametrize('bits', BITS)
def test_what_is_packed_is_unpacked(bits, count):
    codes = np.random.default_rng(count).integers(0, 2**bits, count).astype(np.uint8)
    packed = pack(codes, bits)
    assert packed.dtype == np.uint8 and packed.shape == (-(-count * bits // 8),)
    np.testing.assert_array_equal(unpack(packed, (count,), bits), codes)
    # as one number in base 2
    text = ''.join(f'{code:0{bits}b}' for code in codes)
    assert [f'{byte:08b}' for byte in packed] == [
        text[start : start + 8].ljust(8, '0') for start in range(0, len(text), 8)
    ]


def test_codes_keep_their_shape():
    codes = np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4, 1)
    np.testing.assert_array_equal(unpack(pack(codes, 5), codes.shape, 5), codes)


@pytest.mark.parametrize(
    'bits, patch, words',
    [
        (1, 4, 'bits must be an integer from 2 to 8, got 1'),
        (9, 4, 'bits must be an integer from 2 to 8, got 9'),
        (4.0, 4, 'bits must be an integer'),
        (4, 0, 'patch must be an integer from 1'),
        (4, 2.5, 'patch must be an integer from 1'),
        (4, 2**16 + 1, 'patch must be an integer from 1 to 65536'),
    ],
)
def test_settings_that_cannot_be_are_refused(bits, patch, words):
    with pytest.raises(ValueError, match=words):
        quantise(of([0, 1]), bits, patch)


@pytest.mark.parametrize(
    'images, words',
    [
        (of([0, np.nan]), 'finite and within 65504 of 0'),
        (of([0, np.inf]), 'finite and within'),
        (of([0, 1e5]), 'which float16 holds, got values from 0 to 100000'),
        (np.zeros((2, 2, 3), np.float32), r'floats \[K, ipc, H, W, C\], got float32 of shape'),
        (np.zeros((1, 1, 2, 2, 1), np.uint8), 'got uint8'),
        (np.zeros((1, 0, 2, 2, 1), np.float32), 'got float32'),
    ],
)
def test_images_that_are_none_are_refused(images, words):
    with pytest.raises(ValueError, match=words):
        quantise(images, 4, 4)


def test_codes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='uint8 below 4, got uint8 up to 4'):
        pack(np.array([1, 4], np.uint8), 2)
    with pytest.raises(ValueError, match='got int64'):
        pack(np.array([1]), 2)
    with pytest.raises(ValueError, match='5 codes of 3 bits are 2 bytes, got uint8 of shape'):
        unpack(np.zeros(3, np.uint8), (5,), 3)


def test_bytes_are_those_of_the_arrays():
    found = quantise(noise(3, 2, 5, 5, 3), 3, 2)
    packed = pack(found.codes, 3)
    assert num_bytes(found) == packed.nbytes + found.scale.nbytes + found.zero.nbytes
    assert isinstance(found, Quantised) and packed.nbytes == -(-3 * 450 // 8)
