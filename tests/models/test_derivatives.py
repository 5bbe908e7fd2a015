"""Networks with derivatives of their own against the same networks with XLA's."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import models, parallel
from jaxdd.models import derivatives
from jaxdd.models.cpu import winograd
from jaxdd.models.layers import classifier, conv
from jaxdd.models.shufflenet import ShuffleBlock


class Grouped(nn.Module):
    """A stem and two shuffle units: grouped and depthwise convolutions of both strides."""

    @nn.compact
    def __call__(self, images):
        x = conv(images, 8, size=1, padding=0, name='stem')
        for stride, features in ((2, 24), (1, 24)):
            x = ShuffleBlock(
                features,
                stride,
                groups=2,
                batch_statistics=False,
                dtype=None,
                name=f'stride{stride}',
            )(x)
        maps = x.reshape(len(x), -1, x.shape[-1])
        features = maps.mean(1)
        return classifier(features, 5), features, maps


# of this width the second convolution is a Winograd product
NETWORKS = {
    'convnet': lambda: models.by_name('convnet', (32, 32, 3), 5, width=64),
    'grouped': lambda: models.model(Grouped(), (8, 8, 3)),
}
SIDES = {'convnet': 32, 'grouped': 8}


@functools.cache
def case(name):
    """The network's loss `(parameters, images) -> scalar`, and where it is differentiated."""
    net, side = NETWORKS[name](), SIDES[name]
    variables = net.init(jax.random.key(0))

    def loss(params, images):
        return jnp.sum(jnp.sin(net.apply(variables._replace(params=params), images).logits))

    return loss, (variables.params, jax.random.normal(jax.random.key(1), (2, side, side, 3)))


def assert_close(found, expected):
    """Within float32 rounding of the largest entry."""
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert scale > 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale), found, expected
    )


def test_the_convnets_second_convolution_is_a_winograd_product():
    assert winograd.worthwhile((2, 16, 16, 64), (3, 3, 64, 64), (1, 1))


@pytest.mark.parametrize('name', NETWORKS)
def test_both_have_the_same_values_and_gradients(name):
    loss, at = case(name)
    # one program for either, if it were remembered
    both = jax.jit(lambda *at: jax.value_and_grad(loss, (0, 1))(*at))
    value, gradient = both(*at)
    assert 'custom_vjp_call' in str(jax.make_jaxpr(loss)(*at))
    with models.xla_derivatives():
        other, others = both(*at)
        assert 'custom_vjp_call' not in str(jax.make_jaxpr(loss)(*at))
    assert_close(value, other)
    assert_close(gradient, others)
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(others)))


@pytest.mark.parametrize('name', NETWORKS)
def test_forward_mode_is_the_transpose_of_reverse_mode(name):
    loss, at = case(name)
    direction = jax.tree.map(
        lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), at
    )
    gradient = jax.jit(jax.grad(loss, (0, 1)))(*at)
    expected = sum(
        jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction))
    )
    with models.xla_derivatives():
        _, change = jax.jit(lambda at, along: jax.jvp(loss, at, along))(at, direction)
    size = sum(
        jnp.vdot(abs(a), abs(b))
        for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction))
    )
    assert abs(change - expected) < 1e-5 * size


def test_second_derivatives_are_the_same_forward_over_reverse(x64):
    net = models.by_name('convnet', (8, 8, 1), 2, width=4, depth=2)
    variables = net.init(jax.random.key(0))
    images, direction = jax.random.normal(jax.random.key(1), (2, 2, 8, 8, 1), jnp.float64)
    gradient = jax.grad(lambda images: jnp.sum(net.apply(variables, images).logits ** 2))
    expected = jax.jit(jax.grad(lambda images: jnp.vdot(gradient(images), direction)))(images)
    with models.xla_derivatives():
        found = jax.jit(lambda images: jax.jvp(gradient, (images,), (direction,))[1])(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_no_program_is_of_the_other_kind():
    net = models.by_name('convnet', (8, 8, 1), 2, width=4, depth=1)
    variables, images = net.init(jax.random.key(0)), jnp.ones((1, 8, 8, 1))
    apply = jax.jit(lambda images: net.apply(variables, images).logits)
    forward = functools.partial(jax.jvp, apply, (images,), (images,))
    for _ in range(2):  # compiled by now, of either kind
        with pytest.raises(TypeError, match='forward-mode'):
            forward()
        with models.xla_derivatives():
            logits, _ = forward()
        np.testing.assert_allclose(logits, apply(images), atol=1e-5)


@pytest.mark.parametrize('norm', ['instance', 'batch', 'layer', 'group', 'none'])
@pytest.mark.parametrize('cpu', [True, False])
def test_every_norm_has_forward_mode_on_every_device(norm, cpu, monkeypatch):
    monkeypatch.setattr(parallel, 'on_cpu', lambda: cpu)
    net = models.by_name('convnet', (8, 8, 1), 2, width=4, depth=1, norm=norm)
    variables, images = (
        jax.eval_shape(net.init, jax.random.key(0)),
        jax.ShapeDtypeStruct((1, 8, 8, 1), 'float32'),
    )

    def forward(variables, images):
        return jax.jvp(lambda images: net.apply(variables, images).logits, (images,), (images,))

    with pytest.raises(TypeError, match='forward-mode'):  # which JAX says no earlier than this
        jax.jit(forward).lower(variables, images)
    with models.xla_derivatives():
        assert jax.jit(forward).lower(variables, images).out_info[1].shape == (1, 2)


def test_a_block_ends_with_an_error_too():
    with pytest.raises(KeyError), models.xla_derivatives():
        assert not derivatives.own()
        raise KeyError
    assert derivatives.own()
