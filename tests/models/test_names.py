"""What a network's name says of it, and what it leaves to choose."""

import jax
import numpy as np
import pytest

from jaxdd.models import NAMES, by_name, default_depth, fixed, has_depth, open_options

SHAPE = (8, 8, 1)


def small(name, **options):
    return by_name(name, SHAPE, 5, width=8, **options)


def test_a_name_says_width_depth_activation_and_pooling():
    wide = jax.eval_shape(by_name('convnet_w64', (32, 32, 3), 5).init, jax.random.key(0)).params
    assert wide['conv0']['kernel'].shape == (3, 3, 3, 64)
    flat = jax.eval_shape(by_name('convnet_d1', (32, 32, 3), 5).init, jax.random.key(0)).params
    assert 'conv1' not in flat and flat['classifier']['kernel'].shape[0] == 128 * 16 * 16
    x = jax.random.normal(jax.random.key(0), (4, *SHAPE))
    variables = small('convnet').init(jax.random.key(0))
    for name, option in {
        'convnet_as': {'activation': 'sigmoid'},
        'convnet_al': {'activation': 'leaky_relu'},
        'convnet_aswish': {'activation': 'swish'},
        'convnet_mp': {'pooling': 'max'},
    }.items():
        np.testing.assert_array_equal(
            small(name).apply(variables, x).logits,
            small('convnet', **option).apply(variables, x).logits,
        )


@pytest.mark.parametrize(
    'name, option, value, own',
    [
        ('convnet_d2', 'depth', 3, '2'),
        ('convnet_w32', 'width', 8, '32'),
        ('convnet_np', 'pooling', 'avg', 'none'),
    ],
)
def test_what_the_name_says_is_not_changed(name, option, value, own):
    with pytest.raises(ValueError, match=f'{name} has {option} {own} by its name, got {value!r}'):
        by_name(name, SHAPE, 5, **{option: value})


@pytest.mark.parametrize(
    'name, opened, said',
    [
        ('convnet', {'width', 'depth', 'norm', 'activation', 'pooling'}, {}),
        ('convnet_bn', {'width', 'depth', 'activation', 'pooling'}, {}),
        ('convnet_w64', {'depth', 'norm', 'activation', 'pooling'}, {'width': 64}),
        ('convnet_d2', {'width', 'norm', 'activation', 'pooling'}, {'depth': 2}),
        ('convnet_np', {'width', 'depth', 'norm', 'activation'}, {'pooling': 'none'}),
        ('resnet18', {'width'}, {}),
        ('mlp', {'width'}, {}),
    ],
)
def test_what_a_name_leaves_open(name, opened, said):
    assert open_options(name) == opened and fixed(name) == said
    assert has_depth(name) == ('depth' in opened)


@pytest.mark.parametrize('layers, blocks', [(18, 8), (34, 16), (50, 16), (101, 33), (152, 50)])
def test_residual_networks_have_as_many_blocks_as_their_name_says(layers, blocks):
    per_block = 2 if layers < 50 else 3
    assert layers == per_block * blocks + 2  # the stem and the head
    for name in (f'resnet{layers}_stem3', f'resnet{layers}_stem7'):
        assert sum(fixed(name)['stage_sizes']) == blocks and NAMES[name][1] == 'batch'


@pytest.mark.parametrize('layers', [13, 16, 19])
def test_vggs_have_as_many_layers_as_their_name_says(layers):
    # three dense layers of the paper's are one here
    assert sum(map(len, fixed(f'vgg{layers}')['stages'])) == layers - 3


def test_a_convnet_without_pools_is_three_blocks_deep_on_small_images_too():
    assert default_depth(SHAPE) == 2 and default_depth(SHAPE, 'none') == 3
    params = jax.eval_shape(small('convnet_np').init, jax.random.key(0)).params
    assert {'conv0', 'conv1', 'conv2'} <= set(params)
