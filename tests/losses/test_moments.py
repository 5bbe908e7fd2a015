"""Matching of batch-norm statistics, by hand and against SRe2L's code
(references/infer_bn_recover.npz)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_layout

from jaxdd import data, models
from jaxdd.augment import cropping
from jaxdd.losses import (
    batch_moment_distance,
    layer_moment_distances,
    pixel_norm,
    soft_cross_entropy,
    total_variation,
)
from jaxdd.models.norms import BatchNorm
from jaxdd.parametrizations import clipped
from jaxdd.types import Moments


def moments(mean, var):
    return Moments(jnp.asarray(mean, jnp.float32), jnp.asarray(var, jnp.float32), 8)


def stored(mean, var):
    return {'mean': jnp.asarray(mean, jnp.float32), 'var': jnp.asarray(var, jnp.float32)}


BATCH = {'norm1': moments([1, 0, 2], [1, 1, 3]), 'norm0': moments([3, 4], [2, 2])}
RUNNING = {'norm0': stored([0, 0], [1, 2]), 'norm1': stored([1, 0, 0], [1, 1, 0])}
# norm0: means 5 apart, variances 1; norm1: means 2, variances 3


def test_hand_worked_values():
    np.testing.assert_allclose(layer_moment_distances(BATCH, RUNNING), [6, 5], rtol=1e-6)
    np.testing.assert_allclose(batch_moment_distance(BATCH, RUNNING), 65, rtol=1e-6)
    np.testing.assert_allclose(
        batch_moment_distance(BATCH, RUNNING, first_weight=1.0), 11, rtol=1e-6
    )


def test_layers_follow_their_paths_and_not_the_dicts():
    turned = {path: BATCH[path] for path in sorted(BATCH)}
    np.testing.assert_array_equal(
        layer_moment_distances(turned, RUNNING), layer_moment_distances(BATCH, RUNNING)
    )


def test_one_layer_is_the_first():
    np.testing.assert_allclose(
        batch_moment_distance({'norm0': BATCH['norm0']}, {'norm0': RUNNING['norm0']}), 60
    )


def test_numpy_transcription(precision):
    rng = np.random.default_rng(0)
    widths = {'norm0': 4, 'norm1': 6, 'norm2': 3}
    maps = {path: rng.normal(size=(5, 3, 3, width)) for path, width in widths.items()}
    running = {
        path: {'mean': rng.normal(size=width), 'var': rng.uniform(size=width)}
        for path, width in widths.items()
    }
    expected = [
        np.linalg.norm(x.var((0, 1, 2)) - running[path]['var'])
        + np.linalg.norm(x.mean((0, 1, 2)) - running[path]['mean'])
        for path, x in maps.items()
    ]
    batch = {
        path: Moments(precision.array(x).mean((0, 1, 2)), precision.array(x).var((0, 1, 2)), 45)
        for path, x in maps.items()
    }
    running = jax.tree.map(precision.array, running)
    precision.assert_close(layer_moment_distances(batch, running), expected)
    precision.assert_close(
        batch_moment_distance(batch, running, first_weight=3.0), np.dot([3, 1, 1], expected)
    )


def test_zero_with_zero_gradient_at_equality():
    running = {path: {'mean': m.mean, 'var': m.var} for path, m in BATCH.items()}

    def distance(mean, var):
        return batch_moment_distance({**BATCH, 'norm1': Moments(mean, var, 8)}, running)

    value, gradient = jax.value_and_grad(distance, argnums=(0, 1))(*BATCH['norm1'][:2])
    assert value == 0 and not any(np.any(g) for g in gradient)
    # Only the variances differ: the means' norm stays at its kink.
    value, gradient = jax.value_and_grad(distance, argnums=(0, 1))(
        BATCH['norm1'].mean, BATCH['norm1'].var + 2
    )
    np.testing.assert_allclose(value, 2 * np.sqrt(3), rtol=1e-6)
    np.testing.assert_array_equal(gradient[0], 0)
    np.testing.assert_allclose(gradient[1], np.full(3, 1 / np.sqrt(3)), rtol=1e-6)


@pytest.mark.parametrize('function', [batch_moment_distance, layer_moment_distances])
def test_refusals(function):
    with pytest.raises(ValueError, match="none; choose an architecture with it, e.g. 'convnet_bn'"):
        function({}, {})
    with pytest.raises(
        ValueError,
        match=r"only the batch has layers \['norm1'\], only the running moments have \[\]",
    ):
        function(BATCH, {'norm0': RUNNING['norm0']})
    with pytest.raises(
        ValueError,
        match=r"only the batch has layers \[\], only the running .* \['norm0', 'norm1'\]",
    ):
        jax.jit(function)({}, RUNNING)
    with pytest.raises(AssertionError):
        function({**BATCH, 'norm1': BATCH['norm0']}, RUNNING)


@pytest.mark.parametrize(
    'name',
    [
        'convnet_bn',
        'alexnet_bn',
        'vgg11_bn',
        'resnet18_bn',
        'resnet18_stem7',
        'mobilenetv2',
        'efficientnet_b0',
        'shufflenet_g2',
        'shufflenetv2',
    ],
)
def test_the_first_layer_is_the_stem(name):
    """The first path in sorted order is the batch norm that images reach first."""
    reached = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, BatchNorm):
            reached.append('/'.join(context.module.path))
        return call(*args, **kwargs)

    model = models.by_name(name, (32, 32, 3), 4)
    variables = jax.eval_shape(model.init, jax.random.key(0))
    with nn.intercept_methods(record):
        moments = jax.eval_shape(model.apply, variables, jnp.zeros((2, 32, 32, 3))).moments
    assert sorted(reached) == sorted(moments)
    assert reached[0] == sorted(moments)[0]


# SRe2L's code


@pytest.fixture
def network(x64, reference):
    """The reference's ConvNet, and its weights in float64."""
    golden = reference('infer_bn_recover')
    weights = {
        name[3:]: value.astype('f8') for name, value in golden.items() if name.startswith('sd/')
    }
    # Only the losses keep to one dtype; a network's own initial weights are float32.
    with jax.numpy_dtype_promotion('standard'):
        yield (
            models.by_name('convnet_bn', (16, 16, 3), 10, width=8, depth=3),
            torch_layout.convnet(weights),
        )


