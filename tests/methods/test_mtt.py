"""MTT and DATM as methods: what moves, at which rate, and when nothing does."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd import augment, models
from jaxdd.engine import loop
from jaxdd.engine.distill import init_state, make_step
from jaxdd.methods import Unroll, datm, mtt
from jaxdd.types import Expert, Inputs, SyntheticSet

NET = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
EXPERT = Expert(*(NET.init(jax.random.key(seed)).params for seed in (2, 3)))
IMAGES = jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 3))
HARD = jnp.repeat(jnp.eye(3)[:, None], 2, axis=1)
RATES = optax.partition(
    {'images': optax.sgd(10.0), 'learning_rate': optax.sgd(0.5), 'labels': optax.sgd(3.0)},
    {'images': 'images', 'learning_rate': 'learning_rate', 'labels': 'labels'},
)
MTT_RATES = optax.partition(
    {'images': optax.sgd(10.0), 'learning_rate': optax.sgd(0.5)},
    {'images': 'images', 'learning_rate': 'learning_rate'},
)


def preset(make, **how):
    return make(NET, augment=augment.identity(), unroll=Unroll(2), learning_rate=0.05, **how)


def step(method, optimizer, labels=HARD):
    state = init_state(jax.random.key(1), method, optimizer, SyntheticSet(IMAGES, labels))
    return state, *jax.jit(make_step(method, optimizer))(state, Inputs(expert=EXPERT))


def test_a_step_moves_images_and_rate_and_reports_the_rate():
    before, after, metrics = step(preset(mtt), MTT_RATES)
    assert set(metrics) == {'loss/mtt', 'loss/total', 'images/max_abs', loop.RATE}
    assert before.params['learning_rate'] == np.float32(0.05) != after.params['learning_rate']
    assert metrics[loop.RATE] == after.params['learning_rate']
    assert np.abs(after.params['images'] - before.params['images']).max((2, 3, 4)).min() > 0
    np.testing.assert_allclose(metrics['images/max_abs'], np.abs(after.params['images']).max())


def test_datm_moves_the_labels_too():
    before, after, metrics = step(preset(datm), RATES, labels=2 * HARD)
    np.testing.assert_array_equal(before.params['labels'], 2 * HARD)
    assert np.abs(after.params['labels'] - before.params['labels']).max((1, 2)).min() > 0
    shown = preset(datm).parametrization.decode(after.params, after.fixed)
    np.testing.assert_allclose(shown.labels.sum(-1), 1, rtol=1e-6)
    assert 'accepted' not in metrics


@pytest.mark.parametrize('threshold, moves', [(0.5, False), (2.0, True)])
def test_a_step_above_the_threshold_moves_nothing(threshold, moves):
    optimizer = optax.sgd(1.0, momentum=0.9)
    before, after, metrics = step(preset(datm, threshold=threshold), optimizer, labels=2 * HARD)
    assert 0.5 < metrics['loss/datm'] < 2 and metrics['accepted'] == moves
    for old, new in zip(
        jax.tree.leaves((before.params, before.opt_state)),
        jax.tree.leaves((after.params, after.opt_state)),
    ):
        assert np.array_equal(old, new) == (not moves)
    assert after.step == 1


def test_the_preset():
    method = preset(mtt)
    assert (method.classes, method.models, method.accepts) == ('joint', {'encoder': NET}, None)
    sampled, _ = method.networks.sample((), jax.random.key(0), Inputs(expert=EXPERT))
    assert sampled.params is EXPERT.start
    assert method.networks.sample((), jax.random.key(0), Inputs())[0] is None


@pytest.mark.parametrize('make', [mtt, datm])
@pytest.mark.parametrize('rate', [0.0, -1.0, float('nan')])
def test_a_rate_that_teaches_nothing_is_refused(make, rate):
    with pytest.raises(ValueError, match='learning rate must start above 0, got'):
        make(NET, augment=augment.identity(), unroll=Unroll(1), learning_rate=rate)


def test_a_threshold_of_zero_is_refused():
    with pytest.raises(ValueError, match='threshold must be above 0, got 0.0'):
        preset(datm, threshold=0.0)


def test_a_rate_that_falls_below_zero_stops_the_run_at_its_step():
    method = preset(mtt)
    lowered = optax.stateless(lambda rate, _: jax.tree.map(lambda r: r * 0 - 0.02, rate))
    optimizer = optax.partition(
        {'images': optax.sgd(0.0), 'learning_rate': lowered},
        {'images': 'images', 'learning_rate': 'learning_rate'},
    )
    seen = []
    state = init_state(jax.random.key(1), method, optimizer, SyntheticSet(IMAGES, HARD))
    feed = jax.tree_util.Partial(lambda expert, key, step: Inputs(expert=expert), EXPERT)
    with pytest.raises(loop.NonFiniteError, match=r'learning_rate is -0.0\d* at step 3'):
        loop.run(
            make_step(method, optimizer), state, feed, num_steps=5,
            callbacks=[loop.Callback(1, lambda state, at, metrics: seen.append(at))],
        )  # fmt: skip
    assert seen == [1, 2]
