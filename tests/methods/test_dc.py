"""DC against the authors' code, through the engine, and what its preset is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_layout

from jaxdd import augment, models, optimizers
from jaxdd.engine.distill import make_step
from jaxdd.labels import relabel
from jaxdd.losses import soft_cross_entropy
from jaxdd.methods import dc
from jaxdd.regularizers import cmi
from jaxdd.terms import regularize
from jaxdd.types import Inputs, Read, Recipe, SyntheticSet

SMALL = models.by_name('convnet', (8, 8, 3), 3, width=3, depth=1)
NET = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=2)
RECIPE = Recipe(optimizers.sgd(0.01), 2, 4, soft_cross_entropy)


def preset(net=NET, recipe=RECIPE, every=3, **knobs):
    supervision = relabel.hard(augment.identity())
    return dc(
        net, recipe, augment=augment.identity(), supervision=supervision, every=every, **knobs
    )


def test_one_step_is_the_papers(precision, reference, given, started, first_gradient):
    golden = reference('iid_grad_match')
    weights = torch_layout.hash_weights(
        golden['e2e_net_param_names'], golden['e2e_net_param_shapes']
    )
    net = models.by_name('convnet', (16, 16, 3), 2, width=4, depth=3)
    method = preset(net)._replace(networks=given(torch_layout.convnet(precision.weights(weights))))
    inputs = Inputs(real=precision.images(golden['e2e_image_real'].reshape(-1, 3, 16, 16), 2))
    optimizer = optax.sgd(0.1, momentum=0.5)
    # The reference's e2e_image_syn was written after the step;
    # these are the images it started from.
    images = torch_layout.data(1400, golden['e2e_image_syn'].shape)
    state = started(method, precision.images(images, 2), optimizer)
    state, metrics = jax.jit(make_step(method, optimizer))(state, inputs)
    assert metrics['loss/dc'] == metrics['loss/total']
    precision.close(metrics['loss/total'], golden['e2e_loss'])
    precision.close(first_gradient(state), precision.images(golden['e2e_grad_image_syn'], 2))
    after = precision.images(golden['e2e_image_syn_after_sgd_lr0.1_mom0.5'], 2)
    precision.close(state.params['images'], after)


def test_with_cmi_it_is_the_papers(precision, reference, given, started, first_gradient):
    golden, weight = reference('cmi_totals'), 50000.0
    encoder, proxy = (
        torch_layout.convnet(
            precision.weights(
                {
                    name.removeprefix(net): value
                    for name, value in golden.items()
                    if name.startswith(net)
                }
            )
        )
        for net in ('netA_', 'proxy_')
    )
    base = preset()._replace(networks=given(encoder))
    method = regularize(base, {'cmi': (weight, cmi())}, models={'proxy': NET})
    real = precision.images(golden['images_real'].reshape(-1, 3, 8, 8), 3)
    inputs = Inputs(real=real, pretrained={'proxy': proxy})
    optimizer = optax.sgd(0.1, momentum=0.5)
    state = started(method, precision.images(golden['images_syn'], 3), optimizer)
    state, metrics = jax.jit(make_step(method, optimizer))(state, inputs)
    precision.close(metrics['loss/total'], golden['dc_total'])
    precision.close(metrics['loss/dc'], golden['dc_total'] - golden['dc_cmi_weighted'])
    precision.close(weight * metrics['loss/cmi'], golden['dc_cmi_weighted'])
    precision.close(first_gradient(state), precision.images(golden['dc_grad_images'], 3))


def test_the_preset():
    transform = augment.shared('flip')
    method = dc(
        NET, RECIPE, augment=transform, supervision=relabel.hard(augment.identity()), every=1
    )
    assert method.objective.reads == {Read('', 'real'), Read('', 'synthetic')}
    assert (method.classes, method.models, method.augment) == ('joint', {'encoder': NET}, transform)


def test_a_network_trains_on_the_synthetic_set_and_serves_as_long_as_told():
    networks = preset(SMALL, every=3).networks
    images = jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 3))
    synthetic = SyntheticSet(images, jnp.repeat(jnp.eye(3)[:, None], 2, axis=1))
    state, ages, kernels = jax.jit(networks.init)(jax.random.key(1)), [], []
    update = jax.jit(networks.update)
    for step in range(4):
        encoder, _ = networks.sample(state, jax.random.key(2), Inputs())
        ages.append(int(encoder.age))
        kernels.append(encoder.params['conv0']['kernel'])
        state = update(state, jax.random.key(step), Inputs(), synthetic)
    assert ages == [0, 2, 4, 0]
    assert not np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[0], kernels[3])


@pytest.mark.parametrize('every', [0, -1])
def test_refuses_a_network_that_serves_no_step(every):
    with pytest.raises(ValueError, match=f'at least 1 step before a new one, got every={every}'):
        preset(every=every)
