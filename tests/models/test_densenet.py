"""DenseNet against torch's layers, its parameters against the papers'."""

import functools

import jax
import jax.numpy as jnp
import pytest
import torch as pytorch
from torch.nn import functional
from torch_teachers import Torch

from jaxdd.models import DenseNet, by_name, model


def count(name, num_classes, side):
    variables = jax.eval_shape(by_name(name, (side, side, 3), num_classes).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(variables.params))


@pytest.mark.parametrize(
    'name, num_classes, side, expected',
    [
        pytest.param('densenet121_stem7', 1000, 224, 7_978_856, marks=pytest.mark.long),
        pytest.param('densenet_bn', 10, 32, 1_000_618, marks=pytest.mark.long),
        ('densenet', 10, 32, 1_000_618),
    ],
)
def test_parameter_counts(name, num_classes, side, expected):
    assert count(name, num_classes, side) == expected


def dense(blocks, stem, torch, x):
    """torchvision's order of layers, under its names."""
    x = torch.conv(x, 'features.conv0', 1 if stem == 'small' else 2)
    if stem == 'imagenet':
        x = functional.max_pool2d(functional.relu(torch.norm(x, 'features.norm0')), 3, 2, 1)
    for i, layers in enumerate(blocks, 1):
        for j in range(1, layers + 1):
            name = f'features.denseblock{i}.denselayer{j}'
            y = torch.conv(functional.relu(torch.norm(x, f'{name}.norm1')), f'{name}.conv1')
            y = torch.conv(functional.relu(torch.norm(y, f'{name}.norm2')), f'{name}.conv2')
            x = pytorch.cat((x, y), 1)
        if i < len(blocks):
            name = f'features.transition{i}'
            x = torch.conv(functional.relu(torch.norm(x, f'{name}.norm')), f'{name}.conv')
            x = functional.avg_pool2d(x, 2)
    x = functional.relu(torch.norm(x, 'features.norm5'))
    return torch.linear(x.mean((2, 3)), 'classifier')


@pytest.mark.parametrize('stem, side', [('small', 8), ('imagenet', 32)])
def test_values_and_gradients_are_those_of_torchs_layers(stem, side, x64):
    blocks = (2, 1, 2)
    module = DenseNet(5, blocks=blocks, growth=3, stem=stem, norm='batch')
    net = model(module, (side, side, 3))
    forward = functools.partial(dense, blocks, stem)
    Torch(module).check_exactly(forward, module, net, side)


def test_features_are_the_mean_of_the_maps_and_small_images_are_refused():
    net = model(DenseNet(4, blocks=(1, 1), growth=2), (8, 8, 1))
    out = jax.eval_shape(
        net.apply,
        jax.eval_shape(net.init, jax.random.key(0)),
        jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32),
    )
    assert out.maps.shape == (2, 16, 5) and out.features.shape == (2, 5)
    with pytest.raises(ValueError, match='DenseNet is too deep for images of side 15: .* 16'):
        by_name('densenet', (15, 15, 3), 3)
    with pytest.raises(ValueError, match="unknown DenseNet stem 'large'"):
        model(DenseNet(3, stem='large'), (32, 32, 3))
