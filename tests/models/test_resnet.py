import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.models import ResNet, by_name, model


def test_parameter_count_is_the_papers():
    variables = jax.eval_shape(by_name('resnet18', (32, 32, 3), 10).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == 11_173_962


@pytest.mark.parametrize('shape, side, features', [
    ((8, 8, 1), 2, 32), ((16, 16, 3), 2, 32), ((28, 28, 1), 4, 32), ((32, 32, 3), 4, 32),
    ((64, 64, 3), 8, 4 * 32)])
def test_the_last_pool_fits_the_image(shape, side, features):
    net = model(ResNet(7, width=4), shape)
    out = jax.eval_shape(net.apply, jax.eval_shape(net.init, jax.random.key(0)), jnp.zeros((3, *shape)))
    assert out.maps.shape == (3, side ** 2, 32)
    assert out.features.shape == (3, features) and out.logits.shape == (3, 7)


def test_features_are_pooled_maps(weights):
    net = model(ResNet(3, stage_sizes=(1, 1), width=4), (16, 16, 1))
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    out = jax.jit(net.apply)(weights(net), images)
    blocks = out.maps.reshape(2, 2, 4, 2, 4, 8).mean((2, 4))
    np.testing.assert_allclose(out.features, blocks.reshape(2, -1), rtol=1e-5)


@pytest.mark.parametrize('norm', ['instance', 'batch'])
def test_the_smallest_images_still_reach_the_logits(norm, weights):
    net = model(ResNet(3, stage_sizes=(1, 1, 1, 1), width=2, norm=norm), (8, 8, 1), batch_statistics=True)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    out = jax.jit(net.apply)(weights(net), images)
    assert np.abs(out.logits[0] - out.logits[1]).max() > 1e-3


def test_deeper_networks_have_more_blocks():
    net = model(ResNet(3, stage_sizes=(1, 2, 3), width=2, norm='batch'), (8, 8, 1))
    variables = jax.eval_shape(net.init, jax.random.key(0))
    blocks = [name for name in variables.params if name.startswith('stage')]
    assert sorted(blocks) == ['stage0_block0', 'stage1_block0', 'stage1_block1',
                              'stage2_block0', 'stage2_block1', 'stage2_block2']


def test_only_blocks_that_change_shape_project_the_shortcut():
    params = jax.eval_shape(model(ResNet(3, width=2), (8, 8, 1)).init, jax.random.key(0)).params
    projected = [name for name, block in params.items() if 'shortcut_conv' in block]
    assert sorted(projected) == ['stage1_block0', 'stage2_block0', 'stage3_block0']


def test_only_two_norms_exist():
    with pytest.raises(ValueError, match="unknown ResNet norm 'layer'; valid: batch, instance"):
        model(ResNet(3, norm='layer'), (8, 8, 1))


@pytest.mark.parametrize('shape, side', [((8, 8, 1), 2), ((15, 15, 3), 3), ((28, 28, 1), 3), ((32, 32, 3), 4),
                                         ((64, 64, 3), 8)])
def test_average_pools_halve_the_map_and_nothing_pools_it_at_the_end(shape, side, weights):
    net = model(ResNet(3, width=2, norm='batch', downsampling='average_pool'), shape, batch_statistics=True)
    out = jax.jit(net.apply)(weights(net), jax.random.normal(jax.random.key(1), (2, *shape)))
    assert out.maps.shape == (2, side ** 2, 16)
    np.testing.assert_allclose(out.features, out.maps.reshape(2, -1), rtol=1e-5, atol=1e-6)
    assert np.abs(out.logits[0] - out.logits[1]).max() > 1e-3


def test_both_downsamplings_have_the_same_body():
    nets = (model(ResNet(3, width=2, downsampling=how), (8, 8, 1)) for how in ('stride', 'average_pool'))
    stride, pool = (jax.eval_shape(net.init, jax.random.key(0)) for net in nets)
    for variables in (stride, pool):
        variables.params.pop('classifier')
    assert stride == pool


def test_only_two_downsamplings_exist():
    with pytest.raises(ValueError, match="unknown ResNet downsampling 'max_pool'; valid: average_pool, s"):
        model(ResNet(3, downsampling='max_pool'), (8, 8, 1))
