"""Under the guard against transfers every feed sends only what it means to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import data, feeds, parallel
from jaxdd.bound import bind
from jaxdd.engine import loop
from jaxdd.types import Source


class State(NamedTuple):
    step: jax.Array
    key: jax.Array
    value: jax.Array


def source():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3, dtype=np.int32), (5, 6, 4))
    return Source(rng.integers(0, 256, (15, 4, 4, 1), np.uint8), labels)


SPEC = data.Spec('made', (0.5,), (0.25,), 3, (4, 4, 1), None, None, 'train', 'test', False)
FEEDS = {
    'real images': lambda s: data.stratified(s, SPEC, per_class=5),
    'real images of the host': lambda s: data.streamed(s, SPEC, per_class=5),
    'mini-batches beside': lambda s: data.with_minibatches(
        data.streamed(s, SPEC, per_class=5), s, SPEC, num_batches=2, batch_size=4
    ),
    'an epoch': lambda s: data.epochs(s, SPEC, batch_size=4),
    'an epoch of the host': lambda s: data.epochs_stream(s, SPEC, batch_size=4),
}


def step(state, inputs):
    total = sum(jnp.sum(jnp.float32(x)) for x in jax.tree.leaves(inputs))
    return state._replace(step=state.step + 1, value=state.value + total), {'total': total}


def noted(inputs, key, at):
    del key
    return inputs, at


@pytest.mark.parametrize('devices', [1, 8])
@pytest.mark.parametrize('name', FEEDS)
def test_nothing_moves_unasked(name, devices):
    mesh = parallel.mesh(devices) if devices > 1 else None
    with parallel.use(mesh), loop.guarded('disallow'):
        feed = feeds.transform(FEEDS[name](source()), bind(noted))
        state = State(jnp.int32(0), jax.random.key(0), jnp.float32(0))
        done = loop.run(step, state, feed, num_steps=4, steps_per_call=2)
    assert int(done.step) == 4
