"""Colour jitter and lighting by hand, in numpy and in torch's order of axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment import photometric


def pictures(num=3):
    return np.random.default_rng(0).uniform(size=(num, 4, 5, 3))


def in_numpy(image, factors, order):
    grey = lambda x: x @ np.array([0.299, 0.587, 0.114])
    for which in order:
        if which == 0:
            image = factors[0] * image
        elif which == 1:
            image = factors[1] * image + (1 - factors[1]) * grey(image).mean()
        else:
            image = factors[2] * image + (1 - factors[2]) * grey(image)[..., None]
    return image


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_jitter_is_the_formula_in_every_order(order, x64):
    images = pictures()
    factors = np.array([[0.6, 1.4, 1.0], [1.2, 0.7, 0.0], [1.0, 1.0, 1.0]])
    found = photometric.jitter(jnp.asarray(images), jnp.asarray(factors), jnp.array(order))
    for ours, image, own in zip(found, images, factors):
        np.testing.assert_allclose(ours, in_numpy(image, own, order), atol=1e-12)
    np.testing.assert_allclose(found[2], images[2], atol=1e-12)
    slope = jax.grad(
        lambda x: photometric.jitter(x, jnp.asarray(factors), jnp.array(order))[0, 1, 2, 0]
    )(jnp.asarray(images))
    step = np.zeros_like(images)
    step[0, 1, 2, 1] = 1e-6
    ends = [in_numpy(images[0] + s * step[0], factors[0], order)[1, 2, 0] for s in (1, -1)]
    np.testing.assert_allclose(slope[0, 1, 2, 1], (ends[0] - ends[1]) / 2e-6, atol=1e-8)


def test_lighting_by_hand(x64):
    images = pictures(2)
    amounts = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, -1.0]])
    found = photometric.lighting(jnp.asarray(images), amounts)
    first = 0.2175 * np.array([-0.5675, -0.5808, -0.5836])
    second = 2 * 0.0188 * np.array([0.7192, -0.0045, -0.6948]) - 0.0045 * np.array(
        [0.4009, -0.8140, 0.4203]
    )
    shift = np.stack([first, second])[:, None, None]
    np.testing.assert_allclose(found - images, shift + 0 * images, atol=1e-12)


def test_draws_stay_in_their_ranges_and_images_are_normalised_again():
    factors, order = photometric.draw_jitter(jax.random.key(0), 500)
    assert factors.min() >= 0.6 and factors.max() < 1.4 and np.ptp(factors) > 0.7
    assert sorted(np.asarray(order)) == [0, 1, 2]
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    images = jnp.asarray(pictures(), jnp.float32)
    none = photometric.jitter_and_light(mean=mean, std=std, strength=0, spread=0)
    np.testing.assert_allclose(none(jax.random.key(0), images), images, atol=1e-5)
    some = photometric.jitter_and_light(mean=mean, std=std)
    moved = some(jax.random.key(0), images)
    assert moved.shape == images.shape and np.abs(moved - images).max() > 0.05


@pytest.mark.parametrize(
    'wrong, message',
    [
        ({'mean': (0.5,), 'std': (0.5,)}, 'need red, green and blue; got 1 means and 1 stds'),
        ({'strength': 1.5}, r'strength of the jitter must lie in \[0, 1\], got 1.5'),
        ({'spread': -1}, 'spread of the lighting must be 0 .none. or more, got -1'),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        photometric.jitter_and_light(**{'mean': (0.5,) * 3, 'std': (0.5,) * 3, **wrong})
