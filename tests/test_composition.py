"""Every method with every combination of plug-ins:
they compile once, compose linearly, and run anywhere alike.

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

from jaxdd import augment, data, feeds, losses, models, optimizers, parallel
from jaxdd.engine import fit, loop
from jaxdd.engine.distill import init_state, make_gradient, make_step
from jaxdd.labels import relabel
from jaxdd.methods import Unroll, datm, dc, dm, idc, idm, infer, mtt, sre2l
from jaxdd.networks import Growth, pools
from jaxdd.regularizers import cc, cm, cmi
from jaxdd.terms import at_every, regularize
from jaxdd.types import Expert, Method, Recipe

NET = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
TEACHER = models.by_name('convnet_bn', (8, 8, 3), 3, width=4, depth=1)
DATASET = data.fake()
OPTIMIZER = optax.sgd(0.1, momentum=0.5)
REGULARIZERS = {
    'cc': (0.05, cc()),
    'cm': (0.01, cm()),
    'cmi': (10.0, cmi()),
    'cm-row': (0.01, cm(descriptor='channel-row')),
    'cmi-rare': (10.0, at_every(cmi(), 2)),
}

SIAMESE, EACH = augment.shared('flip_scale'), augment.independent('flip_scale')
TWICE = Recipe(
    optimizers.sgd(0.01, momentum=0.9, weight_decay=5e-4), 2, 4, losses.soft_cross_entropy
)


def idc_variant(**options):
    return idc(
        NET,
        TWICE,
        augment=SIAMESE,
        box=(DATASET.spec.mean, DATASET.spec.std),
        every=2,
        train_augment=EACH,
        mix=augment.cutmix,
        max_synthetic=5,
        **options,
    )


METHODS = {
    'dm': lambda: dm(NET, augment=SIAMESE),
    'dc': lambda: dc(
        NET,
        TWICE,
        augment=augment.identity(),
        supervision=relabel.hard(augment.identity()),
        every=3,
    ),
    'dsa': lambda: dc(NET, TWICE, augment=SIAMESE, supervision=relabel.hard(EACH), every=2),
    'idm': lambda: idm(NET, TWICE, augment=SIAMESE, ce_weight=0.5, max_size=4, push_every=2),
    'idc': lambda: idc_variant(),
    # variants of objectives that the authors' programs offer
    'idc-features': lambda: idc_variant(distance='features', form='multi'),
    'idc-step': lambda: idc_variant(subset='step', clip_every=3, distance=losses.layerwise_l1),
    'idm-easiest': lambda: idm(
        NET,
        TWICE,
        augment=SIAMESE,
        ce_weight=0.5,
        max_size=4,
        push_every=2,
        growth=Growth(push_count=2, train_every=2),
        easiest=4,
        only_misclassified=True,
    ),
    'sre2l': lambda: sre2l(
        TEACHER,
        augment=augment.recovery(jitter=1, crop=True),
        box=(DATASET.spec.mean, DATASET.spec.std),
    ),
    # else nothing else is seen
    'infer': lambda: infer(TEACHER, augment=augment.recovery(jitter=1), bn_weight=0.01),
    'mtt': lambda: mtt(NET, augment=EACH, unroll=Unroll(2, 12), learning_rate=0.1),
    'datm': lambda: datm(NET, augment=EACH, unroll=Unroll(2), learning_rate=0.1, threshold=2.0),
}
# real images that fill one stored image; or enough to divide
STORED = {name: 4 for name in METHODS if name not in ('dm', 'dc', 'dsa')}
TERM = {
    'dsa': 'dc',
    'idc-features': 'idc',
    'idc-step': 'idc',
    'idm-easiest': 'idm',
}  # the objective's name in the metrics, if not the method's
# what it reports beside
EXTRA = {
    'idm': {'loss/cross_entropy'},
    'idm-easiest': {'loss/cross_entropy'},
    'sre2l': {'loss/ce', 'loss/bn'},
    'infer': {'loss/ce', 'loss/bn'},
    'mtt': {'learning_rate'},
    'datm': {'learning_rate', 'accepted'},
}
PLUGINS = [
    (),
    ('cc',),
    ('cm',),
    ('cmi',),
    ('cc', 'cm'),
    ('cm-row', 'cmi-rare'),
    ('cc', 'cm', 'cmi'),
]
VARIANTS = ('idc-features', 'idc-step', 'idm-easiest')


def pairs(of, *, rarely=('dc', 'datm')):
    """Every method with every one of these combinations; by default DM alone and with each;
    others with all.

    Args:
        rarely: methods that are left to `make test-long`.
    """

    rarely = (*rarely, *VARIANTS)

    def marks(name, plugins):
        usual = name == 'dm' and len(plugins) < 2 or name not in rarely and plugins == PLUGINS[-1]
        return () if usual else pytest.mark.long

    return pytest.mark.parametrize(
        'name, plugins',
        [
            pytest.param(
                name,
                plugins,
                id=f'{name}-{"+".join(plugins) or "alone"}',
                marks=marks(name, plugins),
            )
            for name in METHODS
            for plugins in of
        ],
    )


every_pair, every_plugged_pair = pairs(PLUGINS), pairs(PLUGINS[1:])
# the unrolled student compiles twice as long as other steps
every_short_pair = pairs(PLUGINS[1:], rarely=('dc', 'datm', 'mtt'))
every_pair_on_devices = pairs(PLUGINS, rarely=('dc', 'dsa', 'idc', 'mtt'))  # these two take 20 s


class Run(NamedTuple):
    method: Method
    step: loop.Step
    traces: list


def plugged(name, plugins, scale=1.0):
    """A method with its plug-ins at `scale` times their usual weights;
    a function of the step stays one."""

    def scaled(weight):
        return (lambda step: scale(step) * weight) if callable(scale) else scale * weight

    return regularize(
        METHODS[name](),
        {plugin: (scaled(REGULARIZERS[plugin][0]), REGULARIZERS[plugin][1]) for plugin in plugins},
        models={'proxy': NET},
    )


@functools.cache
def prepared(name, plugins):
    """One step function per pair, so that all tests on one device share one compilation."""
    method, traces = plugged(name, plugins), []
    step = make_step(method, OPTIMIZER)

    def counted(state, inputs):
        traces.append(1)
        return step(state, inputs)

    return Run(method, counted, traces)


@functools.cache
def expert():
    """The way of a network in twenty updates on real images."""
    recipe = Recipe(optimizers.sgd(0.1), 20, 32, losses.soft_cross_entropy)
    sample = data.epochs(DATASET.train, DATASET.spec, batch_size=recipe.batch_size)
    start = fit.init_fit(jax.random.key(8), NET, recipe).variables
    end = jax.jit(lambda: fit.fit(jax.random.key(8), NET, sample, recipe))()
    return jax.tree.map(np.asarray, Expert(start.params, end.params))


def with_expert(expert, inputs, key, step):
    return inputs._replace(expert=expert)


def make_feed():
    real = data.stratified(DATASET.train, DATASET.spec, per_class=8)
    real = data.with_minibatches(real, DATASET.train, DATASET.spec, num_batches=4, batch_size=4)
    # others bring their own
    real = pools.attach(real, 'encoder', [TEACHER.init(jax.random.key(7))])
    real = feeds.transform(real, with_expert, expert())
    return pools.attach(real, 'proxy', [NET.init(jax.random.key(seed)) for seed in (5, 6)])


feed = functools.cache(make_feed)  # on one device; a feed built again compiles again


def start(name, method=None):
    method = method or METHODS[name]()
    initial = data.real_subset(
        jax.random.key(0), DATASET.train, DATASET.spec, ipc=2 * STORED.get(name, 1)
    )
    return init_state(jax.random.key(1), method, OPTIMIZER, initial)


def run(step, state, num_steps, callbacks=()):
    return loop.run(step, state, feed(), num_steps=num_steps, callbacks=callbacks)


def stored(params):
    """What the optimiser moves of the pictures: images, or compensators."""
    return params['images'] if 'images' in params else params['compensators']


def gradient_of_first_step(state):
    return stored(state.opt_state[0].trace)  # momentum begins as the gradient


def plain(state):
    """The state with its keys as numbers, for comparison."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, state)


