"""Encoders with batch norm: every method's step traces, and its state keeps its shape."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxdd import augment, data, losses, models, optimizers
from jaxdd.engine.distill import init_state, make_step
from jaxdd.labels import relabel
from jaxdd.methods import dc, dm, idc, idm
from jaxdd.types import Recipe

DATASET = data.fake()
NETWORK = functools.partial(models.by_name, 'convnet_bn', (8, 8, 3), 3, width=4, depth=1)
TESTED, TRAINED = NETWORK(), NETWORK(batch_statistics=True)
SIAMESE = augment.shared('flip_scale')
RECIPE = Recipe(
    optimizers.sgd(0.01, momentum=0.9, weight_decay=5e-4), 2, 4, losses.soft_cross_entropy
)
OPTIMIZER = optax.sgd(0.1, momentum=0.5)
METHODS = {
    'dm': lambda: dm(TRAINED, augment=SIAMESE),
    'dc': lambda: dc(
        TESTED,
        RECIPE,
        augment=SIAMESE,
        supervision=relabel.hard(SIAMESE),
        every=3,
        training=TRAINED,
    ),
    'idm': lambda: idm(
        TESTED, RECIPE, augment=SIAMESE, ce_weight=0.5, max_size=4, push_every=2, training=TRAINED
    ),
    'idc': lambda: idc(
        TESTED,
        RECIPE,
        augment=SIAMESE,
        box=(DATASET.spec.mean, DATASET.spec.std),
        every=2,
        train_augment=SIAMESE,
        mix=augment.cutmix,
        training=TRAINED,
    ),
}
KEEPS = ('dc', 'idm', 'idc')  # those whose networks live in the state


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.fixture(scope='module', params=METHODS)
def traced(request):
    """(name, state before, shapes of (state, metrics) after one step)."""
    method = METHODS[request.param]()
    ipc = 4 if request.param in ('idm', 'idc') else 1
    initial = data.real_subset(jax.random.key(0), DATASET.train, DATASET.spec, ipc=ipc)
    feed = data.with_minibatches(
        data.stratified(DATASET.train, DATASET.spec, per_class=8),
        DATASET.train,
        DATASET.spec,
        num_batches=4,
        batch_size=4,
    )
    state = init_state(jax.random.key(1), method, OPTIMIZER, initial)
    inputs = jax.eval_shape(lambda: feed(jax.random.key(2), jnp.int32(0)))
    return request.param, state, jax.eval_shape(make_step(method, OPTIMIZER), state, inputs)


def test_a_step_keeps_every_shape(traced):
    _, before, (after, metrics) = traced
    assert shapes(after) == shapes(before)
    assert metrics['loss/total'].shape == ()


def test_running_moments_are_kept_with_the_networks(traced):
    name, before, _ = traced
    kept = [
        path
        for path, leaf in jax.tree_util.tree_leaves_with_path(before.networks)
        if any('batch_stats' in str(part) for part in path)
    ]
    assert bool(kept) == (name in KEEPS)


def test_every_network_looks_at_its_own_moments():
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    variables = TESTED.init(jax.random.key(1))
    assert variables.batch_stats
    logits = [jax.jit(model.apply)(variables, images).logits for model in (TESTED, TRAINED)]
    assert not jnp.allclose(*logits)
