import jax
import jax.numpy as jnp
import pytest
import torch as pytorch
from torch.nn import functional
from torch_teachers import Torch

from jaxdd.models import ShuffleNetV2, by_name, model


def fresh(net):
    return jax.eval_shape(net.init, jax.random.key(0))


# torchvision's 2,278,604 with 1000 classes
@pytest.mark.parametrize('num_classes, count', [(10, 1_263_854), (1000, 2_278_604)])
def test_parameter_counts_are_the_papers(num_classes, count):
    variables = fresh(by_name('shufflenetv2', (32, 32, 3), num_classes))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == count
    assert len(variables.batch_stats) == 56


def test_layers_sort_in_the_order_of_the_network():
    paths = sorted(fresh(by_name('shufflenetv2', (32, 32, 3), 10)).batch_stats)
    block = ['layer0', 'layer1', 'layer2']
    expected = [
        f'stage{stage}_block{i}/{layer}_norm'
        for stage, blocks in enumerate((4, 8, 4))
        for i in range(blocks)
        for layer in (['kept0', 'kept1'] if i == 0 else []) + block
    ]
    assert paths == ['norm', *expected, 'tail_norm']


def torchvisions(torch, x):
    x = functional.relu(torch.norm(torch.conv(x, 'conv1.0'), 'conv1.1'))
    for stage, blocks in ((2, 4), (3, 8), (4, 4)):
        for block in range(blocks):
            name, stride = f'stage{stage}.{block}', 2 if block == 0 else 1
            kept, y = (x, x) if stride == 2 else x.chunk(2, 1)
            if stride == 2:
                kept = torch.norm(
                    torch.conv(kept, f'{name}.branch1.0', 2, kept.shape[1]), f'{name}.branch1.1'
                )
                kept = functional.relu(
                    torch.norm(torch.conv(kept, f'{name}.branch1.2'), f'{name}.branch1.3')
                )
            y = functional.relu(torch.norm(torch.conv(y, f'{name}.branch2.0'), f'{name}.branch2.1'))
            y = torch.norm(
                torch.conv(y, f'{name}.branch2.3', stride, y.shape[1]), f'{name}.branch2.4'
            )
            y = functional.relu(torch.norm(torch.conv(y, f'{name}.branch2.5'), f'{name}.branch2.6'))
            x = functional.channel_shuffle(pytorch.cat((kept, y), 1), 2)
    x = functional.relu(torch.norm(torch.conv(x, 'conv5.0'), 'conv5.1'))
    return torch.linear(x.mean((2, 3)), 'fc')


def test_torchvisions_layers_behind_the_small_stem():
    module = ShuffleNetV2(5, width=4)
    Torch(module).check(torchvisions, module, model(module, (16, 16, 3)), side=16)


@pytest.mark.parametrize('side, left', [(32, 4), (1, 1), (20, 3)])
def test_sides_are_divided_and_rounded_up(side, left):
    net = model(ShuffleNetV2(3, width=3), (side, side, 3))
    out = jax.eval_shape(
        net.apply, fresh(net), jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    )
    assert out.maps.shape == (2, left**2, 128) and out.features.shape == (2, 128)
