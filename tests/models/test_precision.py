import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import models, parallel
from jaxdd.models.precision import of_body

SHAPES = {'mlp': (8, 8, 3), 'lenet': (16, 16, 3), 'convnet': (16, 16, 3), 'resnet18': (16, 16, 3)}
SHAPES |= {'resnet18_stem3': (16, 16, 3), 'alexnet_in': (16, 16, 3), 'mobilenetv2': (16, 16, 3)}


def made(name):
    net = models.by_name(name, SHAPES[name], 4, width=8, batch_statistics=True)
    images = jax.random.normal(jax.random.key(1), (6, *SHAPES[name]))
    return net, jax.jit(net.init)(jax.random.key(0)), images


@pytest.mark.parametrize('name', SHAPES)
def test_a_body_in_half_precision_multiplies_bfloat16_and_returns_float32(name):
    net, variables, images = made(name)

    def loss(params, images):
        out = net.apply(variables._replace(params=params), images)
        return jnp.square(out.logits).sum(), out

    trace = jax.make_jaxpr(jax.grad(loss, (0, 1), has_aux=True))
    assert 'bf16' not in str(trace(variables.params, images))
    with models.precision('bf16'):
        text = str(trace(variables.params, images))
        slopes, out = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(variables.params, images)
    assert 'bf16' in text
    assert {leaf.dtype for leaf in jax.tree.leaves((slopes, out._replace(moments={})))} == {
        jnp.dtype('float32')
    }


@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
@pytest.mark.parametrize('name', ['convnet', 'resnet18', 'resnet18_stem3'])
def test_half_precision_is_near_float32(name, platform):
    net, variables, images = made(name)
    exact = net.apply(variables, images).logits
    with parallel.lowering_for(platform):
        whole = jax.jit(net.apply)(variables, images).logits
        with models.precision('bf16'):
            half = jax.jit(net.apply)(variables, images).logits
    np.testing.assert_allclose(whole, exact, rtol=0, atol=1e-4 * np.abs(exact).max())
    # 2^-9 of rounding in each of up to 18 layers
    assert 0 < np.abs(half - exact).max() < 0.1 * np.abs(exact).max()


def test_a_block_ends_and_a_network_may_say_otherwise():
    assert of_body(None) is None
    with models.precision('bf16'):
        assert of_body(None) == 'bfloat16'
        assert of_body('float32') == 'float32'
        with models.precision('f32'):
            assert of_body(None) is None
    assert of_body(None) is None


def test_a_compiled_program_is_of_one_precision():
    net, variables, images = made('convnet')
    apply = jax.jit(lambda images: net.apply(variables, images).logits)
    before = apply(images)
    with models.precision('bf16'):
        assert not np.array_equal(before, apply(images))
    np.testing.assert_array_equal(before, apply(images))


def test_an_unknown_precision_names_those_that_there_are():
    with pytest.raises(ValueError, match="unknown precision 'fp8'; valid: bf16, f32"):
        models.precision('fp8')
