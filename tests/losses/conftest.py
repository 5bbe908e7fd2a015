"""Losses run under strict dtype promotion, in both precisions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest


class Precision(NamedTuple):
    """One floating-point width and what may be demanded of it."""

    array: Callable  # to a jax array of that width
    assert_close: Callable  # (actual, expected): same width, relative to the largest expected entry


@pytest.fixture(autouse=True)
def strict_promotion():
    """Makes every silent change of dtype an error."""
    with jax.numpy_dtype_promotion('strict'):
        yield


@pytest.fixture(params=[('float64', 1e-9), ('float32', 1e-4)], ids=lambda param: param[0])
def precision(request):
    """Runs one test in float64 to 1e-9 and again in float32 to 1e-4."""
    dtype, tolerance = request.param

    def assert_close(actual, expected):
        assert actual.dtype == dtype
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * scale)

    with jax.enable_x64(dtype == 'float64'):
        yield Precision(lambda values: jnp.asarray(values, dtype), assert_close)


@pytest.fixture
def to_maps():
    """Turns the references' feature maps [N, C, H, W] into one class of ours, [1, N, P, D]."""
    return lambda maps: maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)[None]
