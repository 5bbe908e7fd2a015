"""What is learned beside the images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.parametrizations import partitioned, pixels, with_learning_rate, with_soft_labels
from jaxdd.types import SyntheticSet

KEY = jax.random.key(0)
SET = SyntheticSet(
    jax.random.normal(KEY, (3, 4, 8, 8, 1)), jax.random.normal(jax.random.key(1), (3, 4, 3))
)


@pytest.mark.parametrize('inner', [pixels(), partitioned(2, order='row', shrink='mean')])
def test_the_rate_is_a_parameter_and_shown(inner):
    made = with_learning_rate(inner, 0.01)
    params, fixed = made.init(KEY, SET)
    assert (
        params['learning_rate'] == np.float32(0.01) and params['learning_rate'].dtype == 'float32'
    )
    shown = made.decode(params, fixed)
    plain = inner.decode(*inner.init(KEY, SET))
    np.testing.assert_array_equal(shown.images, plain.images)
    np.testing.assert_array_equal(shown.labels, plain.labels)
    assert shown.learning_rate is params['learning_rate']


@pytest.mark.parametrize('inner', [pixels(), partitioned(2, order='row', shrink='mean')])
def test_labels_are_the_softmax_of_what_is_moved(inner):
    made = with_soft_labels(inner)
    params, fixed = made.init(KEY, SET)
    np.testing.assert_array_equal(params['labels'], SET.labels)
    shown = made.decode(params, fixed)
    np.testing.assert_allclose(shown.labels, jax.nn.softmax(SET.labels))
    np.testing.assert_array_equal(shown.images, inner.decode(*inner.init(KEY, SET)).images)


def test_the_images_are_projected_and_the_rest_is_not():
    box = ((0.5,), (0.5,))
    made = with_learning_rate(with_soft_labels(pixels(box)), 5.0)
    params, fixed = made.init(KEY, SET._replace(images=9 * SET.images, labels=9 * SET.labels))
    projected = made.project(params, fixed)
    assert set(projected) == {'images', 'labels', 'learning_rate'}
    assert np.abs(projected['images']).max() == 1 and projected['learning_rate'] == 5
    np.testing.assert_array_equal(projected['labels'], params['labels'])


def test_a_gradient_reaches_labels_and_rate():
    made = with_learning_rate(with_soft_labels(pixels()), 0.5)
    params, fixed = made.init(KEY, SET)

    def loss(params):
        shown = made.decode(params, fixed)
        return shown.learning_rate**2 + shown.labels[0, 0, 0]

    gradient = jax.grad(loss)(params)
    assert gradient['learning_rate'] == 1.0
    p = np.asarray(jax.nn.softmax(SET.labels[0, 0]))
    np.testing.assert_allclose(gradient['labels'][0, 0], p[0] * (np.eye(3)[0] - p), rtol=1e-5)


def test_equal_logits_give_a_uniform_label_and_huge_ones_a_hard_one():
    made = with_soft_labels(pixels())
    for logits, expected in ((jnp.zeros(3), [1 / 3] * 3), (1e4 * jnp.eye(3)[0], [1, 0, 0])):
        params, fixed = made.init(KEY, SET._replace(labels=jnp.tile(logits, (3, 4, 1))))
        np.testing.assert_allclose(made.decode(params, fixed).labels[1, 2], expected, rtol=1e-6)


@pytest.mark.parametrize('start', [0.0, -0.1, float('nan')])
def test_a_rate_that_is_not_above_zero_is_refused(start):
    with pytest.raises(ValueError, match='must start above 0, got'):
        with_learning_rate(pixels(), start)
