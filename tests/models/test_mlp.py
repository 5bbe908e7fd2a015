import jax
import numpy as np

from jaxdd.models import MLP, model


def test_two_hidden_layers_and_a_linear_one(weights):
    net = model(MLP(3, width=7), (5, 4, 2))
    variables = weights(net)
    images = jax.random.normal(jax.random.key(0), (6, 5, 4, 2))
    out = jax.jit(net.apply)(variables, images)
    x = np.asarray(images).reshape(6, -1)
    for layer in ('dense0', 'dense1'):
        x = np.maximum(x @ variables.params[layer]['kernel'] + variables.params[layer]['bias'], 0)
    np.testing.assert_allclose(out.features, x, atol=1e-5)
    head = variables.params['classifier']
    np.testing.assert_allclose(out.logits, x @ head['kernel'] + head['bias'], atol=1e-5)


def test_the_map_is_the_features_as_one_position(weights):
    net = model(MLP(3, width=7), (8, 8, 1))
    out = net.apply(weights(net), jax.random.normal(jax.random.key(0), (2, 8, 8, 1)))
    assert out.maps.shape == (2, 1, 7) and out.moments == {}
    np.testing.assert_array_equal(out.maps[:, 0], out.features)
