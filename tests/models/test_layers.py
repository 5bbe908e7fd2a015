import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import parallel
from jaxdd.models import NAMES, by_name, norms
from jaxdd.models.layers import SMALLEST_SIDES, average_pool, check_side, conv, stem_padding
from jaxdd.models.names import fixed


def test_average_pool_drops_the_remainder():
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    expected = [
        [x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2)) for j in range(3)]
        for i in range(2)
    ]
    np.testing.assert_allclose(
        average_pool(jnp.asarray(x), (2, 2)), np.moveaxis(expected, 2, 0), atol=1e-6
    )


@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
@pytest.mark.parametrize('window', [(2, 2), (1, 2), (3, 3)])
def test_derivatives_of_an_average_pool_are_those_of_the_mean(x64, window, platform):
    x, direction = jax.random.normal(jax.random.key(0), (2, 2, 7, 6, 3), jnp.float64)

    def mean(x):
        (h, w), (rows, columns) = window, (7 // window[0], 6 // window[1])
        return x[:, : rows * h, : columns * w].reshape(2, rows, h, columns, w, 3).mean((2, 4))

    def derivatives(pool):
        gradient = jax.grad(lambda x: jnp.sin(pool(x)).sum())
        return pool(x), gradient(x), jax.grad(lambda x: jnp.vdot(gradient(x), direction))(x)

    with parallel.lowering_for(platform):
        pooled = derivatives(lambda x: average_pool(x, window))
    for found, expected in zip(pooled, derivatives(mean), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize(
    'shape, pixels', [((28, 28, 1), 2), ((28, 28, 3), 0), ((8, 8, 1), 0), ((32, 32, 1), 0)]
)
def test_only_mnist_gains_a_margin(shape, pixels):
    assert stem_padding(shape) == pixels


def test_too_deep_a_network_names_those_that_fit():
    with pytest.raises(
        ValueError,
        match='net is too deep for images of side 14: it needs a side of 20 or '
        'more. Networks that fit: mlp, convnet, resnet18, alexnet, mobilenetv2, '
        'efficientnet_b0, shufflenet_g2, shufflenetv2$',
    ):
        check_side('net', (14, 40, 3), 20)
    check_side('net', (20, 21, 3), 20)


def test_the_margin_counts():
    check_side('net', (28, 28, 1), 32)
    with pytest.raises(ValueError, match='side 28.*alexnet, lenet, mobile'):
        check_side('net', (28, 28, 3), 32)


OF_IMAGENET = ('densenet121_stem7', 'resnet10_ap_stem7')  # their sides are larger


def by_cost():
    """Every name but variants of the ConvNet; deep and mobile networks, and ImageNet's forms, in
    the long tests."""
    deep = (
        *('resnet34', 'resnet50', 'resnet101', 'resnet152', 'vgg13', 'vgg16', 'vgg19'),
        *('efficientnet', 'mobilenet', 'shufflenet', 'densenet'),
    )
    return [
        pytest.param(
            name,
            marks=pytest.mark.long if name.startswith(deep) or name.endswith('imagenet') else (),
        )
        for name in sorted(NAMES)
        if not (name.startswith('convnet') and fixed(name)) and name not in OF_IMAGENET
    ]


@pytest.mark.parametrize('name', by_cost())
def test_smallest_sides_are_true(name, weights):
    side = SMALLEST_SIDES[
        next(family for family in SMALLEST_SIDES if name.startswith(family.rstrip('0123456789')))
    ]
    net = by_name(name, (side, side, 3), 3, width=4, batch_statistics=True)
    out = jax.jit(net.apply)(weights(net), jax.random.normal(jax.random.key(0), (2, side, side, 3)))
    assert np.isfinite(out.logits).all() and out.maps.shape[1] >= 1
    # a constant map would hide the images
    assert np.abs(out.logits[0] - out.logits[1]).max() > 1e-3


@pytest.mark.parametrize('name', ['convnet', 'alexnet', 'alexnet_in', 'lenet', 'vgg11', 'vgg11_bn'])
def test_one_pixel_less_is_refused(name):
    side = SMALLEST_SIDES[name.split('_')[0]] - 1
    with pytest.raises(ValueError, match=f'images of side {side}'):
        by_name(name, (side, side, 3), 3, width=4)


class Grouped(nn.Module):
    """One grouped convolution, so that `conv` runs inside a compact module."""

    groups: int

    @nn.compact
    def __call__(self, x):
        return conv(x, 8, stride=2, groups=self.groups, name='conv')


@pytest.mark.parametrize('groups', [1, 2, 8])
def test_grouped_convolutions_are_the_same_on_every_device(groups, monkeypatch):
    module, x = (
        Grouped(groups),
        np.random.default_rng(0).normal(size=(2, 5, 6, 8)).astype(np.float32),
    )
    variables = module.init(jax.random.key(0), x)
    assert variables['params']['conv']['kernel'].shape == (3, 3, 8 // groups, 8)
    cpu = module.apply(variables, x)
    monkeypatch.setattr(parallel, 'on_cpu', lambda: False)
    np.testing.assert_allclose(
        cpu, module.apply(variables, x), rtol=0, atol=1e-6 * np.abs(cpu).max()
    )


class Centred(nn.Module):
    stride: int

    @nn.compact
    def __call__(self, x):
        return conv(x, 8, stride=self.stride, centred=True, name='conv')


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('channels', [3, 16])
def test_a_centred_convolution_leaves_out_a_number_per_map_near_its_mean(channels, stride):
    module = Centred(stride)
    x = np.random.default_rng(0).normal(50, 1, size=(4, 32, 32, channels)).astype(np.float32)
    variables = module.init(jax.random.key(0), x)
    whole = module.apply(variables, x)
    with parallel.lowering_for('tpu'):
        centred = module.apply(variables, x)
    gap = np.asarray(whole - centred)
    np.testing.assert_allclose(gap, np.broadcast_to(gap[:, :1, :1], gap.shape), atol=1e-3)
    inner = np.abs(np.asarray(centred)[:, 1:-1, 1:-1].mean((1, 2)))
    assert inner.max() < 0.05 * np.abs(np.asarray(whole)).max()


def test_the_bias_before_an_instance_norm_has_no_gradient():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return norms.normed_conv(
                x, 8, kind='instance', batch_statistics=True, names=('conv', 'norm')
            )

    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    params = Block().init(jax.random.key(0), x)['params']

    def slopes(params):
        return jax.grad(lambda p: jnp.sin(Block().apply({'params': p}, x)).sum())(params)

    here = slopes(params)
    with parallel.lowering_for('tpu'):
        there = slopes(params)
    assert not np.asarray(there['conv']['bias']).any()
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(here))
    for one, other in zip(jax.tree.leaves(here), jax.tree.leaves(there)):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * largest)
