"""SRe2L's recovery through the engine, against its code (references/infer_bn_recover.npz)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_layout

from jaxdd import augment, data, models
from jaxdd.augment import cropping
from jaxdd.engine.distill import init_state, make_gradient, make_step
from jaxdd.methods import sre2l
from jaxdd.types import Curriculum, Inputs, SyntheticSet

SPEC = data.spec('cifar10')
BOX = (SPEC.mean, SPEC.std)
NET = models.by_name('convnet_bn', (16, 16, 3), 10, width=8, depth=3)


def golden_network(golden):
    weights = {
        name.removeprefix('sd/'): array for name, array in golden.items() if name.startswith('sd/')
    }
    return torch_layout.convnet(weights)


def beginning(golden, dtype):
    images = jnp.asarray(torch_layout.nhwc(golden['x']), dtype)[:, None]
    return SyntheticSet(images, jnp.eye(10, dtype=dtype)[:, None])


def always(shift):
    return lambda key, images: cropping.roll(images, jnp.asarray(shift, jnp.int32))


@pytest.mark.parametrize('case', 'abc')
def test_the_objective_and_its_gradient_are_the_papers(case, precision, reference):
    golden = reference('infer_bn_recover')
    name = next(name for name in golden if name.startswith(f'{case}_cfg'))
    *shift, bn_weight, first, tv, norm = golden[name]
    method = sre2l(
        NET,
        augment=always(shift),
        box=BOX,
        bn_weight=float(bn_weight),
        first_bn_weight=float(first),
        tv_weight=float(tv),
        norm_weight=float(norm),
    )
    inputs = Inputs(
        pretrained={
            'encoder': jax.tree.map(
                lambda x: jnp.asarray(x, precision.dtype), golden_network(golden)
            )
        }
    )
    state = init_state(
        jax.random.key(0), method, optax.sgd(1.0), beginning(golden, precision.dtype)
    )
    gradient, metrics = jax.jit(make_gradient(method))(state, inputs)
    ce, bn, *_, total = golden[f'{case}_scalars']
    precision.close(metrics['loss/ce'], ce)
    precision.close(metrics['loss/sre2l'], total)
    expected = torch_layout.nhwc(golden[f'{case}_grad'])
    tolerance = 1e-9 if precision.dtype == 'float64' else 1e-4
    np.testing.assert_allclose(
        gradient['images'][:, 0], expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )
    np.testing.assert_allclose(metrics['loss/bn'], bn, rtol=tolerance)


def test_five_iterations_are_the_papers(reference, x64):
    golden = reference('infer_bn_recover')
    shifts = jnp.asarray(golden['rec_offs_hw'], jnp.int32)
    method = sre2l(
        NET,
        augment=Curriculum(lambda step: functools.partial(_rolled, shifts[step])),
        box=BOX,
        bn_weight=0.01,
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(0.25, 5), b1=0.5, b2=0.9)
    inputs = Inputs(pretrained={'encoder': golden_network(golden)})
    state = init_state(jax.random.key(0), method, optimizer, beginning(golden, jnp.float64))
    step = jax.jit(make_step(method, optimizer))
    for i in range(5):
        state, metrics = step(state, inputs)
        np.testing.assert_allclose(metrics['loss/total'], golden['rec_loss'][i], rtol=1e-6)
        if i in (0, 4):
            expected = torch_layout.nhwc(golden['rec_x'][i // 4])
            np.testing.assert_allclose(state.params['images'][:, 0], expected, atol=1e-5)


def _rolled(shift, key, images):
    del key
    return cropping.roll(images, shift)


@pytest.mark.long
def test_one_draw_serves_all_classes():
    seen = []

    def noted(key, images):
        jax.debug.callback(lambda value: seen.append(float(value)), jax.random.uniform(key))
        return images

    method = sre2l(NET, augment=noted, box=BOX)
    images = jax.random.normal(jax.random.key(1), (10, 2, 16, 16, 3))
    state = init_state(
        jax.random.key(0),
        method,
        optax.sgd(1.0),
        SyntheticSet(images, jnp.eye(10)[:, None].repeat(2, 1)),
    )
    inputs = Inputs(pretrained={'encoder': NET.init(jax.random.key(2))})
    for step in (0, 1):
        make_gradient(method)(state._replace(step=jnp.int32(step)), inputs)
    jax.effects_barrier()
    assert len(seen) == 20 and len(set(seen)) == 2


@pytest.mark.parametrize(
    'weights, message',
    [
        ({'bn_weight': -1.0}, 'bn_weight must be 0 or more, got -1'),
        ({'tv_weight': float('nan')}, 'tv_weight must be 0 or more, got nan'),
    ],
)
def test_negative_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        sre2l(NET, augment=augment.recovery(jitter=1), box=BOX, **weights)


def test_a_network_without_batch_norm_is_refused():
    plain = models.by_name('convnet', (16, 16, 3), 10, width=8, depth=1)
    method = sre2l(plain, augment=augment.recovery(jitter=1), box=BOX)
    state = init_state(
        jax.random.key(0),
        method,
        optax.sgd(1.0),
        SyntheticSet(jnp.zeros((10, 1, 16, 16, 3)), jnp.eye(10)[:, None]),
    )
    with pytest.raises(ValueError, match='batch norm'):
        make_gradient(method)(state, Inputs(pretrained={'encoder': plain.init(jax.random.key(2))}))
