"""IDC against the authors' code, through the engine:
mosaics, matching of convolutions, shared momentum."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_layout

from jaxdd import augment, models, optimizers
from jaxdd.engine.distill import make_gradient, make_step
from jaxdd.losses import (
    convolution_cosine_distance,
    layerwise_l1,
    layerwise_l1_mean,
    layerwise_l2,
    soft_cross_entropy,
    squared_distance,
)
from jaxdd.methods import idc
from jaxdd.types import Batch, Inputs, Read, Recipe, SyntheticSet

NET = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=2)
SMALL = models.by_name('convnet', (8, 8, 3), 3, width=3, depth=1)
RECIPE = Recipe(optimizers.sgd(0.01, momentum=0.9, weight_decay=5e-4), 2, 4, soft_cross_entropy)
PLAIN = ((0.0,) * 3, (1.0,) * 3)  # pixels are not normalised
BOX = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
LAYERS = {
    'layers.conv.0': 'features.0',
    'layers.norm.0': 'features.1',
    'layers.conv.1': 'features.4',
    'layers.norm.1': 'features.5',
    'classifier': 'classifier',
}


def preset(net=NET, box=PLAIN, **knobs):
    return idc(net, RECIPE, augment=augment.identity(), box=box, **knobs)


@pytest.fixture
def encoder(given):
    """An encoder policy that always has the same random weights."""
    return given(jax.jit(SMALL.init)(jax.random.key(7)))


def pixels(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(*shape, 8, 8, 3)), jnp.float32)


@pytest.mark.parametrize(
    'distance, name',
    [
        (layerwise_l2, 'grad_mse'),
        (layerwise_l1, 'grad_l1'),
        (layerwise_l1_mean, 'grad_l1_mean'),
        (convolution_cosine_distance, 'grad_cos'),
        (squared_distance, 'grad_mse_biasfc'),
        ('features', 'feat_mse'),
    ],
)
def test_matching_is_the_papers(precision, reference, given, started, distance, name):
    golden = reference('cmi_idc')
    weights = torch_layout.convnet(
        precision.weights(
            {
                f'{ours}.{kind}': golden[f'param_{theirs}.{kind}']
                for theirs, ours in LAYERS.items()
                for kind in ('weight', 'bias')
            }
        )
    )
    method = preset(distance=distance)._replace(networks=given(weights))
    label = int(golden['match_label'])
    images, real = (
        np.stack([array if c == label else np.roll(array, c + 1, axis=2) for c in range(3)])
        for array in (golden['match_data'], golden['match_real'])
    )
    state = started(
        method, precision.images(images.reshape(-1, 3, 8, 8), 3), optax.sgd(0.1), factor=2
    )
    inputs = Inputs(real=precision.images(real.reshape(-1, 3, 8, 8), 3))
    slope, metrics = jax.jit(make_gradient(method))(state, inputs, jnp.int32(label))
    precision.close(metrics['loss/idc'], golden[f'match_{name}_loss'])
    precision.close(slope['images'][label], precision.images(golden[f'match_{name}_dgrad'], 1)[0])
    assert not np.delete(slope['images'], label, axis=0).any()


def test_momentum_of_the_class_steps_is_torch_s(precision, reference, one_by_one, started):
    golden = reference('cmi_idc')
    target = jnp.asarray(golden['mom_target'], precision.dtype)
    method = one_by_one(lambda images, c, step: jnp.sum((images - target[c]) ** 2) / 2)
    optimizer = optax.sgd(0.1, momentum=0.5)
    images = golden['mom_init'].reshape(3, 1, 1, 1, 2)
    state = started(method, jnp.asarray(images, precision.dtype), optimizer)
    step = jax.jit(make_step(method, optimizer))
    for after in golden['mom_history'][2::3]:  # after the last class of each sweep
        state, _ = step(state, Inputs())
        precision.close(state.params['images'], after.reshape(3, 1, 1, 1, 2))


def test_it_starts_from_the_papers_mosaics(precision, reference):
    golden = reference('cmi_idc')
    images = precision.images(golden['mix_src'].reshape(-1, 3, 8, 8), 2)
    params, _ = preset().parametrization.init(
        jax.random.key(0), SyntheticSet(images, jnp.zeros((2, 8, 2)))
    )
    precision.close(params['images'], precision.images(golden['mix_init_f2'], 2))


def test_pixels_stay_in_their_box(encoder, started):
    method, optimizer = (
        preset(SMALL, box=BOX)._replace(networks=encoder),
        optax.sgd(1e3, momentum=0.5),
    )
    state = started(method, pixels(0, 3, 1), optimizer, factor=2)
    state, metrics = jax.jit(make_step(method, optimizer))(state, Inputs(real=pixels(1, 3, 5)))
    images = state.params['images']
    assert images.min() == 0 and images.max() == metrics['images/max_abs'] == 1
    assert np.mean((images == 0) | (images == 1)) > 0.5  # they would have left it


def moved_tiles(slope):
    """[3, 2, 8, 8, 3] -> [3, 8]: which tiles of 4 x 4 have a gradient."""
    return np.asarray(slope.reshape(3, 2, 2, 4, 2, 4, 3) != 0).any((3, 5, 6)).reshape(3, 8)


def test_a_class_matches_with_a_random_choice_of_its_decoded_images(encoder, started):
    method = preset(SMALL, max_synthetic=3)._replace(networks=encoder)
    state, inputs = (
        started(method, pixels(0, 3, 2), optax.sgd(0.1), factor=2),
        Inputs(real=pixels(1, 3, 5)),
    )
    gradient = jax.jit(make_gradient(method))
    states = [state._replace(step=jnp.int32(step)) for step in range(6)]
    moved = [moved_tiles(gradient(state, inputs, None)[0]['images']) for state in states]
    np.testing.assert_array_equal(np.sum(moved, axis=2), 3)
    # new for each step and class
    assert len({tiles.tobytes() for step in moved for tiles in step}) > 6
    assert np.any(moved, axis=(0, 1)).all()


def test_the_preset():
    transform = augment.shared('color_crop_cutout', mode='IDC')
    method = idc(NET, RECIPE, augment=transform, box=BOX)
    assert method.objective.reads == {Read('', 'real'), Read('', 'synthetic')}
    assert (method.classes, method.models, method.augment) == (
        'sequential',
        {'encoder': NET},
        transform,
    )
    assert preset(classes='joint').classes == 'joint'


def test_it_stores_pixels_and_decodes_normalised_images():
    mean, std = (jnp.array(values).reshape(1, 1, 1, 1, 3) for values in BOX)
    colours = pixels(0, 3, 4)[:, :, :1, :1]
    images = jnp.broadcast_to((colours - mean) / std, (3, 4, 8, 8, 3))
    parametrization = preset(box=BOX).parametrization
    params, fixed = parametrization.init(
        jax.random.key(0), SyntheticSet(images, jnp.zeros((3, 4, 3)))
    )
    assert params['images'].shape == (3, 1, 8, 8, 3)
    right = params['images'][:, 0, :4, 4:]  # tile 1
    np.testing.assert_allclose(right, jnp.broadcast_to(colours[:, 1], right.shape), atol=1e-6)
    np.testing.assert_allclose(parametrization.decode(params, fixed).images, images, atol=1e-5)


def test_one_tile_is_idc_i():
    images = pixels(0, 3, 2)
    parametrization = preset(factor=1).parametrization
    params, fixed = parametrization.init(
        jax.random.key(0), SyntheticSet(images, jnp.zeros((3, 2, 3)))
    )
    np.testing.assert_array_equal(params['images'], images)
    np.testing.assert_array_equal(parametrization.decode(params, fixed).images, images)


def test_networks_train_on_real_images():
    seen = []

    def train_augment(key, images):
        seen.append('augmented')
        return images

    def mix(key, images, labels):
        seen.append('mixed')
        return images, labels

    networks = preset(train_augment=train_augment, mix=mix).networks
    state = jax.eval_shape(networks.init, jax.random.key(0))
    shapes = (2, 4, 8, 8, 3), (2, 4, 3), (2, 4)
    mixed = Batch(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    jax.eval_shape(networks.update, state, jax.random.key(0), Inputs(mixed=mixed), None)
    assert seen[:2] == ['augmented', 'mixed']
    with pytest.raises(ValueError, match='real mini-batches per step, but the feed supplies 0'):
        jax.eval_shape(networks.update, state, jax.random.key(0), Inputs(), None)


@pytest.mark.parametrize('distance', [layerwise_l1, layerwise_l2, convolution_cosine_distance])
def test_refuses_a_network_without_convolutions(distance):
    mlp = models.by_name('mlp', (8, 8, 3), 3, width=4)
    message = f'{distance.__name__} compares .* convolutions alone.*use squared_distance'
    with pytest.raises(ValueError, match=message):
        preset(mlp, distance=distance)
    assert preset(mlp, distance=squared_distance).models == {'encoder': mlp}


@pytest.mark.parametrize(
    'ipc, factor, message',
    [
        (6, 2, 'multiple of 4 images per class.* got 6, the nearest valid is 8'),
    ],
)
def test_refuses_images_that_the_factor_does_not_divide(ipc, factor, message):
    with pytest.raises(ValueError, match=message):
        preset(factor=factor).parametrization.init(
            jax.random.key(0), SyntheticSet(pixels(0, 3, ipc), jnp.zeros((3, ipc, 3)))
        )


@pytest.mark.parametrize(
    'knobs, message',
    [
        ({'every': 0}, 'at least 1 step before a new one, got every=0'),
        ({'factor': 0}, 'at least 1 tile per side, got 0'),
    ],
)
def test_refuses_counts_below_one(knobs, message):
    with pytest.raises(ValueError, match=message):
        preset(**knobs)
