"""Every method with every combination of plug-ins: they compile once, compose linearly, and run anywhere alike.

A new method or plug-in adds its row to METHODS or PLUGINS and is under test.
"""
import functools
import hashlib
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd import augment, data, loop, models, parallel, pools
from jaxdd.distill import init_state, make_gradient, make_step
from jaxdd.methods import dm
from jaxdd.regularizers import cc, cm, cmi
from jaxdd.terms import regularize
from jaxdd.types import Method

NET = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
DATASET = data.fake()
OPTIMIZER = optax.sgd(1.0, momentum=0.5)
REGULARIZERS = {'cc': (0.05, cc()), 'cm': (0.01, cm()), 'cmi': (10.0, cmi())}

METHODS = {'dm': lambda: dm(NET, augment=augment.shared('flip_scale'))}
PLUGINS = [(), ('cc',), ('cm',), ('cmi',), ('cc', 'cm'), ('cc', 'cm', 'cmi')]

every_pair = pytest.mark.parametrize('name, plugins', [(name, plugins) for name in METHODS for plugins in PLUGINS],
                                     ids=lambda part: part if isinstance(part, str) else '+'.join(part) or 'alone')
every_plugged_pair = pytest.mark.parametrize('name, plugins', [(name, plugins) for name in METHODS
                                                               for plugins in PLUGINS if plugins],
                                             ids=lambda part: part if isinstance(part, str) else '+'.join(part))


class Run(NamedTuple):
    method: Method
    step: loop.Step
    traces: list


def plugged(name, plugins, scale=1.0):
    """A method with its plug-ins at `scale` times their usual weights; a function of the step stays one."""
    def scaled(weight):
        return (lambda step: scale(step) * weight) if callable(scale) else scale * weight
    return regularize(METHODS[name](), {plugin: (scaled(REGULARIZERS[plugin][0]), REGULARIZERS[plugin][1])
                                        for plugin in plugins}, models={'proxy': NET})


@functools.cache
def prepared(name, plugins):
    """One step function per pair, so that all tests on one device share one compilation."""
    method, traces = plugged(name, plugins), []
    step = make_step(method, OPTIMIZER)

    def counted(state, inputs):
        traces.append(1)
        return step(state, inputs)
    return Run(method, counted, traces)


def make_feed():
    real = data.stratified(DATASET.train, DATASET.spec, per_class=8)
    return pools.attach(real, 'proxy', [NET.init(jax.random.key(seed)) for seed in (5, 6)])


feed = functools.cache(make_feed)    # on one device; a feed built again compiles again


def start(method):
    initial = data.real_subset(jax.random.key(0), DATASET.train, DATASET.spec, ipc=2)
    return init_state(jax.random.key(1), method, OPTIMIZER, initial)


def run(step, state, num_steps, callbacks=()):
    return loop.run(step, state, feed(), num_steps=num_steps, callbacks=callbacks)


def gradient_of_first_step(state):
    return state.opt_state[0].trace['images']    # momentum begins as the gradient


