import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_layout

from jaxdd.models import ConvNet, by_name, model


def params_count(net):
    variables = jax.eval_shape(net.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(variables.params))


def stored(reference, dtype):
    """The reference with stored weights: (arrays, network, variables, loss(params, images))."""
    ref = reference('iid_convnet3')
    weights = {
        name[2:]: value.astype(dtype) for name, value in ref.items() if name.startswith('w_')
    }
    net = model(ConvNet(10, width=16), (32, 32, 3))
    variables = torch_layout.convnet(weights)

    def loss(params, images):
        out = net.apply(variables._replace(params=params), images)
        return optax.softmax_cross_entropy_with_integer_labels(
            out.logits, ref['labels']
        ).mean(), out

    return ref, variables, jnp.asarray(torch_layout.nhwc(ref['x']), dtype), loss


def check_stored(reference, dtype, tolerance, image_tolerance):
    ref, variables, x, loss = stored(reference, dtype)
    (ce, out), (g_params, g_x) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(
        variables.params, x
    )
    close = lambda ours, theirs, t=tolerance: np.testing.assert_allclose(
        ours, theirs, rtol=t, atol=t * np.abs(theirs).max()
    )
    close(ce, ref['ce_loss'])
    close(out.logits, ref['logits'])
    close(out.features, torch_layout.flat_hwc(ref['features'], 16))
    close(torch_layout.nchw(g_x), ref['grad_x'], image_tolerance)
    expected = torch_layout.convnet({k[2:]: v for k, v in ref.items() if k.startswith('g_')}).params
    # The bias before an instance norm has no effect: its gradient is rounding, ours and theirs.
    for layer in ('conv0', 'conv1', 'conv2'):
        largest = np.abs(g_params[layer]['kernel']).max()
        for tree in (g_params, expected):
            assert np.abs(tree[layer].pop('bias')).max() < 100 * np.finfo(dtype).eps * largest
    jax.tree.map(close, g_params, expected)


def test_gradients_agree_with_the_papers_code_in_float64(reference, x64):
    check_stored(reference, jnp.float64, 1e-9, 1e-6)  # the image gradient is stored as float32


def test_gradients_agree_with_the_papers_code_in_float32(reference):
    check_stored(reference, jnp.float32, 1e-4, 1e-4)


def test_parameter_counts_are_the_papers():
    assert params_count(by_name('convnet', (32, 32, 3), 10)) == 320_010
    assert params_count(by_name('convnet', (28, 28, 1), 10)) == 320_010 - 2 * 9 * 128


def test_initialisation_is_torchs():
    params = jax.jit(by_name('convnet', (32, 32, 3), 10).init)(jax.random.key(0)).params
    for layer, fan_in in [('conv0', 27), ('conv1', 1152), ('conv2', 1152), ('classifier', 2048)]:
        for leaf in (params[layer]['kernel'], params[layer]['bias']):
            assert np.abs(leaf).max() <= fan_in**-0.5
            assert np.abs(leaf).max() > 0.5 * fan_in**-0.5
        np.testing.assert_allclose(params[layer]['kernel'].var(), 1 / (3 * fan_in), rtol=0.06)
    biases = np.concatenate([params[layer]['bias'] for layer in ('conv1', 'conv2')])
    np.testing.assert_allclose(biases.var(), 1 / (3 * 1152), rtol=0.2)


@pytest.mark.parametrize(
    'shape, depth, sides',
    [
        ((8, 8, 1), 2, 2),
        ((28, 28, 1), 3, 4),
        ((28, 28, 3), 3, 3),
        ((9, 13, 3), 1, None),
        ((64, 64, 3), 3, 8),
    ],
)
def test_maps_have_floored_halves_and_features_are_their_rows(shape, depth, sides, weights):
    net = model(ConvNet(5, width=6, depth=depth), shape)
    out = jax.jit(net.apply)(weights(net), jax.random.normal(jax.random.key(1), (2, *shape)))
    positions = sides**2 if sides else 4 * 6
    assert out.maps.shape == (2, positions, 6) and out.logits.shape == (2, 5) and out.moments == {}
    np.testing.assert_array_equal(out.features, out.maps.reshape(2, -1))


