"""Reproducible numbers and weights of the references, and torch's layout against ours.

Torch: images NCHW, convolutions OIHW, linear (out, in) after flattening C, H, W. Ours: NHWC, HWIO,
(in, out) after flattening H, W, C. Everything here is numpy in float64 unless the input is of
another type.
"""

import ast
import math

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxdd.types import Variables


def hash_u(t, size):
    """SplitMix64 of the flat index: `size` numbers in [0, 1), another sequence for each tensor
    index t."""
    with np.errstate(over='ignore'):
        z = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = z + np.uint64(t) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z = z ^ z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.0**-53


def data(t, shape):
    """Unit-variance numbers in C order of `shape` (a torch shape, where the reference has one)."""
    return np.sqrt(3) * (2 * hash_u(t, math.prod(shape)) - 1).reshape(shape)


def hash_weights(names, shapes):
    """Weights of a reference network: {torch name: array in torch layout}.

    Args:
        names, shapes: parameters and buffers in torch's state order; shapes as tuples or their
            text.
    """
    shapes = [ast.literal_eval(s) if isinstance(s, str) else tuple(s) for s in shapes]
    table = dict(zip(map(str, names), shapes))
    return {name: _hash_tensor(t, name, table) for t, name in enumerate(table)}


def _hash_tensor(t, name, table):
    layer, kind = name.rsplit('.', 1)
    shape, weight = table[name], table[layer + '.weight']
    signed = (2 * hash_u(t, math.prod(shape)) - 1).reshape(shape)
    if kind == 'running_mean':
        return 0.1 * signed
    if kind == 'running_var':
        return 1 + 0.2 * signed
    if len(weight) in (2, 4):
        return signed / np.sqrt(math.prod(weight[1:]))
    return 1 + 0.2 * signed if kind == 'weight' else 0.2 * signed


def nhwc(x):
    """Images or maps [N, C, H, W] -> [N, H, W, C]."""
    return np.transpose(x, (0, 2, 3, 1))


def nchw(x):
    """Images or maps [N, H, W, C] -> [N, C, H, W]."""
    return np.transpose(x, (0, 3, 1, 2))


def flat_hwc(x, channels):
    """Flattened square maps [N, C*H*W] -> [N, H*W*C]."""
    side = math.isqrt(x.shape[1] // channels)
    return nhwc(x.reshape(len(x), channels, side, side)).reshape(len(x), -1)


def sequential(weights, blocks=None):
    """{torch name: array} of a chain of layers -> `Variables` of ours;
    gradients convert the same way.

    Args:
        weights: convolutions, each with its norm if any, then linear layers, all hidden but the
            last.
        blocks: names of convolutions and norms, e.g. ['stage0_{}0']; None = 'conv0', 'norm0',
            'conv1'...
    """
    names = list(dict.fromkeys(name.rsplit('.', 1)[0] for name in weights))
    linear = [name for name in names if weights[name + '.weight'].ndim == 2]
    layers = {name: f'dense{i}' for i, name in enumerate(linear[:-1])} | {linear[-1]: 'classifier'}
    block = -1
    for name in [name for name in names if name not in layers]:
        kind = 'conv' if weights[name + '.weight'].ndim == 4 else 'norm'
        block += kind == 'conv'
        layers[name] = (blocks[block] if blocks else f'{{}}{block}').format(kind)
    return _variables(weights, layers)


convnet = sequential


def unflattened(golden, theta):
    """{torch name: array} of one flat vector of parameters, in the order of `shape_<name>`."""
    named, at = {}, 0
    for key in [key for key in golden if key.startswith('shape_')]:
        size = math.prod(golden[key])
        named[key.removeprefix('shape_')] = theta[at : at + size].reshape(golden[key])
        at += size
    assert at == len(theta)
    return named


def vgg11(weights):
    """{torch name: array} of a VGG-11 -> `Variables` of ours."""
    return sequential(
        weights,
        [
            f'stage{stage}_{{}}{i}'
            for stage, size in enumerate((1, 1, 2, 2, 2))
            for i in range(size)
        ],
    )


def resnet(weights):
    """{torch name: array} of a small-image ResNet of basic blocks -> `Variables` of ours."""
    layers = {layer: _resnet_layer(layer) for layer in (name.rsplit('.', 1)[0] for name in weights)}
    return _variables(weights, layers)


def _resnet_layer(layer):
    stem = {'conv1': 'conv', 'bn1': 'norm'}
    if layer in stem:
        return stem[layer]
    if not layer.startswith('layer'):
        return 'classifier'
    stage, block, *inner = layer.split('.')
    names = {
        'conv1': 'layer0_conv',
        'bn1': 'layer0_norm',
        'conv2': 'layer1_conv',
        'bn2': 'layer1_norm',
        'shortcut.0': 'shortcut_conv',
        'shortcut.1': 'shortcut_norm',
        'shortcut.2': 'shortcut_norm',
    }
    return f'stage{int(stage[5:]) - 1}_block{block}/{names[".".join(inner)]}'


def _variables(weights, layers):
    # The first linear layer reads flattened maps, or flattened RGB images where nothing is
    # convolved.
    channels = [len(value) for value in weights.values() if value.ndim == 4] or [3]
    first = next(name for name, value in weights.items() if value.ndim == 2)
    params, batch_stats = {}, {}
    for name, value in weights.items():
        layer, kind = name.rsplit('.', 1)
        path = layers[layer]
        if kind.startswith('running'):
            batch_stats.setdefault(path, {})[kind[len('running_') :]] = jnp.asarray(value)
        else:
            leaf = _leaf(kind, weights[layer + '.weight'])
            value = flat_hwc(value, channels[-1]) if name == first else value
            params[*path.split('/'), leaf] = _flax_array(value)
    return Variables(
        unflatten_dict(params),
        batch_stats,
        age=jnp.zeros((), jnp.int32),
        accuracy=jnp.zeros((), jnp.float32),
    )


def _leaf(kind, weight):
    return 'bias' if kind == 'bias' else 'kernel' if weight.ndim in (2, 4) else 'scale'


def _flax_array(value):
    if value.ndim == 4:
        value = np.transpose(value, (2, 3, 1, 0))
    elif value.ndim == 3:
        value = np.transpose(value, (1, 2, 0))
    elif value.ndim == 2:
        value = value.T
    return jnp.asarray(value)
