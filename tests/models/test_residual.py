"""Residual blocks; against torch in test_resnet.py and test_torch_weights.py."""

import jax
import jax.numpy as jnp

from jaxdd.models.residual import EXPANSION, ResidualBlock

OPTIONS = {'norm': 'batch', 'batch_statistics': False, 'dtype': None}


def test_shapes_and_shortcuts_of_both_kinds():
    x = jnp.ones((2, 8, 8, 4))
    for kind, channels in (('basic', 4), ('bottleneck', 4 * EXPANSION)):
        for stride in (1, 2):
            block = ResidualBlock(4, stride, **OPTIONS, block=kind)
            out, variables = block.init_with_output(jax.random.key(0), x)
            assert out.shape == (2, 8 // stride, 8 // stride, channels) and float(out.min()) >= 0
            assert ('shortcut_conv' in variables['params']) == (stride == 2 or channels != 4)