def test_without_pooling_the_map_keeps_its_side(weights):
    net = model(ConvNet(5, width=6, depth=5, pooling='none', activation='sigmoid'), (8, 8, 1))
    out = jax.jit(net.apply)(weights(net), jnp.ones((1, 8, 8, 1)))
    assert out.maps.shape == (1, 64, 6)
    assert ((out.maps > 0) & (out.maps < 1)).all()


def test_leaky_relu_has_slope_one_hundredth(weights):
    options = dict(num_classes=5, width=6, depth=1, norm='none', pooling='none')
    leaky, relu = (
        model(ConvNet(activation=a, **options), (8, 8, 1)) for a in ('leaky_relu', 'relu')
    )
    variables = weights(relu)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    negated = jax.tree.map(jnp.negative, variables.params)  # relu(-z) is the negative part of z
    positive = relu.apply(variables, x).maps
    negative = relu.apply(variables._replace(params=negated), x).maps
    np.testing.assert_allclose(
        leaky.apply(variables, x).maps, positive - 0.01 * negative, atol=1e-6
    )


@pytest.mark.parametrize('pooling', ['avg', 'max'])
def test_second_derivatives_exist(pooling, weights):
    net = model(ConvNet(3, width=4, depth=2, pooling=pooling), (8, 8, 1))
    variables = weights(net)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))

    def gradient_size(x):
        loss = lambda params: jnp.square(
            net.apply(variables._replace(params=params), x).logits
        ).sum()
        return sum(
            jnp.square(leaf).sum() for leaf in jax.tree.leaves(jax.grad(loss)(variables.params))
        )

    second = jax.jit(jax.grad(gradient_size))(x)
    assert np.isfinite(second).all() and np.abs(second).max() > 0


@pytest.mark.parametrize(
    'shape, depth, largest, side',
    [
        ((8, 8, 1), 4, 3, 8),
        ((28, 28, 1), 6, 5, 32),
        ((32, 16, 3), 5, 4, 16),
        ((32, 32, 3), 0, 5, 32),
    ],
)
def test_an_impossible_depth_names_the_largest(shape, depth, largest, side):
    with pytest.raises(
        ValueError, match=f'between 1 and {largest} for images of side {side}.*got {depth}'
    ):
        model(ConvNet(10, depth=depth), shape)


@pytest.mark.parametrize(
    'option, value', [('activation', 'gelu'), ('pooling', 'sum'), ('norm', 'spectral')]
)
def test_unknown_variants_are_refused(option, value):
    with pytest.raises(ValueError, match=f"unknown {option} '{value}'; valid: "):
        model(ConvNet(10, **{option: value}), (32, 32, 3))


def test_features_may_be_read_behind_an_earlier_block():
    whole = by_name('convnet', (16, 16, 3), 3, width=4, depth=3)
    weights = whole.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    after = {
        k: by_name('convnet', (16, 16, 3), 3, width=4, depth=3, features_after=k).apply(
            weights, images
        )
        for k in (1, 2, 3)
    }
    found = whole.apply(weights, images)
    for k, outputs in after.items():
        np.testing.assert_array_equal(outputs.logits, found.logits)
        side = 16 // 2**k
        assert outputs.maps.shape == (2, side**2, 4)
        np.testing.assert_array_equal(outputs.features, outputs.maps.reshape(2, -1))
    np.testing.assert_array_equal(after[3].maps, found.maps)
    # the first block, applied by a network that has no other
    one = by_name('convnet', (16, 16, 3), 3, width=4, depth=1)
    params = {name: weights.params[name] for name in ('conv0', 'norm0')}
    alone = one.init(jax.random.key(0))
    alone = alone._replace(params={**alone.params, **params})
    np.testing.assert_allclose(after[1].maps, one.apply(alone, images).maps, atol=1e-6)
    with pytest.raises(ValueError, match='features_after must be .* between 1 and 3, got 4'):
        by_name('convnet', (16, 16, 3), 3, depth=3, features_after=4)