def recovery_loss(images, network, shift, r_bn, first_weight=10.0, tv=0.0, l2=0.0):
    """Loss of SRe2L's recovery with its parts:
    cross-entropy, statistics, total variation, size; logits."""
    model, variables = network
    rolled = cropping.roll(images, jnp.asarray(shift))
    out = model.apply(variables, rolled)
    parts = (
        soft_cross_entropy(out.logits, jnp.eye(10, dtype=images.dtype)).mean(),
        batch_moment_distance(out.moments, variables.batch_stats, first_weight=first_weight),
        total_variation(rolled),
        pixel_norm(rolled),
    )
    return sum(w * part for w, part in zip((1.0, r_bn, tv, l2), parts, strict=True)), (parts, out)


def test_recovery_loss_and_gradient_match_the_authors_code(network, reference):
    golden = reference('infer_bn_recover')
    images = jnp.asarray(torch_layout.nhwc(golden['x']).astype('f8'))
    evaluate = jax.jit(
        jax.value_and_grad(functools.partial(recovery_loss, network=network), has_aux=True)
    )
    for case in 'abc':
        *shift, r_bn, first_weight, tv, l2 = golden[f'{case}_cfg_offh_offw_rbn_mult_tv_l2']
        (value, (parts, out)), gradient = evaluate(
            images, shift=np.array(shift, int), r_bn=r_bn, first_weight=first_weight, tv=tv, l2=l2
        )
        np.testing.assert_allclose([*parts, value], golden[f'{case}_scalars'], rtol=1e-10)
        np.testing.assert_allclose(
            layer_moment_distances(out.moments, network[1].batch_stats),
            golden[f'{case}_feats'],
            rtol=1e-10,
        )
        np.testing.assert_allclose(out.logits, golden[f'{case}_logits'], rtol=0, atol=1e-10)
        expected = torch_layout.nhwc(golden[f'{case}_grad'])
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def as_bytes(images, spec):
    """What the authors' code saves: truncated, not rounded."""
    return np.floor(data.denormalise(spec, np.asarray(images)) * 255).astype(np.uint8)


def test_five_iterations_match_the_authors_code(network, reference):
    golden, spec = reference('infer_bn_recover'), data.spec('cifar10')
    evaluate = jax.jit(
        jax.value_and_grad(lambda images, shift: recovery_loss(images, network, shift, 0.01)[0])
    )
    rate = optax.cosine_decay_schedule(0.25, 5)
    optimizer = optax.adam(rate, b1=0.5, b2=0.9)
    images, losses, iterates = jnp.asarray(torch_layout.nhwc(golden['x']).astype('f8')), [], []
    state = optimizer.init(images)
    for shift in golden['rec_offs_hw']:
        value, gradient = evaluate(images, shift)
        updates, state = optimizer.update(gradient, state)
        images = clipped(images + updates, (spec.mean, spec.std))
        losses.append(value)
        iterates.append(images)
    np.testing.assert_allclose(losses, golden['rec_loss'], rtol=1e-12)
    np.testing.assert_allclose([rate(step) for step in range(5)], golden['rec_lr'], rtol=1e-7)
    for actual, expected in zip((iterates[0], iterates[4]), golden['rec_x']):  # stored in float32
        np.testing.assert_allclose(actual, torch_layout.nhwc(expected), rtol=0, atol=2e-7)
    np.testing.assert_array_equal(as_bytes(images, spec), golden['rec_u8'])


@pytest.mark.parametrize(
    'name, mean, std',
    [
        ('cifar10', (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ('cifar100', (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        ('tinyIN', (0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
        ('imagenet', (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_clipping_and_saving_match_the_authors_code(reference, name, mean, std):
    golden = reference('infer_sched_budget')
    spec = data.spec('cifar10')._replace(mean=mean, std=std)
    images = torch_layout.nhwc(golden['clip_in'])
    kept, pixels = (torch_layout.nhwc(golden[f'{kind}_{name}']) for kind in ('clip', 'denorm'))
    np.testing.assert_allclose(clipped(jnp.asarray(images), (mean, std)), kept, rtol=0, atol=3e-7)
    np.testing.assert_array_equal(data.denormalise(spec, kept), pixels)
    if name != 'imagenet':  # whose bytes the reference lacks
        np.testing.assert_array_equal(as_bytes(kept, spec), golden[f'u8_{name}'])