def close(actual, expected, tolerance):
    """To a tolerance relative to the largest entry."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@every_pair
def test_steps_are_finite_report_every_term_and_move_every_image(name, plugins):
    history = []
    method, step, _ = prepared(name, plugins)
    before = np.asarray(start(method).params['images'])
    after = run(step, start(method), 2, [loop.Callback(1, lambda state, done, metrics: history.append(metrics))])
    assert [set(metrics) for metrics in history] == 2 * [
        {f'loss/{term}' for term in (name, 'total', *plugins)} | {'images/max_abs'}]
    for metrics in history:
        weighted = sum(REGULARIZERS[plugin][0] * metrics[f'loss/{plugin}'] for plugin in plugins)
        np.testing.assert_allclose(metrics['loss/total'], metrics[f'loss/{name}'] + weighted, rtol=1e-5)
    assert np.isfinite(after.params['images']).all()
    assert np.abs(after.params['images'] - before).max(axis=(2, 3, 4)).min() > 1e-6


@every_pair
def test_one_trace_serves_every_call(name, plugins):
    method, step, traces = prepared(name, plugins)
    state = run(step, start(method), 2)
    run(step, state, 3)
    run(step, start(method), 1)
    assert len(traces) == 1


@every_plugged_pair
def test_weight_zero_is_bit_for_bit_the_base(name, plugins):
    off = plugged(name, plugins, scale=0.0)
    expected = run(prepared(name, ()).step, start(METHODS[name]()), 2)
    actual = run(make_step(off, OPTIMIZER), start(off), 2)
    chex.assert_trees_all_equal(actual._replace(key=0), expected._replace(key=0))


@every_plugged_pair
def test_the_base_sees_the_same_draws_with_and_without(name, plugins):
    losses = []
    for pair in ((), plugins):
        method, step, _ = prepared(name, pair)
        run(step, start(method), 1,
            [loop.Callback(1, lambda state, done, metrics: losses.append(metrics[f'loss/{name}']))])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@every_plugged_pair
def test_the_gradient_is_linear_in_the_weights(name, plugins):
    @jax.jit
    def gradient(scale, state, feed):
        method = plugged(name, plugins, scale=lambda step: scale)
        return make_gradient(method)(state, feed(loop.feed_key(state), state.step), None)[0]['images']
    method = METHODS[name]()
    none, one, three = (gradient(scale, start(method), feed()) for scale in (0., 1., 3.))
    alone = gradient_of_first_step(run(prepared(name, ()).step, start(method), 1))
    close(none, alone, 1e-5)
    assert np.abs(one - none).max() > 1e-3 * np.abs(none).max()
    close((three - none) / 3, one - none, 1e-4)


@every_pair
def test_eight_devices_are_one(name, plugins):
    method, step, _ = prepared(name, plugins)
    expected = run(step, start(method), 1)
    with parallel.use(parallel.mesh(8)):
        state, inputs = parallel.replicate(start(method)), make_feed()
        program = loop.advance.lower(make_step(method, OPTIMIZER), 1, state, inputs, jnp.int32(1)).compile()
        actual, _ = program(state, inputs, jnp.int32(1))
        assert 'all-reduce' in program.as_text()
        assert actual.params['images'].sharding.is_fully_replicated
        assert len(actual.params['images'].sharding.device_set) == 8
    close(gradient_of_first_step(actual), gradient_of_first_step(expected), 1e-5)
    np.testing.assert_allclose(actual.params['images'], expected.params['images'], atol=1e-5)


@every_pair
def test_a_resumed_run_is_the_uninterrupted_one(name, plugins):
    method, step, _ = prepared(name, plugins)
    middle = run(step, start(method), 2)
    saved = middle._replace(key=jax.random.key_data(middle.key))
    loaded = jax.tree.map(jnp.asarray, jax.tree.map(np.array, saved))    # through the host, as a checkpoint goes
    resumed = run(step, loaded._replace(key=jax.random.wrap_key_data(loaded.key)), 4)
    whole = run(step, start(method), 4)
    for state in (resumed, whole):
        assert state.step == 4
    chex.assert_trees_all_equal(resumed._replace(key=0), whole._replace(key=0))


def program_hash(name, plugins):
    """A fingerprint of the lowered step."""
    method = plugged(name, plugins)
    state = start(method)
    inputs = jax.eval_shape(lambda: make_feed()(loop.feed_key(state), state.step))
    lowered = jax.jit(make_step(method, OPTIMIZER)).lower(state, inputs)
    return hashlib.sha256(lowered.as_text().encode()).hexdigest()


def test_the_program_does_not_depend_on_pythons_hash_seed():
    root = pathlib.Path(__file__).parents[1]
    script = ('from test_composition import METHODS, PLUGINS, program_hash\n'
              'for name in METHODS: print(program_hash(name, PLUGINS[-1]))')

    def process(seed):
        environment = {**os.environ, 'PYTHONHASHSEED': str(seed), 'JAX_PLATFORMS': 'cpu',
                       'PYTHONPATH': os.pathsep.join(map(str, (root, root / 'tests')))}
        return subprocess.Popen([sys.executable, '-c', script], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    (first, error), (second, _) = [one.communicate() for one in [process(seed) for seed in (1, 2)]]
    assert len(first.split()) == len(METHODS), error
    assert first == second
