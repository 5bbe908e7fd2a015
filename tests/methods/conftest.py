"""Whole methods through the engine, in both precisions, on networks and stored images that are
given."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_layout

from jaxdd import augment
from jaxdd.engine.distill import init_state
from jaxdd.parametrizations import pixels
from jaxdd.types import Method, Networks, SyntheticSet, Term


class Precision(NamedTuple):
    """One floating-point width and what may be demanded of it."""

    dtype: str
    images: Callable  # (torch images [K * m, C, H, W], K) -> [K, m, H, W, C] of that width
    weights: Callable  # {torch name: array} -> the same of that width
    close: Callable  # (actual, expected): to 1e-9 or 1e-4, relative to the largest expected entry


@pytest.fixture(
    params=[
        pytest.param(('float64', 1e-9), id='float64'),
        pytest.param(('float32', 1e-4), id='float32', marks=pytest.mark.long),
    ]
)
def precision(request):
    """Runs one test in float64 to 1e-9 and again in float32 to 1e-4."""
    dtype, tolerance = request.param

    def images(torch_images, num_classes):
        torch_images = torch_layout.nhwc(torch_images)
        return jnp.asarray(torch_images.reshape(num_classes, -1, *torch_images.shape[1:]), dtype)

    def weights(named):
        return {name: np.asarray(weight, dtype) for name, weight in named.items()}

    def close(actual, expected):
        assert actual.dtype == dtype
        np.testing.assert_allclose(
            actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()
        )

    with jax.enable_x64(dtype == 'float64'):
        yield Precision(dtype, images, weights, close)


def _given(variables):
    return Networks(
        lambda key: variables,
        lambda state, key, inputs: (state, inputs),
        lambda state, key, inputs, synthetic: state,
    )


@pytest.fixture
def given():
    """given(variables) -> an encoder policy that always has these weights; None: no encoder."""
    return _given


@pytest.fixture
def started():
    """started(method, images, optimizer, factor) -> the state of a run whose STORED images are
    these."""

    def start(method, images, optimizer, factor=1):
        num_classes, ipc, *shape = images.shape
        labels = jnp.repeat(
            jnp.eye(num_classes, dtype=images.dtype)[:, None], ipc * factor**2, axis=1
        )
        decoded = jnp.zeros((*labels.shape[:2], *shape), images.dtype)
        state = init_state(jax.random.key(0), method, optimizer, SyntheticSet(decoded, labels))
        return state._replace(params={'images': images})

    return start


@pytest.fixture
def first_gradient():
    """first_gradient(state) -> the gradient of the first step: SGD's momentum begins as it."""
    return lambda state: state.opt_state[0].trace['images']


@pytest.fixture
def one_by_one():
    """one_by_one(loss) -> a method without networks:
    each class takes a step on loss(images, class, step)."""

    def method(loss):
        def term(observation, key):
            return loss(
                observation.synthetic.images.ravel(), observation.classes[0], observation.step
            ), {}

        return Method(
            pixels(), Term(frozenset(), term), _given(None), {}, augment.identity(), 'sequential'
        )

    return method
