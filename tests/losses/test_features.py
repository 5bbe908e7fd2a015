"""Mean feature distance against hand work, NumPy and the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.losses import mean_feature_distance


@jax.jit
def total(real, synthetic):
    return jnp.sum(mean_feature_distance(real, synthetic))


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 6, 5)), rng.normal(size=(3, 4, 5))


def test_hand_worked():
    real = jnp.array([[[0.0, 0.0], [2.0, 4.0]]])  # mean (1, 2)
    synthetic = jnp.array([[[1.0, -1.0], [3.0, 1.0]]])  # mean (2, 0)
    np.testing.assert_allclose(mean_feature_distance(real, synthetic), [5.0])


def test_hand_worked_with_weights():
    real = jnp.array(
        [[[0.0, 0.0], [2.0, 4.0], [9.0, 9.0]], [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]]
    )  # means (1, 2) and (1, 1)
    # means (2, 0) and (1, 2)
    synthetic = jnp.array([[[1.0, -1.0], [3.0, 1.0]], [[1.0, 1.0], [1.0, 3.0]]])
    weights = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(
        mean_feature_distance(real, synthetic, real_weights=weights), [5.0, 1.0]
    )


def test_numpy_transcription(precision, features):
    real, synthetic = features
    expected = [
        sum((r.mean(0)[d] - s.mean(0)[d]) ** 2 for d in range(5)) for r, s in zip(real, synthetic)
    ]
    precision.assert_close(mean_feature_distance(*map(precision.array, features)), expected)


@pytest.mark.parametrize('case', ['a', 'b', 'n1'])
def test_authors_code(precision, reference, to_maps, case):
    golden = reference('iid_cc_cm')
    real, synthetic = (to_maps(golden[f'{case}_F_{data}']) for data in ('real', 'syn'))
    real, synthetic = (
        precision.array(maps.reshape(*maps.shape[:2], -1)) for maps in (real, synthetic)
    )
    value, gradient = jax.value_and_grad(total, argnums=1)(real, synthetic)
    precision.assert_close(value, golden[f'{case}_loss_dm'])
    precision.assert_close(
        gradient, to_maps(golden[f'{case}_grad_F_syn_dm']).reshape(gradient.shape)
    )


@pytest.mark.parametrize(
    'case, expected', [('a', 9.990519931273), ('b', 38.875129223980), ('n1', 28.404531902361)]
)
def test_checked_table(x64, reference, case, expected):
    golden = reference('iid_cc_cm')
    real, synthetic = (golden[f'{case}_F_{data}'] for data in ('real', 'syn'))
    value = mean_feature_distance(
        jnp.asarray(real.reshape(1, len(real), -1)),
        jnp.asarray(synthetic.reshape(1, len(synthetic), -1)),
    )
    np.testing.assert_allclose(value, [expected], rtol=1e-12)


def test_zero_at_equality_and_positive_elsewhere(features):
    real, synthetic = map(jnp.float32, features)
    value, gradient = jax.value_and_grad(total, argnums=1)(real, real)
    # the compiled means may differ in their last bit
    np.testing.assert_allclose(value, 0, atol=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    assert (mean_feature_distance(real, synthetic) > 0).all()


def test_order_of_images_and_classes(x64, features):
    real, synthetic = map(jnp.asarray, features)
    value = mean_feature_distance(real, synthetic)
    shuffled = mean_feature_distance(real[:, [3, 1, 5, 0, 2, 4]], synthetic[:, [2, 0, 3, 1]])
    np.testing.assert_allclose(shuffled, value, rtol=1e-12)
    classes = np.array([2, 0, 1])
    np.testing.assert_array_equal(
        mean_feature_distance(real[classes], synthetic[classes]), value[classes]
    )


@pytest.mark.parametrize(
    'synthetic', [np.ones((3, 1, 5)), np.full((3, 4, 5), 7.0), np.zeros((3, 4, 5))]
)
def test_finite_at_one_image_and_constant_features(features, synthetic):
    value, gradient = jax.value_and_grad(total, argnums=1)(
        jnp.float32(features[0]), jnp.float32(synthetic)
    )
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize('shape', [(4, 5), (2, 4, 5), (3, 4, 6)])
def test_refuses_other_shapes(features, shape):
    with pytest.raises(AssertionError):
        mean_feature_distance(jnp.float32(features[0]), jnp.zeros(shape))
