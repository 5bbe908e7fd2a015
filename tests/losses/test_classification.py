"""Soft-label losses against hand work, NumPy and the authors' code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd.losses import remembering_cross_entropy, soft_cross_entropy, soft_label_kl


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.fixture
def logits():
    rng = np.random.default_rng(11)
    return 3 * rng.normal(size=(2, 4, 6)), 3 * rng.normal(size=(2, 4, 6))


def test_cross_entropy_hand_worked():
    logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 3.0]]))  # probabilities (1/4, 3/4)
    labels = jnp.array([[0.5, 0.5], [0.0, 1.0]])
    np.testing.assert_allclose(
        soft_cross_entropy(logits, labels),
        [(np.log(4) + np.log(4 / 3)) / 2, np.log(4 / 3)],
        rtol=1e-6,
    )


def test_cross_entropy_numpy_transcription_and_optax(precision, logits):
    student, labels = logits[0], np.exp(log_softmax(logits[1]))
    arrays = precision.array(student), precision.array(labels)
    value = soft_cross_entropy(*arrays)
    precision.assert_close(value, -np.sum(labels * log_softmax(student), -1))
    precision.assert_close(value, optax.softmax_cross_entropy(*arrays))


def test_cross_entropy_gradient_is_prediction_minus_label(precision, logits):
    student, labels = logits[0], np.exp(log_softmax(logits[1]))
    target = precision.array(labels)
    gradient = jax.grad(lambda x: soft_cross_entropy(x, target).sum())(precision.array(student))
    precision.assert_close(gradient, np.exp(log_softmax(student)) - labels)


def test_cross_entropy_is_finite_for_certain_mistakes():
    logits, labels = jnp.array([[1e4, -1e4], [0.0, 0.0]]), jnp.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(soft_cross_entropy(logits, labels), [2e4, np.log(2)], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: soft_cross_entropy(x, labels).sum())(logits)).all()


def test_kl_hand_worked():
    # at T = 2: (1/4, 3/4) and (1/2, 1/2)
    teacher, student = 2 * jnp.log(jnp.array([1.0, 3.0])), jnp.zeros(2)
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    loss = functools.partial(soft_label_kl, student, teacher, temperature=2.0)
    np.testing.assert_allclose(loss(), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(scale_by_temperature_squared=True), 4 * expected, rtol=1e-6)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 20.0])
def test_kl_numpy_transcription(precision, logits, temperature):
    student, teacher = (log_softmax(x / temperature) for x in logits)
    value = soft_label_kl(*map(precision.array, logits), temperature=temperature)
    precision.assert_close(value, np.sum(np.exp(teacher) * (teacher - student), -1))


@pytest.mark.parametrize('temperature', [1, 20, 30])
@pytest.mark.parametrize('prefix, squared', [('kl', False), ('tiny_kl', True)])
def test_kl_authors_code(precision, reference, temperature, prefix, squared):
    golden = reference('infer_kd')
    student, teacher = (
        precision.array(golden['student']),
        precision.array(golden['teachers'].mean(0)),
    )
    loss = functools.partial(
        soft_label_kl, temperature=temperature, scale_by_temperature_squared=squared
    )
    value, gradient = jax.value_and_grad(lambda x: loss(x, teacher).mean())(student)
    precision.assert_close(value, golden[f'{prefix}_T{temperature}'])
    precision.assert_close(gradient, golden[f'{prefix}_T{temperature}_grad'])


def test_kl_authors_code_of_mixed_images(precision, reference):
    golden = reference('infer_kd')
    teacher, share = golden['teachers'].mean(0), golden['mix_lam']
    mixed = precision.array(share * teacher + (1 - share) * teacher[golden['mix_idx']])
    value = soft_label_kl(precision.array(golden['student']), mixed, temperature=30.0).mean()
    precision.assert_close(value, golden['kl_T30_mixed_logits'])


def test_kl_zero_at_equality_and_positive_elsewhere(logits):
    student, teacher = map(jnp.float32, logits)
    loss = functools.partial(soft_label_kl, temperature=4.0)
    assert (loss(student, teacher) > 0).all()
    value, gradient = jax.value_and_grad(lambda x: loss(x, teacher).sum())(teacher)
    assert value == 0
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


def test_kl_differs_from_cross_entropy_by_the_entropy_of_the_labels(x64, logits):
    student, teacher = map(jnp.asarray, logits)
    labels = jax.nn.softmax(teacher)
    difference = soft_cross_entropy(student, labels) - soft_cross_entropy(teacher, labels)
    np.testing.assert_allclose(
        soft_label_kl(student, teacher, temperature=1.0), difference, rtol=1e-10
    )


def test_order_of_samples_and_classes(x64, logits):
    student, teacher = map(jnp.asarray, logits)
    classes = np.array([3, 0, 5, 1, 4, 2])
    for loss in (
        functools.partial(soft_label_kl, temperature=2.0),
        lambda s, t: soft_cross_entropy(s, jax.nn.softmax(t)),
    ):
        value = loss(student, teacher)
        np.testing.assert_allclose(
            loss(student[..., classes], teacher[..., classes]), value, rtol=1e-10
        )
        np.testing.assert_allclose(
            loss(student[:, ::-1], teacher[:, ::-1]), value[:, ::-1], rtol=1e-10
        )


def test_kl_is_finite_where_probabilities_underflow():
    student, teacher = jnp.array([[0.0, 900.0, 0.0]]), jnp.array([[900.0, 0.0, 0.0]])
    value, gradient = jax.value_and_grad(
        lambda x: soft_label_kl(x, teacher, temperature=1.0).sum()
    )(student)
    np.testing.assert_allclose(value, 900.0, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-1.0, 1.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize('temperature', [0, -1.0, float('nan')])
def test_kl_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(
        ValueError, match=f'temperature must be positive, got {temperature}; 1 leaves'
    ):
        soft_label_kl(jnp.zeros(3), jnp.zeros(3), temperature=temperature)


def test_refuses_unequal_shapes():
    with pytest.raises(AssertionError):
        soft_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((3,)))
    with pytest.raises(AssertionError):
        soft_label_kl(jnp.zeros((2, 3)), jnp.zeros((2, 1)), temperature=1.0)


def test_remembering_by_hand_and_in_numpy(x64):
    unseen = -1e9
    logits, labels = jnp.array([[0.0, 0.0, 0.0]]), jnp.array([[0.0, 0.0, 1.0]])
    said = jnp.array([[np.log(3.0), 0.0, unseen]])  # 3/4 and 1/4; the student says 1/2 and 1/2
    value = remembering_cross_entropy(logits, labels, said, beta=2.0, temperature=1.0)
    divergence = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    np.testing.assert_allclose(value, np.log(3) + 2 * divergence, rtol=1e-12)
    alone = remembering_cross_entropy(logits, labels, said, beta=0.0, temperature=1.0)
    np.testing.assert_allclose(alone, np.log(3), rtol=1e-12)

    rng, beta, temperature = np.random.default_rng(0), 0.7, 2.0
    q, old = rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    truth = rng.dirichlet(np.ones(5), 4)

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    def in_numpy(q):
        entropy = -(truth * np.log(softmax(q))).sum(-1)
        p, ours = softmax(old / temperature), softmax(q[:, :3] / temperature)
        return entropy + beta * temperature**2 * (p * (np.log(p) - np.log(ours))).sum(-1)

    def ours(q):
        filled = jnp.concatenate([jnp.asarray(old), jnp.full((4, 2), unseen)], axis=1)
        return remembering_cross_entropy(
            q, jnp.asarray(truth), filled, beta=beta, temperature=temperature
        )

    np.testing.assert_allclose(ours(jnp.asarray(q)), in_numpy(q), rtol=1e-9)
    slope = jax.grad(lambda q: ours(q).sum())(jnp.asarray(q))
    step = np.zeros_like(q)
    step[1, 2] = 1e-6
    ends = in_numpy(q + step)[1], in_numpy(q - step)[1]
    np.testing.assert_allclose(slope[1, 2], (ends[0] - ends[1]) / 2e-6, rtol=1e-6)
    # p of classes that were seen, less the student's own share of them, is all that pulls
    expected = softmax(q) - truth
    expected[:, :3] += (
        beta * temperature * (softmax(q[:, :3] / temperature) - softmax(old / temperature))
    )
    np.testing.assert_allclose(slope, expected, atol=1e-9)
