"""The reference networks: outputs of the papers' code on procedural weights and images."""

import collections

import jax
import numpy as np
import pytest
import torch_layout

Case = collections.namedtuple('Case', 'weights images logits embed')
INPUTS = {
    'x32': (1600, (2, 3, 32, 32)),
    'x28': (1601, (2, 1, 28, 28)),
    'x64': (1602, (2, 3, 64, 64)),
}


@pytest.fixture
def case(reference):
    """case(name, 'x32' | 'x28' | 'x64') -> torch weights, images NHWC,
    torch logits and features or None."""
    nets = reference('iid_nets')

    def load(name, images):
        weights = torch_layout.hash_weights(nets[f'{name}_names'], nets[f'{name}_shapes'])
        x = torch_layout.data(*INPUTS[images])
        return Case(
            weights, torch_layout.nhwc(x), nets[f'{name}_logits'], nets.get(f'{name}_embed')
        )

    return load


@pytest.fixture
def weights():
    """weights(model) -> `Variables` of small random numbers,
    without compiling the model's own init."""

    def draw(net, seed=0):
        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(net.init, jax.random.key(0))
        drawn = jax.tree.map(
            lambda s: rng.uniform(-0.5, 0.5, s.shape).astype(s.dtype), shapes.params
        )
        rest = jax.tree.map(
            lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes._replace(params={})
        )
        return rest._replace(params=drawn)

    return draw
