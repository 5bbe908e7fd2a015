"""Colour operations against hand-worked values, NumPy and the papers' code
(references/iid_dsa.npz)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment import color

OPERATIONS = {
    'brightness': (color.brightness, lambda u: u - 0.5),
    'saturation': (color.saturation, lambda u: 2 * u),
    'contrast': (color.contrast, lambda u: u + 0.5),
}


def nhwc(images):
    return jnp.asarray(images).transpose(0, 2, 3, 1)


@pytest.mark.parametrize('sharing', ['siam', 'indiv'])
@pytest.mark.parametrize('name', OPERATIONS)
def test_matches_reference_value_and_gradient(reference, name, sharing):
    stored = reference('iid_dsa')
    operation, parameter = OPERATIONS[name]
    uniform = stored[f'{name}_{sharing}_draws'][0]
    draw = jnp.asarray(parameter(uniform[:1] if sharing == 'siam' else uniform), jnp.float32)
    y, vjp = jax.vjp(jax.jit(lambda x: operation(x, draw)), nhwc(stored['x16']))
    np.testing.assert_allclose(y, nhwc(stored[f'{name}_{sharing}_y']), rtol=0, atol=4e-7)
    (gradient,) = vjp(nhwc(stored['cot16']))
    np.testing.assert_allclose(gradient, nhwc(stored[f'{name}_{sharing}_vjp']), rtol=0, atol=4e-7)


def test_color_matches_reference(reference):
    stored = reference('iid_dsa')
    u = jnp.asarray(stored['diffaug_S_color_draws'], jnp.float32)[:, None]
    y = color.color(nhwc(stored['x16']), color.ColorDraw(u[0] - 0.5, 2 * u[1], u[2] + 0.5))
    np.testing.assert_allclose(y, nhwc(stored['diffaug_S_color_y']), rtol=0, atol=4e-7)


def test_hand_worked_values():
    images = jnp.array([1.0, 3.0, 5.0, 7.0]).reshape(1, 1, 2, 2)
    half = jnp.array([0.5])
    np.testing.assert_array_equal(color.brightness(images, half).ravel(), [1.5, 3.5, 5.5, 7.5])
    np.testing.assert_array_equal(color.saturation(images, half).ravel(), [1.5, 2.5, 5.5, 6.5])
    np.testing.assert_array_equal(color.contrast(images, half).ravel(), [2.5, 3.5, 4.5, 5.5])
    # 1.5 3.5 | 5.5 7.5 -> factor 0: 2.5 2.5 | 6.5 6.5 -> factor 2 about 4.5
    both = color.color(images, color.ColorDraw(half, jnp.zeros(1), jnp.array([2.0])))
    np.testing.assert_array_equal(both.ravel(), [0.5, 0.5, 8.5, 8.5])


def test_matches_numpy_transcription(x64):
    rng = np.random.default_rng(0)
    x, a, b, c = rng.normal(size=(4, 5, 7, 3)), *rng.uniform(size=(3, 4))
    expected = np.empty_like(x)
    for image in range(4):
        y = x[image] + a[image]
        grey = (y[..., :1] + y[..., 1:2] + y[..., 2:]) / 3
        y = (y - grey) * b[image] + grey
        expected[image] = (y - y.mean()) * c[image] + y.mean()
    result = color.color(jnp.asarray(x), color.ColorDraw(*map(jnp.asarray, (a, b, c))))
    assert result.dtype == jnp.float64
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-14)


def test_neutral_parameters_and_constant_images():
    images = jax.random.normal(jax.random.key(0), (3, 4, 5, 1))
    np.testing.assert_allclose(color.saturation(images, jnp.array([1.7])), images, rtol=0, atol=0)
    np.testing.assert_allclose(color.contrast(images, jnp.ones(1)), images, rtol=0, atol=3e-7)
    flat = jnp.full((2, 4, 4, 3), 0.25)
    gradient = jax.grad(lambda x: color.color(x, color.ColorDraw(*3 * [jnp.ones(1)])).sum())(flat)
    np.testing.assert_allclose(gradient, jnp.ones_like(flat), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    'draw, low, high',
    [
        (color.draw_brightness, -0.5, 0.5),
        (color.draw_saturation, 0, 2),
        (color.draw_contrast, 0.5, 1.5),
    ],
)
def test_draws_fill_their_range_evenly(draw, low, high):
    values = draw(jax.random.key(0), 4000)
    assert values.shape == (4000,) and values.dtype == jnp.float32
    counts, _ = np.histogram(values, bins=8, range=(low, high))
    assert counts.sum() == 4000  # none outside
    assert np.abs(counts - 500).max() < 105  # 5 standard deviations


def test_strengths_move_the_ranges():
    key = jax.random.key(1)
    for draw, strength, expected in (
        (color.draw_brightness, 3.0, lambda x: 3 * x),
        (color.draw_saturation, 4.0, lambda x: 2 * x),
        (color.draw_contrast, 1.0, lambda x: x + 0.5),
    ):
        np.testing.assert_allclose(
            draw(key, 50, strength=strength), expected(draw(key, 50)), rtol=1e-6
        )


def test_color_draws_are_independent_of_each_other():
    draw = color.draw_color(jax.random.key(2), 2000)
    correlation = np.corrcoef(np.stack(draw))
    assert np.abs(correlation - np.eye(3)).max() < 0.12  # 5 standard deviations


def test_more_draws_than_images_are_refused():
    with pytest.raises(AssertionError):
        color.brightness(jnp.zeros((1, 2, 2, 3)), jnp.zeros(3))
