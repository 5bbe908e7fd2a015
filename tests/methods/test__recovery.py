"""The objective of recovery by hand; against the authors' code in tests/methods/test_sre2l.py and
test_infer.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.methods import _recovery
from jaxdd.types import Inputs, Moments, Observation, Outputs, Read, SyntheticSet, Variables

READ = Read('encoder', 'synthetic')
IMAGES = jnp.asarray([3.0, 4.0]).reshape(1, 1, 1, 2, 1)  # 2-norm 5
LABELS = jnp.asarray([[[1.0, 0.0]]])


def observation():
    """Even logits; the stem's mean is 2 off, the second norm's variance 3 off."""
    moments = {
        'norm': Moments(jnp.asarray([2.0]), jnp.asarray([1.0]), 2),
        'stage0': Moments(jnp.asarray([0.0]), jnp.asarray([4.0]), 2),
    }
    running = {path: {'mean': jnp.asarray([0.0]), 'var': jnp.asarray([1.0])} for path in moments}
    out = Outputs(jnp.zeros((1, 1, 2)), jnp.zeros((1, 1, 3)), jnp.zeros((1, 1, 1, 3)), moments)
    network = Variables({}, running, jnp.int32(0), jnp.float32(0))
    return Observation(
        {READ: out},
        {('synthetic', 'augmented'): IMAGES},
        SyntheticSet(IMAGES, LABELS),
        {'encoder': network},
        Inputs(),
        jnp.int32(0),
    )


@pytest.mark.parametrize(
    'weights, expected',
    [
        ({'bn_weight': 0.0}, np.log(2)),
        ({'bn_weight': 0.5}, np.log(2) + 0.5 * (10 * 2 + 3)),
        ({'bn_weight': 1.0, 'first_bn_weight': 1.0}, np.log(2) + 2 + 3),
        ({'bn_weight': 0.0, 'norm_weight': 2.0}, np.log(2) + 2 * 5),
        ({'bn_weight': 0.0, 'tv_weight': 3.0}, np.log(2) + 3 * 1),
    ],
)
def test_every_part_is_weighed_as_written(weights, expected):
    term = _recovery.objective('name', **weights)
    value, metrics = term.loss(observation(), jax.random.key(0))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(
        [metrics['loss/name'], metrics['loss/ce'], metrics['loss/bn']],
        [expected, np.log(2), 2 * weights.get('first_bn_weight', 10.0) + 3],
        rtol=1e-6,
    )
    assert term.reads == {READ}
