"""Reproducible numbers and weights of the references, and torch's layout against ours.

Torch: images NCHW, convolutions OIHW, linear (out, in) after flattening C, H, W. Ours: NHWC, HWIO, (in, out)
after flattening H, W, C. Everything here is numpy in float64 unless the input is of another type.
"""
import ast
import math

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxdd.types import Variables


def hash_u(t, size):
    """SplitMix64 of the flat index: `size` numbers in [0, 1), another sequence for each tensor index t."""
    with np.errstate(over='ignore'):
        z = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = z + np.uint64(t) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z = z ^ z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.0 ** -53


def data(t, shape):
    """Unit-variance numbers in C order of `shape` (a torch shape, where the reference has one)."""
    return np.sqrt(3) * (2 * hash_u(t, math.prod(shape)) - 1).reshape(shape)


def hash_weights(names, shapes):
    """Weights of a reference network: {torch name: array in torch layout}.

    Args:
        names, shapes: parameters and buffers in torch's state order; shapes as tuples or their text.
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


def convnet(weights):
    """{torch name: array} of a ConvNet -> `Variables` of ours; gradients convert the same way."""
    layers, block = {}, -1
    for layer in dict.fromkeys(name.rsplit('.', 1)[0] for name in weights):
        if layer == 'classifier':
            layers[layer] = layer
        elif weights[layer + '.weight'].ndim == 4:
            block += 1
            layers[layer] = f'conv{block}'
        else:
            layers[layer] = f'norm{block}'
    return _variables(weights, layers, channels=len(weights['features.0.weight']))


def resnet(weights):
    """{torch name: array} of a small-image ResNet of basic blocks -> `Variables` of ours."""
    layers = {layer: _resnet_layer(layer) for layer in (name.rsplit('.', 1)[0] for name in weights)}
    kernels = [value for value in weights.values() if value.ndim == 4]
    return _variables(weights, layers, channels=len(kernels[-1]))


def _resnet_layer(layer):
    stem = {'conv1': 'conv', 'bn1': 'norm'}
    if layer in stem:
        return stem[layer]
    if not layer.startswith('layer'):
        return 'classifier'
    stage, block, *inner = layer.split('.')
    names = {'conv1': 'layer0_conv', 'bn1': 'layer0_norm', 'conv2': 'layer1_conv', 'bn2': 'layer1_norm',
             'shortcut.0': 'shortcut_conv', 'shortcut.1': 'shortcut_norm'}
    return f'stage{int(stage[5:]) - 1}_block{block}/{names[".".join(inner)]}'


def _variables(weights, layers, channels):
    params, batch_stats = {}, {}
    for name, value in weights.items():
        layer, kind = name.rsplit('.', 1)
        path = layers[layer]
        if kind.startswith('running'):
            batch_stats.setdefault(path, {})[kind[len('running_'):]] = jnp.asarray(value)
        else:
            leaf = _leaf(kind, weights[layer + '.weight'])
            params[*path.split('/'), leaf] = _flax_array(value, channels)
    return Variables(unflatten_dict(params), batch_stats,
                     age=jnp.zeros((), jnp.int32), accuracy=jnp.zeros((), jnp.float32))


def _leaf(kind, weight):
    return 'bias' if kind == 'bias' else 'kernel' if weight.ndim in (2, 4) else 'scale'


def _flax_array(value, channels):
    if value.ndim == 4:
        value = np.transpose(value, (2, 3, 1, 0))
    elif value.ndim == 3:
        value = np.transpose(value, (1, 2, 0))
    elif value.ndim == 2:
        value = flat_hwc(value, channels).T
    return jnp.asarray(value)
