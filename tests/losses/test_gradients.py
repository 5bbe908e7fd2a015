"""Gradient distances against hand work, NumPy and the authors' code,
on tensors and through networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_layout

from jaxdd.losses import (
    convolution_cosine_distance,
    cosine_distance,
    layerwise_cosine_distance,
    layerwise_l1,
    layerwise_l1_mean,
    layerwise_l2,
    soft_cross_entropy,
    squared_distance,
)
from jaxdd.models import ConvNet, model

LOSSES = (
    layerwise_cosine_distance,
    cosine_distance,
    squared_distance,
    layerwise_l1,
    layerwise_l2,
    layerwise_l1_mean,
    convolution_cosine_distance,
)
COSINES = LOSSES[:2]
# (out, in), (C, H, W), OIHW -> ours
FLAX_AXES = {1: (0,), 2: (1, 0), 3: (1, 2, 0), 4: (2, 3, 1, 0)}
every_loss = pytest.mark.parametrize('loss', LOSSES)
every_cosine = pytest.mark.parametrize('loss', COSINES)


def value_and_slope(loss):
    """(real, synthetic) -> loss and its gradient to the synthetic side."""
    return jax.jit(jax.value_and_grad(loss, argnums=1))


def from_torch(tensor):
    return tensor.transpose(FLAX_AXES[tensor.ndim])


def numpy_cosine_distance(a, b):
    """[I, O], a row per unit in turn."""
    return sum(
        1 - a_o @ b_o / (np.sqrt(a_o @ a_o) * np.sqrt(b_o @ b_o) + 1e-6)
        for a_o, b_o in zip(a.T, b.T)
    )


def numpy_losses(real, synthetic):
    """In the order of LOSSES."""
    pairs = list(zip(real.values(), synthetic.values()))
    rows = [[x.reshape(-1, x.shape[-1]) for x in pair] for pair in pairs if pair[0].ndim > 1]
    vectors = [np.concatenate([x.ravel() for x in side])[:, None] for side in zip(*pairs)]
    gaps = [a - b for a, b in pairs if a.ndim == 4]
    return (
        sum(numpy_cosine_distance(*pair) for pair in rows),
        numpy_cosine_distance(*vectors),
        np.sum((vectors[0] - vectors[1]) ** 2),
        sum(np.abs(gap).sum() for gap in gaps),
        sum((gap**2).sum() for gap in gaps),
        sum(np.abs(gap).mean((0, 1, 2)).sum() for gap in gaps),
        sum(
            numpy_cosine_distance(*(x.reshape(-1, x.shape[-1]) for x in pair))
            for pair in pairs
            if pair[0].ndim == 4
        ),
    )


@pytest.fixture
def gradients():
    """One tensor of each kind, real and synthetic."""
    rng = np.random.default_rng(20)
    shapes = {
        'bias': (5,),
        'conv': (3, 3, 2, 4),
        'conv1': (1, 1, 3, 2),
        'dense': (6, 5),
        'scale': (2, 3, 4),
    }
    return tuple({name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(2))


@pytest.mark.parametrize(
    'loss, expected',
    [
        (layerwise_cosine_distance, 0.04 + 2 + 1),
        (cosine_distance, 1 - 24 / np.sqrt(31 * 55)),
        (squared_distance, 2 + 9 + 26 + 1),
        (layerwise_l1, 1 + 5),
        (layerwise_l2, 1 + 25),
        (layerwise_l1_mean, (1 + 5) / 2),
        (convolution_cosine_distance, 1),
    ],
)
def test_hand_worked(loss, expected):
    real = {
        'dense': jnp.array([[3.0, 1.0], [4.0, 0.0]]),  # columns (3, 4) and (1, 0)
        'conv': jnp.array([[[[1.0], [0.0]]]]),
        'bias': jnp.array([2.0]),
    }
    synthetic = {
        'dense': jnp.array([[4.0, -2.0], [3.0, 0.0]]),  # columns (4, 3) and (-2, 0)
        'conv': jnp.array([[[[0.0], [5.0]]]]),
        'bias': jnp.array([1.0]),
    }
    np.testing.assert_allclose(loss(real, synthetic), expected, rtol=1e-5)


def test_numpy_transcription(precision, gradients):
    trees = [jax.tree.map(precision.array, side) for side in gradients]
    values = jax.jit(lambda *trees: [loss(*trees) for loss in LOSSES])(*trees)
    for value, expected in zip(values, numpy_losses(*gradients), strict=True):
        precision.assert_close(value, expected)


@pytest.mark.parametrize(
    'loss, name',
    [(layerwise_cosine_distance, 'ours'), (cosine_distance, 'cos'), (squared_distance, 'mse')],
)
def test_authors_code(precision, reference, loss, name):
    golden = reference('iid_grad_match')
    real, synthetic = (
        [precision.array(from_torch(golden[f'gw_{data}_{i}'])) for i in range(8)]
        for data in ('real', 'syn')
    )
    value, gradient = value_and_slope(loss)(real, synthetic)
    precision.assert_close(value, golden[f'dist_{name}'])
    for i, tensor in enumerate(gradient):
        precision.assert_close(tensor, from_torch(golden[f'dist_{name}_grad_{i}']))


def test_authors_code_tensor_by_tensor(precision, reference):
    golden = reference('iid_grad_match')
    cases = [
        (golden[f'gw_real_{i}'], golden[f'gw_syn_{i}'], expected)
        for i, expected in enumerate(golden['dist_ours_per_tensor'])
    ]
    cases.append(tuple(golden[f'layernorm_{name}'] for name in ('gw_real', 'gw_syn', 'dist')))
    for real, synthetic, expected in cases:
        value = layerwise_cosine_distance(
            *(precision.array(from_torch(x)) for x in (real, synthetic))
        )
        precision.assert_close(value, expected)


# Through a network: the gradient of a function of a gradient


def parameter_gradient(module, image_shape, weights):
    """(images [N, H, W, C], class) -> gradient of their mean cross-entropy."""
    variables = torch_layout.convnet(weights)

    def mean_loss(params, images, label):
        with jax.numpy_dtype_promotion('standard'):  # networks choose their own widths
            logits = (
                model(module, image_shape).apply(variables._replace(params=params), images).logits
            )
        labels = jnp.broadcast_to(
            jax.nn.one_hot(label, module.num_classes, dtype=logits.dtype), logits.shape
        )
        return soft_cross_entropy(logits, labels).mean()

    return lambda images, label: jax.grad(mean_loss)(variables.params, images, label)


def test_one_step_of_dc(precision, reference):
    golden = reference('iid_grad_match')
    weights = torch_layout.hash_weights(
        golden['e2e_net_param_names'], golden['e2e_net_param_shapes']
    )
    weights = {name: precision.array(value) for name, value in weights.items()}
    gradient = parameter_gradient(ConvNet(2, width=4), (16, 16, 3), weights)
    real = precision.array(golden['e2e_image_real'].transpose(0, 1, 3, 4, 2))
    # The reference's e2e_image_syn was written after the step;
    # these are the images it started from.
    synthetic = precision.array(
        torch_layout.nhwc(torch_layout.data(1400, golden['e2e_image_syn'].shape))
    )

    @jax.jit
    @jax.value_and_grad
    def total(synthetic):
        classes = synthetic.reshape(2, 2, *synthetic.shape[1:])
        per_class = jax.vmap(
            lambda r, s, k: layerwise_cosine_distance(gradient(r, k), gradient(s, k))
        )
        return per_class(real, classes, jnp.arange(2)).sum()

    value, image_gradient = total(synthetic)
    precision.assert_close(value, golden['e2e_loss'])
    precision.assert_close(image_gradient, torch_layout.nhwc(golden['e2e_grad_image_syn']))
    precision.assert_close(
        synthetic - 0.1 * image_gradient,
        torch_layout.nhwc(golden['e2e_image_syn_after_sgd_lr0.1_mom0.5']),
    )


def enlarged_quarters(images):
    """[N, 8, 8, C] -> [4 N, 8, 8, C], each quarter of an image at full size."""
    n, h, w, c = images.shape
    quarters = (
        images.reshape(n, 2, h // 2, 2, w // 2, c).swapaxes(2, 3).reshape(4 * n, h // 2, w // 2, c)
    )
    return jax.image.resize(quarters, (4 * n, h, w, c), 'bilinear')


IDC = {
    'mse': layerwise_l2,
    'l1': layerwise_l1,
    'mse_biasfc': squared_distance,
    'l1_mean': layerwise_l1_mean,
    'cos': convolution_cosine_distance,
}


def test_matching_of_idc(precision, reference):
    golden = reference('cmi_idc')
    layers = {
        'layers.conv.0': 'features.0',
        'layers.norm.0': 'features.1',
        'layers.conv.1': 'features.4',
        'layers.norm.1': 'features.5',
        'classifier': 'classifier',
    }
    weights = {
        f'{ours}.{kind}': precision.array(golden[f'param_{theirs}.{kind}'])
        for theirs, ours in layers.items()
        for kind in ('weight', 'bias')
    }
    gradient = parameter_gradient(ConvNet(3, width=4, depth=2), (8, 8, 3), weights)
    real, synthetic = (
        precision.array(torch_layout.nhwc(golden[f'match_{x}'])) for x in ('real', 'data')
    )

    def values(synthetic):
        label = golden['match_label']
        trees = gradient(real, label), gradient(enlarged_quarters(synthetic), label)
        losses = jnp.stack([loss(*trees) for loss in IDC.values()])
        return losses, losses

    slopes, losses = jax.jit(jax.jacrev(values, has_aux=True))(synthetic)
    for name, value, slope in zip(IDC, losses, slopes, strict=True):
        precision.assert_close(value, golden[f'match_grad_{name}_loss'])
        precision.assert_close(slope, torch_layout.nhwc(golden[f'match_grad_{name}_dgrad']))


def test_a_dead_unit_has_no_gradient_to_its_images():
    # Unit 1 is negative for every image: its row of the parameter gradient is zero.
    kernel, images = jnp.array([[1.0, -1.0], [1.0, -1.0]]), jnp.array([[1.0, 2.0], [3.0, 1.0]])

    def loss(images):
        gradient = jax.grad(lambda w: jnp.sum(jnp.square(jax.nn.relu(images @ w))))(kernel)
        return layerwise_cosine_distance(jnp.ones((2, 2)), gradient), gradient

    (value, gradient), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(images)
    assert not gradient[:, 1].any() and gradient[:, 0].all()
    assert 1 < value < 2 and np.isfinite(slope).all() and np.abs(slope).max() < 1


# Degenerate gradients


@every_cosine
@pytest.mark.parametrize('zero_real, zero_synthetic', [(True, False), (False, True), (True, True)])
def test_zero_gradients_are_at_distance_one(loss, zero_real, zero_synthetic):
    direction = jnp.array([[3.0], [4.0]])
    real, synthetic = direction * (1.0 - zero_real), 2 * direction * (1.0 - zero_synthetic)
    value, (real_gradient, gradient) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(
        real, synthetic
    )
    assert value == 1
    np.testing.assert_allclose(gradient, -real / 1e-6, rtol=1e-6)
    np.testing.assert_allclose(real_gradient, -synthetic / 1e-6, rtol=1e-6)
    assert np.isfinite(jax.jit(jax.hessian(loss, argnums=(0, 1)))(real, synthetic)).all()


@every_cosine
@pytest.mark.parametrize('size', [1e-8, 1e-18, 1e-21, 1e-30, 1e-42])
def test_finite_for_vanishing_gradients(loss, size):
    real = jnp.array([[3.0], [4.0]])
    value, gradient = value_and_slope(loss)(real, size * real)
    assert 0 <= value <= 1 and np.isfinite(gradient).all()


@every_loss
def test_zero_at_equality_and_positive_elsewhere(x64, gradients, loss):
    real, synthetic = (jax.tree.map(jnp.asarray, side) for side in gradients)
    value, gradient = value_and_slope(loss)(real, real)
    np.testing.assert_allclose(value, 0, atol=2e-5)  # the epsilons of 15 units
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) < 1e-5
    assert loss(real, synthetic) > 0.1


# Properties


def test_units_of_any_size_count_the_same(x64, gradients):
    real, synthetic = (jax.tree.map(jnp.asarray, side) for side in gradients)
    sizes = jnp.array([1e-2, 0.5, 3.0, 1e4])
    stretched = synthetic | {
        'conv': synthetic['conv'] * sizes.reshape(1, 1, 1, 4),
        'scale': synthetic['scale'] * sizes.reshape(1, 1, 4),
    }
    value = layerwise_cosine_distance(real, synthetic)
    np.testing.assert_allclose(layerwise_cosine_distance(real, stretched), value, atol=1e-4)
    assert abs(cosine_distance(real, stretched) - cosine_distance(real, synthetic)) > 0.01


@every_loss
def test_order_of_units(x64, gradients, loss):
    trees = [jax.tree.map(jnp.asarray, side) for side in gradients]
    value = loss(*trees)
    np.testing.assert_allclose(
        loss(*(jax.tree.map(lambda x: x[..., ::-1], tree) for tree in trees)), value, rtol=1e-12
    )


@pytest.mark.parametrize(
    'loss, counted',
    [
        (layerwise_cosine_distance, {'conv', 'conv1', 'dense', 'scale'}),
        (layerwise_l1, {'conv', 'conv1'}),
        (layerwise_l2, {'conv', 'conv1'}),
        (layerwise_l1_mean, {'conv', 'conv1'}),
        (convolution_cosine_distance, {'conv', 'conv1'}),
        (cosine_distance, {'bias', 'conv', 'conv1', 'dense', 'scale'}),
        (squared_distance, {'bias', 'conv', 'conv1', 'dense', 'scale'}),
    ],
)
def test_which_tensors_count(x64, gradients, loss, counted):
    trees = [jax.tree.map(jnp.asarray, side) for side in gradients]
    _, slopes = value_and_slope(loss)(*trees)
    assert {name for name, slope in slopes.items() if slope.any()} == counted
    selected = ({name: tree[name] for name in counted} for tree in trees)
    np.testing.assert_allclose(loss(*selected), loss(*trees), rtol=1e-12)


@pytest.mark.parametrize('loss', [layerwise_cosine_distance, layerwise_l1, layerwise_l2])
def test_zero_without_a_tensor_that_counts(loss):
    value, slope = value_and_slope(loss)({'bias': jnp.ones(3)}, {'bias': jnp.zeros(3)})
    assert value == 0 and value.dtype == jnp.float32 and not slope['bias'].any()


@every_loss
@pytest.mark.parametrize(
    'synthetic',
    [
        {'kernel': jnp.zeros((2, 4))},
        {'weight': jnp.zeros((2, 3))},
        {'kernel': jnp.zeros((2, 3)), 'bias': jnp.zeros(3)},
    ],
)
def test_refuses_other_trees(loss, synthetic):
    with pytest.raises(AssertionError):
        loss({'kernel': jnp.zeros((2, 3))}, synthetic)
