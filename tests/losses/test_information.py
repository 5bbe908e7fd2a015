"""Conditional mutual information against hand work, NumPy and the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.losses import conditional_mutual_information


@jax.jit
def mean_over_classes(features):
    return jnp.mean(conditional_mutual_information(features))


def probabilities(features):
    exponentials = np.exp(features - features.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.fixture
def features():
    return 2 * np.random.default_rng(6).normal(size=(3, 4, 5))


def test_hand_worked():
    # P = (1/2, 1/2), (1/4, 3/4); Q = (3/8, 5/8)
    features = jnp.log(jnp.array([[[1.0, 1.0], [1.0, 3.0]]]))
    first = 0.5 * np.log(4 / 3) + 0.5 * np.log(4 / 5)
    second = 0.25 * np.log(2 / 3) + 0.75 * np.log(6 / 5)
    np.testing.assert_allclose(
        conditional_mutual_information(features), [(first + second) / 2], rtol=1e-5
    )


def test_numpy_transcription(precision, features):
    expected = []
    for p in probabilities(features):
        q = p.mean(0)
        expected.append(np.mean([np.sum(row * np.log(row / q)) for row in p]))
    precision.assert_close(conditional_mutual_information(precision.array(features)), expected)


def test_equals_the_jensen_shannon_divergence_of_the_class(x64, features):
    def entropy(law):
        return -np.sum(law * np.log(law), -1)

    p = probabilities(features)
    np.testing.assert_allclose(
        conditional_mutual_information(jnp.asarray(features)),
        entropy(p.mean(1)) - entropy(p).mean(1),
        rtol=1e-10,
    )


def test_authors_code(precision, reference):
    golden = reference('cmi_empirical')
    features = golden['A_feats'].reshape(4, 3, 16)
    array = precision.array(features)
    precision.assert_close(conditional_mutual_information(array), golden['A_kl_per_sample'].mean(1))
    value, gradient = jax.value_and_grad(mean_over_classes)(array)
    precision.assert_close(value, golden['A_cmi'])
    precision.assert_close(8000 * value, golden['A_weighted'])
    precision.assert_close(50000 * value, golden['A_dsa_weighted'])
    precision.assert_close(gradient, golden['A_grad_feats'].reshape(features.shape))


def test_one_image_per_class(precision, reference):
    golden = reference('cmi_empirical')
    value, gradient = jax.value_and_grad(mean_over_classes)(
        precision.array(golden['A_feats'][:, None])
    )
    assert value == 0 and not gradient.any()
    # theirs: rounding
    assert abs(golden['D_ipc1_cmi']) < 1e-9 and golden['D_ipc1_grad_maxabs'] < 1e-9


def test_underflow_where_the_authors_code_is_nan(reference):
    golden = reference('cmi_empirical')
    assert np.isnan(golden['E_official_f32'])
    value, gradient = jax.value_and_grad(mean_over_classes)(
        jnp.asarray(golden['E_underflow_feats'][None])
    )
    assert value == 0 and not gradient.any()


def test_underflow_of_distinct_images(precision):
    # Disjoint laws: KL = ln 2 for each; the third channel has probability 0 in both.
    features = precision.array([[[900.0, 0.0, -900.0], [0.0, 900.0, -900.0]]])
    value, gradient = jax.value_and_grad(mean_over_classes)(features)
    precision.assert_close(value, np.log(2))
    assert not gradient.any()


def test_finite_at_the_end_of_float32():
    end = np.finfo(np.float32).max
    features = jnp.array([[[end, -end, 0.0], [end, -end, 0.0], [0.0, -end, end]]])
    value, gradient = jax.value_and_grad(mean_over_classes)(features)
    np.testing.assert_allclose(value, np.log(3) - 2 / 3 * np.log(2), rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_gradient_in_closed_form(x64, features):
    p = probabilities(features)
    log_ratio = np.log(p / p.mean(1, keepdims=True))
    divergence = np.sum(p * log_ratio, -1, keepdims=True)
    gradient = jax.grad(mean_over_classes)(jnp.asarray(features))
    np.testing.assert_allclose(gradient, p * (log_ratio - divergence) / 12, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-15)


@pytest.mark.parametrize('scale', [0.01, 1.0, 100.0])
@pytest.mark.parametrize('n', [2, 7])
def test_between_zero_and_log_n(x64, n, scale):
    features = scale * np.random.default_rng(7).normal(size=(5, n, 6))
    value = np.asarray(conditional_mutual_information(jnp.asarray(features)))
    assert (value > 0).all() and (value <= np.log(n) + 1e-12).all()


def test_log_n_is_reached_by_disjoint_images():
    features = jnp.float32(50 * np.eye(4)[None])
    np.testing.assert_allclose(conditional_mutual_information(features), [np.log(4)], rtol=1e-6)


def test_small_spread_form(x64):
    rng = np.random.default_rng(8)
    centre, spread = rng.normal(size=(3, 1, 16)), 1e-3 * rng.normal(size=(3, 5, 16))
    spread -= spread.mean(1, keepdims=True)
    q = probabilities(centre + spread).mean(1, keepdims=True)
    variance = np.sum(q * spread**2, -1) - np.sum(q * spread, -1) ** 2
    np.testing.assert_allclose(
        conditional_mutual_information(jnp.asarray(centre + spread)),
        variance.mean(1) / 2,
        rtol=5e-3,
    )


def test_order_of_images_and_classes(x64, features):
    features = jnp.asarray(features)
    value = conditional_mutual_information(features)
    np.testing.assert_allclose(
        conditional_mutual_information(features[:, [2, 0, 3, 1]]), value, rtol=1e-12
    )
    classes = np.array([2, 0, 1])
    np.testing.assert_allclose(
        conditional_mutual_information(features[classes]), value[classes], rtol=1e-12
    )


def test_blind_to_a_constant_added_to_all_channels(x64, features):
    offset = np.random.default_rng(9).normal(size=(3, 4, 1))
    np.testing.assert_allclose(
        conditional_mutual_information(jnp.asarray(features + offset)),
        conditional_mutual_information(jnp.asarray(features)),
        rtol=1e-10,
    )


@pytest.mark.parametrize('level', [0.0, 7.0, -1e4])
def test_zero_for_identical_images(level):
    row = np.float32(level + np.random.default_rng(10).normal(size=(3, 1, 5)))
    for features in (np.repeat(row, 4, axis=1), np.full((3, 4, 5), level, np.float32)):
        value, gradient = jax.value_and_grad(mean_over_classes)(jnp.asarray(features))
        np.testing.assert_allclose(value, 0, atol=1e-6)
        np.testing.assert_allclose(gradient, 0, atol=1e-7)


def test_refuses_other_shapes():
    with pytest.raises(AssertionError):
        conditional_mutual_information(jnp.zeros((4, 5)))
