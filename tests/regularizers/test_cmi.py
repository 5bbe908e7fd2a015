"""Conditional mutual information as a term:
the authors' values through a network, its read, its reduction."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_layout

from jaxdd import augment, models
from jaxdd.engine.distill import init_state, make_gradient
from jaxdd.losses import conditional_mutual_information
from jaxdd.parametrizations import pixels
from jaxdd.regularizers import cmi
from jaxdd.types import Inputs, Method, Networks, Observation, Outputs, Read, SyntheticSet

DEFAULT = Read('proxy', 'synthetic', 'raw')
NONE = Networks(
    lambda key: (),
    lambda state, key, inputs: (None, inputs),
    lambda state, key, inputs, synthetic: state,
)
FEATURES = 2 * jax.random.normal(jax.random.key(0), (3, 4, 5))


def value(term, features, read=DEFAULT):
    """The term on given features [K, n, D]."""
    seen = Observation(
        {read: Outputs(None, features, None, {})}, {}, None, {}, Inputs(), jnp.int32(0)
    )
    loss, metrics = term.loss(seen, jax.random.key(0))
    assert metrics == {}
    return loss


@pytest.mark.parametrize('dtype, tolerance', [('float64', 1e-9), ('float32', 1e-4)])
@pytest.mark.parametrize('case, num_classes', [('B', 4), ('C', 1)])
def test_value_and_gradient_through_a_network_are_the_authors(
    reference, case, num_classes, dtype, tolerance
):
    golden = reference('cmi_empirical')
    with jax.enable_x64(dtype == 'float64'):
        proxy = torch_layout.convnet(
            {
                name.removeprefix('B_param_'): array.astype(dtype)
                for name, array in golden.items()
                if name.startswith('B_param_')
            }
        )
        images = torch_layout.nhwc(golden[f'{case}_images']).astype(dtype)
        images = jnp.asarray(images.reshape(num_classes, -1, *images.shape[1:]))
        net = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=2)
        # An augmentation that would show: the default read must not go through it.
        method = Method(pixels(), cmi(), NONE, {'proxy': net}, augment.shared('color'))
        initial = SyntheticSet(images, jnp.zeros((*images.shape[:2], 3)))
        state = init_state(jax.random.key(0), method, optax.sgd(1.0), initial)
        gradient, metrics = jax.jit(make_gradient(method))(
            state, Inputs(pretrained={'proxy': proxy})
        )
    expected = torch_layout.nhwc(golden[f'{case}_grad_images']).reshape(images.shape)
    assert gradient['images'].dtype == dtype
    np.testing.assert_allclose(metrics['loss/total'], golden[f'{case}_cmi'], rtol=tolerance)
    np.testing.assert_allclose(
        gradient['images'], expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()
    )


def test_reads_a_proxy_on_raw_images():
    assert cmi().reads == {DEFAULT}


def test_reads_what_it_is_told_to():
    read = Read('encoder', 'synthetic', 'augmented')
    assert cmi(read).reads == {read}
    np.testing.assert_allclose(value(cmi(read), FEATURES, read), value(cmi(), FEATURES))


def test_is_the_mean_over_images_and_classes():
    per_class = conditional_mutual_information(FEATURES)
    assert per_class.shape == (3,)
    np.testing.assert_allclose(value(cmi(), FEATURES), np.mean(per_class), rtol=1e-6)
    twice = jnp.concatenate([FEATURES, FEATURES], axis=1)
    np.testing.assert_allclose(value(cmi(), twice), value(cmi(), FEATURES), rtol=1e-5)


def test_hand_worked():
    # two images with nothing in common: ln 2 nats
    certain = jnp.array([[[40.0, 0.0], [0.0, 40.0]]])
    np.testing.assert_allclose(value(cmi(), certain), np.log(2), rtol=1e-6)
    equal = jnp.array([[[3.0, 1.0], [3.0, 1.0]]])
    np.testing.assert_allclose(
        value(cmi(), jnp.concatenate([certain, equal])), np.log(2) / 2, rtol=1e-6
    )


def test_one_image_per_class_tells_nothing():
    loss, gradient = jax.jit(jax.value_and_grad(lambda f: value(cmi(), f)))(FEATURES[:, :1])
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0.0)
