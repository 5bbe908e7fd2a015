"""Torch's default initialisation."""

import jax
import numpy as np

from jaxdd.models.initializers import torch_default

SHAPES = {
    'conv': {'kernel': (3, 3, 8, 64), 'bias': (64,)},
    'norm': {'scale': (64,), 'bias': (64,)},
    'plain': {'kernel': (3, 3, 64, 16)},
    'dense': {'kernel': (256, 50), 'bias': (50,)},
}
STRUCTS = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, np.float32),
    SHAPES,
    is_leaf=lambda x: isinstance(x, tuple),
)


def drawn(seed=0):
    return jax.tree.map(np.asarray, torch_default(jax.random.key(seed), STRUCTS))


def test_kernels_and_their_biases_fill_the_interval_of_their_fan_in():
    params = drawn()
    for layer, fan_in in (('conv', 72), ('dense', 256)):
        bound = fan_in**-0.5
        for leaf in ('kernel', 'bias'):
            values = params[layer][leaf]
            assert np.abs(values).max() <= bound and np.abs(values).max() > 0.9 * bound
        np.testing.assert_allclose(params[layer]['kernel'].var(), bound**2 / 3, rtol=0.05)
        assert abs(params[layer]['kernel'].mean()) < 0.05 * bound


def test_norms_start_as_the_identity():
    params = drawn()
    assert (params['norm']['scale'] == 1).all() and (params['norm']['bias'] == 0).all()


def test_shapes_and_structure_are_kept_and_no_two_parameters_share_numbers():
    params = drawn()
    assert jax.tree.map(np.shape, params) == SHAPES
    numbers = np.concatenate(
        [
            params[layer]['kernel'].ravel() * fan_in**0.5
            for layer, fan_in in (('conv', 72), ('plain', 576), ('dense', 256))
        ]
    )
    assert len(np.unique(numbers)) > 0.99 * len(numbers)


def test_other_parameters_are_taken_over():
    others = jax.tree.map(
        lambda shape: np.full(shape, 0.25, np.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )
    kept = torch_default(jax.random.key(0), others, others=others)
    assert (kept['norm']['scale'] == 0.25).all() and (kept['norm']['bias'] == 0.25).all()
    np.testing.assert_array_equal(kept['conv']['kernel'], drawn()['conv']['kernel'])
    np.testing.assert_array_equal(kept['conv']['bias'], drawn()['conv']['bias'])


def test_a_bias_of_several_axes_says_which_axes_are_outputs():
    heads = {
        'query': {
            'kernel': np.zeros((64, 4, 16), np.float32),
            'bias': np.ones((4, 16), np.float32),
        },
        'local': {
            'kernel': np.zeros((3, 5, 9, 2), np.float32),
            'bias': np.ones((3, 5, 2), np.float32),
        },
    }
    params = torch_default(jax.random.key(0), heads, others=heads)
    assert 0.12 < np.abs(params['query']['kernel']).max() <= 0.125  # 1 / sqrt(64)
    assert (params['local']['kernel'] == 0).all() and (params['local']['bias'] == 1).all()


def test_dtypes_are_kept():
    half = {'dense': {'kernel': np.zeros((4, 2), jax.numpy.bfloat16)}}
    assert torch_default(jax.random.key(0), half)['dense']['kernel'].dtype == jax.numpy.bfloat16


def test_the_key_decides():
    assert (drawn(1)['dense']['kernel'] == drawn(1)['dense']['kernel']).all()
    assert (drawn(1)['dense']['kernel'] != drawn(2)['dense']['kernel']).any()