def is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def through_the_host(leaf):
    """As a checkpoint goes."""
    if is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(np.array(jax.random.key_data(leaf))))
    return jnp.asarray(np.array(leaf))


def close(actual, expected, tolerance):
    """To a tolerance relative to the largest entry."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@every_pair
def test_steps_are_finite_report_every_term_and_move_every_image(name, plugins):
    history = []
    method, step, _ = prepared(name, plugins)
    before = np.asarray(stored(start(name, method).params))
    after = run(
        step,
        start(name, method),
        2,
        [loop.Callback(1, lambda state, done, metrics: history.append(metrics))],
    )
    assert [set(metrics) for metrics in history] == 2 * [
        {
            'images/max_abs',
            *EXTRA.get(name, ()),
            *(f'loss/{term}' for term in (TERM.get(name, name), 'total', *plugins)),
        }
    ]
    for metrics in history:
        weighted = sum(REGULARIZERS[plugin][0] * metrics[f'loss/{plugin}'] for plugin in plugins)
        np.testing.assert_allclose(
            metrics['loss/total'], metrics[f'loss/{TERM.get(name, name)}'] + weighted, rtol=1e-5
        )
    assert np.isfinite(stored(after.params)).all()
    assert np.abs(stored(after.params) - before).max(axis=(-3, -2, -1)).min() > 1e-6


@every_pair
def test_one_trace_serves_every_call(name, plugins):
    method, step, traces = prepared(name, plugins)
    state = run(step, start(name, method), 2)
    run(step, state, 3)
    run(step, start(name, method), 1)
    assert len(traces) == 1


@every_plugged_pair
def test_weight_zero_is_bit_for_bit_the_base(name, plugins):
    off = plugged(name, plugins, scale=0.0)
    expected = run(prepared(name, ()).step, start(name), 2)
    actual = run(make_step(off, OPTIMIZER), start(name, off), 2)
    chex.assert_trees_all_equal(plain(actual), plain(expected))


@every_short_pair
def test_the_base_sees_the_same_draws_with_and_without(name, plugins):
    losses = []
    for pair in ((), plugins):
        method, step, _ = prepared(name, pair)
        run(
            step,
            start(name, method),
            1,
            [
                loop.Callback(
                    1,
                    lambda state, done, metrics: losses.append(
                        metrics[f'loss/{TERM.get(name, name)}']
                    ),
                )
            ],
        )
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@every_short_pair
def test_the_gradient_is_linear_in_the_weights(name, plugins):
    @functools.partial(jax.jit, static_argnums=0)
    def gradient(base, scale, state, feed):
        method = METHODS[name]() if base else plugged(name, plugins, scale=lambda step: scale)
        return stored(make_gradient(method)(state, feed(loop.feed_key(state), state.step), None)[0])

    alone = gradient(True, 0.0, start(name), feed())
    none, one, three = (gradient(False, scale, start(name), feed()) for scale in (0.0, 4.0, 12.0))
    close(none, alone, 1e-5)
    assert np.abs(one - none).max() > 1e-3 * np.abs(none).max()
    close((three - none) / 3, one - none, 1e-4)


@every_pair_on_devices
def test_eight_devices_are_one(name, plugins):
    method, step, _ = prepared(name, plugins)
    expected = run(step, start(name, method), 1)
    with parallel.use(parallel.mesh(8)):
        state, inputs = parallel.replicate(start(name, method)), make_feed()
        program = loop.run_steps.lower(
            make_step(method, OPTIMIZER), 1, state, inputs, jnp.int32(1)
        ).compile()
        actual, _ = program(state, inputs, jnp.int32(1))
        assert 'all-reduce' in program.as_text()
        assert stored(actual.params).sharding.is_fully_replicated
        assert len(stored(actual.params).sharding.device_set) == 8
    close(gradient_of_first_step(actual), gradient_of_first_step(expected), 1e-5)
    np.testing.assert_allclose(stored(actual.params), stored(expected.params), atol=1e-5)


@functools.cache
def after(name, devices, num_steps):
    """The pictures of a method after so many steps, five at a time, on so many devices."""
    method = METHODS[name]()
    with parallel.use(parallel.mesh(devices)):
        state = loop.run(
            make_step(method, OPTIMIZER),
            start(name, method),
            make_feed(),
            num_steps=num_steps,
            steps_per_call=5,
        )
    return np.asarray(stored(state.params))


@pytest.mark.long
@pytest.mark.parametrize('devices', [2, 4, 8])
@pytest.mark.parametrize('name', METHODS)
def test_any_number_of_devices_makes_the_images_of_one(name, devices):
    np.testing.assert_allclose(after(name, devices, 1), after(name, 1, 1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(after(name, devices, 50), after(name, 1, 50), rtol=0, atol=1e-3)


@every_pair
def test_a_resumed_run_is_the_uninterrupted_one(name, plugins):
    method, step, _ = prepared(name, plugins)
    middle = run(step, start(name, method), 2)
    resumed = run(step, jax.tree.map(through_the_host, middle), 4)
    whole = run(step, start(name, method), 4)
    for state in (resumed, whole):
        assert state.step == 4
    chex.assert_trees_all_equal(plain(resumed), plain(whole))


def program_hash(name, plugins):
    """A fingerprint of the lowered step."""
    method = plugged(name, plugins)
    state = start(name, method)
    inputs = jax.eval_shape(lambda: make_feed()(loop.feed_key(state), state.step))
    lowered = jax.jit(make_step(method, OPTIMIZER)).lower(state, inputs)
    return hashlib.sha256(lowered.as_text().encode()).hexdigest()


@pytest.mark.long
def test_the_program_does_not_depend_on_pythons_hash_seed():
    root = pathlib.Path(__file__).parents[1]
    script = (
        'from test_composition import METHODS, PLUGINS, program_hash\n'
        'for name in METHODS: print(program_hash(name, PLUGINS[-1]))'
    )

    def process(seed):
        environment = {
            **os.environ,
            'PYTHONHASHSEED': str(seed),
            'JAX_PLATFORMS': 'cpu',
            'PYTHONPATH': os.pathsep.join(map(str, (root, root / 'tests'))),
        }
        return subprocess.Popen(
            [sys.executable, '-c', script],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    (first, error), (second, _) = [one.communicate() for one in [process(seed) for seed in (1, 2)]]
    assert len(first.split()) == len(METHODS), error
    assert first == second
