"""Class centralization and covariance matching against hand work, NumPy and the authors' code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.losses import class_centralization, local_covariance_distance

CM_WEIGHT, CC_WEIGHT = 0.01, 0.05  # the literals inside the reference values


@jax.jit
def covariance_total(real, synthetic):
    return jnp.sum(local_covariance_distance(real, synthetic))


@functools.partial(jax.jit, static_argnames='form')
def centralization_total(features, form='squared'):
    return jnp.sum(class_centralization(features, form=form))


def numpy_covariance(maps):
    """[N, P, D] -> [D, D], image by image and position by position."""
    centred = maps - maps.mean(0)
    return sum(np.outer(x, x) for image in centred for x in image) / len(maps)


@pytest.fixture
def maps():
    rng = np.random.default_rng(1)
    return rng.normal(size=(3, 6, 4, 5)), rng.normal(size=(3, 4, 4, 5))


@pytest.fixture
def features():
    return np.random.default_rng(2).normal(size=(3, 4, 5))


# Covariance matching


def test_covariance_hand_worked():
    # Position 1 repeats position 0 with another mean:
    # its own centre removes it, and covariances add.
    real = jnp.array([[[1.0, 0.0], [11.0, 10.0]], [[-1.0, 0.0], [9.0, 10.0]]])  # diag(2, 0)
    synthetic = jnp.array([[[0.0, 2.0], [5.0, 2.0]], [[0.0, -2.0], [5.0, -2.0]]])  # diag(0, 8)
    np.testing.assert_allclose(local_covariance_distance(real[None], synthetic[None]), [68.0])


def test_rows_without_weight_are_as_good_as_absent(precision, maps):
    real, synthetic = maps
    expected = [
        np.sum((numpy_covariance(r[:n]) - numpy_covariance(s)) ** 2)
        for r, s, n in zip(real, synthetic, (6, 2, 1))
    ]
    weights = precision.array(np.arange(6) < np.array([[6], [2], [1]]))
    found = local_covariance_distance(*map(precision.array, maps), real_weights=weights)
    precision.assert_close(found, expected)


def test_covariance_numpy_transcription(precision, maps):
    expected = [np.sum((numpy_covariance(r) - numpy_covariance(s)) ** 2) for r, s in zip(*maps)]
    precision.assert_close(local_covariance_distance(*map(precision.array, maps)), expected)


@pytest.mark.parametrize('case', ['a', 'b', 'n1'])
def test_covariance_authors_code(precision, reference, to_maps, case):
    golden = reference('iid_cc_cm')
    real, synthetic = (
        precision.array(to_maps(golden[f'{case}_F_{data}'])) for data in ('real', 'syn')
    )
    value, gradient = jax.value_and_grad(covariance_total, argnums=1)(real, synthetic)
    precision.assert_close(CM_WEIGHT * value, golden[f'{case}_loss_cm_weighted'])
    precision.assert_close(CM_WEIGHT * gradient, to_maps(golden[f'{case}_grad_F_syn_cm']))


@pytest.mark.parametrize(
    'case, expected', [('a', 27.011981991463), ('b', 217.376440158278), ('n1', 68.034888850531)]
)
def test_covariance_checked_table(x64, reference, to_maps, case, expected):
    golden = reference('iid_cc_cm')
    real, synthetic = (jnp.asarray(to_maps(golden[f'{case}_F_{data}'])) for data in ('real', 'syn'))
    np.testing.assert_allclose(local_covariance_distance(real, synthetic), [expected], rtol=1e-12)


def test_covariance_zero_at_equality_and_positive_elsewhere(maps):
    real, synthetic = map(jnp.float32, maps)
    value, gradient = jax.value_and_grad(covariance_total, argnums=1)(real, real)
    np.testing.assert_allclose(value, 0, atol=1e-10)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    assert (local_covariance_distance(real, synthetic) > 0).all()


def test_covariance_order_of_images_positions_and_classes(x64, maps):
    real, synthetic = map(jnp.asarray, maps)
    value = local_covariance_distance(real, synthetic)
    for shuffled in (
        local_covariance_distance(real[:, ::-1], synthetic[:, [2, 0, 3, 1]]),
        local_covariance_distance(real[:, :, ::-1], synthetic[:, :, [2, 0, 3, 1]]),
    ):
        np.testing.assert_allclose(shuffled, value, rtol=1e-12)
    classes = np.array([2, 0, 1])
    np.testing.assert_allclose(
        local_covariance_distance(real[classes], synthetic[classes]), value[classes], rtol=1e-12
    )


def test_covariance_ignores_the_mean_of_each_position(x64, maps):
    real, synthetic = map(jnp.asarray, maps)
    offset = jnp.asarray(np.random.default_rng(3).normal(size=(3, 1, 4, 5)))
    np.testing.assert_allclose(
        local_covariance_distance(real, synthetic + offset),
        local_covariance_distance(real, synthetic),
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    'synthetic',
    [np.random.default_rng(4).normal(size=(3, 1, 4, 5)), np.full((3, 4, 4, 5), 7.0)],
    ids=['one image', 'constant'],
)
def test_covariance_without_spread_is_a_constant(maps, synthetic):
    real, synthetic = jnp.float32(maps[0]), jnp.float32(synthetic)
    value, gradient = jax.value_and_grad(covariance_total, argnums=1)(real, synthetic)
    np.testing.assert_allclose(
        value, sum(np.sum(numpy_covariance(r) ** 2) for r in maps[0]), rtol=1e-5
    )
    assert not gradient.any()


@pytest.mark.parametrize('shape', [(3, 4, 5), (3, 4, 3, 5), (3, 4, 4, 6), (2, 4, 4, 5)])
def test_covariance_refuses_other_shapes(maps, shape):
    with pytest.raises(AssertionError):
        local_covariance_distance(jnp.float32(maps[0]), jnp.zeros(shape))


# Class centralization


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, 2.0),
        ({'form': 'exp_hinge', 'alpha': 0.5}, 2 * (np.exp(0.5) - 1)),
        ({'form': 'exp_hinge', 'alpha': 0.5, 'beta': 0.0}, 2 * np.exp(0.5)),
        ({'form': 'exp_hinge', 'alpha': 0.5, 'beta': 2.0}, 0.0),
    ],
)
def test_centralization_hand_worked(options, expected):
    features = jnp.array([[[0.0, 3.0], [2.0, 3.0]]])  # both at squared distance 1 from (1, 3)
    np.testing.assert_allclose(class_centralization(features, **options), [expected], rtol=1e-6)


@pytest.mark.parametrize('beta', [0.0, 1.0, 1.08])
def test_centralization_numpy_transcription(precision, features, beta):
    distances = np.sum((features - features.mean(1, keepdims=True)) ** 2, -1)
    array = precision.array(features)
    precision.assert_close(class_centralization(array), distances.sum(1))
    precision.assert_close(
        class_centralization(array, form='exp_hinge', beta=beta),
        np.maximum(np.exp(0.02 * distances) - beta, 0).sum(1),
    )


@pytest.mark.parametrize('case', ['a', 'b', 'n1'])
def test_centralization_authors_code(precision, reference, case):
    golden = reference('iid_cc_cm')
    value, gradient = jax.value_and_grad(centralization_total)(
        precision.array(golden[f'{case}_G_syn'][None])
    )
    precision.assert_close(CC_WEIGHT * value, golden[f'{case}_loss_cc_weighted'])
    precision.assert_close(CC_WEIGHT * gradient, golden[f'{case}_grad_G_syn_cc'][None])


@pytest.mark.parametrize(
    'case, squared, exp_hinge',
    [('a', 15.576679280394, 0.329753281962), ('b', 30.907025126176, 0.668858501302), ('n1', 0, 0)],
)
def test_centralization_checked_table(x64, reference, case, squared, exp_hinge):
    features = jnp.asarray(reference('iid_cc_cm')[f'{case}_G_syn'][None])
    np.testing.assert_allclose(class_centralization(features), [squared], rtol=1e-11)
    np.testing.assert_allclose(
        class_centralization(features, form='exp_hinge'), [exp_hinge], rtol=5e-12
    )


@pytest.mark.parametrize('case', ['a', 'b', 'n1'])
def test_weighted_total_of_authors_code(x64, reference, to_maps, case):
    golden = reference('iid_cc_cm')
    mean_gradient, covariance_gradient = (
        golden[f'{case}_grad_F_syn_{term}'] for term in ('dm', 'cm')
    )
    maps = [jnp.asarray(to_maps(golden[f'{case}_F_{data}'])) for data in ('real', 'syn')]
    features = jnp.asarray(golden[f'{case}_G_syn'][None])
    total = (
        golden[f'{case}_loss_dm']
        + CM_WEIGHT * covariance_total(*maps)
        + CC_WEIGHT * centralization_total(features)
    )
    np.testing.assert_allclose(total, golden[f'{case}_loss_total'], rtol=1e-12)
    gradient = to_maps(mean_gradient) + CM_WEIGHT * jax.grad(covariance_total, argnums=1)(*maps)
    np.testing.assert_allclose(
        gradient, to_maps(golden[f'{case}_grad_F_syn_total']), rtol=1e-9, atol=1e-12
    )
    assert np.array_equal(mean_gradient + covariance_gradient, golden[f'{case}_grad_F_syn_total'])


@pytest.mark.parametrize('form', ['squared', 'exp_hinge'])
def test_centralization_order_of_images_and_classes(x64, features, form):
    features = jnp.asarray(features)
    value = class_centralization(features, form=form)
    assert (value > 0).all()
    np.testing.assert_allclose(
        class_centralization(features[:, [2, 0, 3, 1]], form=form), value, rtol=1e-12
    )
    classes = np.array([2, 0, 1])
    np.testing.assert_allclose(
        class_centralization(features[classes], form=form), value[classes], rtol=1e-12
    )


@pytest.mark.parametrize('form', ['squared', 'exp_hinge'])
@pytest.mark.parametrize(
    'features',
    [np.random.default_rng(5).normal(size=(3, 1, 5)), np.full((3, 4, 5), 7.0)],
    ids=['one image', 'constant'],
)
def test_centralization_zero_at_a_collapsed_class(form, features):
    value, gradient = jax.value_and_grad(centralization_total)(jnp.float32(features), form=form)
    assert value == 0 and not gradient.any()


def test_exp_hinge_is_alpha_times_squared_for_small_spread(features):
    small = jnp.float32(1e-3 * features)
    np.testing.assert_allclose(
        class_centralization(small, form='exp_hinge', alpha=0.3),
        0.3 * class_centralization(small),
        rtol=1e-4,
    )


@pytest.mark.parametrize('scale', [60.0, 1e3, 1e6])
def test_exp_hinge_stays_finite_in_float32(features, scale):
    features = jnp.float32(scale * features)
    value, gradient = jax.value_and_grad(centralization_total)(features, form='exp_hinge')
    assert np.isfinite(value) and value > 1e20
    assert np.isfinite(gradient).all()


def test_exp_hinge_is_exact_below_the_clip(x64):
    features = jnp.array([[[-60.0], [60.0]]])  # squared distance 3600, exponent 72
    value = class_centralization(features, form='exp_hinge')
    np.testing.assert_allclose(value, [2 * np.exp(72.0)], rtol=1e-12)


def test_centralization_refuses_an_unknown_form(features):
    message = (
        r"class centralization form 'exp_hing'; valid: exp_hinge, squared\. Did you mean "
        r"'exp_hinge'\?"
    )
    with pytest.raises(ValueError, match=message):
        class_centralization(jnp.float32(features), form='exp_hing')


def test_centralization_refuses_other_shapes():
    with pytest.raises(AssertionError):
        class_centralization(jnp.zeros((4, 5)))


# The descriptor of IID on Tiny-ImageNet


def by_row(maps):
    """[N, H W, D] -> [N, W, H D], written out."""
    side = int(len(maps[0]) ** 0.5)
    grid = maps.reshape(len(maps), side, side, -1)
    return np.stack([[np.concatenate(list(image[:, w])) for w in range(side)] for image in grid])


def test_a_channel_at_every_row_is_a_variable_of_its_own(precision, maps):
    expected = [
        np.sum((numpy_covariance(by_row(r)) - numpy_covariance(by_row(s))) ** 2)
        for r, s in zip(*maps)
    ]
    found = local_covariance_distance(*map(precision.array, maps), descriptor='channel-row')
    precision.assert_close(found, expected)


def test_rows_by_hand():
    # one channel of 2x2 maps: variables are the rows, samples the columns
    real = jnp.array([[[1.0], [2.0], [0.0], [0.0]], [[-1.0], [-2.0], [0.0], [0.0]]])
    synthetic = jnp.zeros((2, 4, 1))
    # Sigma(real) = [[1 + 4, 0], [0, 0]]
    found = local_covariance_distance(real[None], synthetic[None], descriptor='channel-row')
    np.testing.assert_allclose(found, [25.0])
    # rows (1, 2) and (2, -1) do not covary: [[5, 0], [0, 5]], where 'channel' adds them up to 10
    crossed = real.at[:, 2:, 0].set(jnp.array([[2.0, -1.0], [-2.0, 1.0]]))
    found = local_covariance_distance(crossed[None], synthetic[None], descriptor='channel-row')
    np.testing.assert_allclose(found, [50.0])
    np.testing.assert_allclose(local_covariance_distance(crossed[None], synthetic[None]), [100.0])


def test_one_image_has_no_gradient_by_row_either(maps):
    real, synthetic = jnp.float32(maps[0]), jnp.float32(maps[1])[:, :1]
    slope = jax.grad(lambda s: local_covariance_distance(real, s, descriptor='channel-row').sum())(
        synthetic
    )
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_descriptors_that_cannot_be_are_refused():
    maps = jnp.ones((1, 2, 6, 3))
    with pytest.raises(ValueError, match="'channel-row' needs square maps, got 6 positions"):
        local_covariance_distance(maps, maps, descriptor='channel-row')
    with pytest.raises(ValueError, match="unknown local descriptor 'row'; valid: channel, "):
        local_covariance_distance(maps, maps, descriptor='row')
