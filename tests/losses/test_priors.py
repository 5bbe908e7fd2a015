"""Priors on images, by hand and by NumPy; SRe2L's code is in test_moments.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.losses import pixel_norm, total_variation

SQUARE = jnp.array([[1.0, 2.0], [4.0, 8.0]]).reshape(1, 2, 2, 1)
# right 1, 4; down 3, 6; diagonals 7 and 2
PRIORS = pytest.mark.parametrize('prior', [total_variation, pixel_norm])


def test_hand_worked_values():
    variation = np.sqrt(17) + np.sqrt(45) + 7 + 2
    np.testing.assert_allclose(total_variation(SQUARE), variation, rtol=1e-6)
    np.testing.assert_allclose(pixel_norm(SQUARE), np.sqrt(85), rtol=1e-6)
    # The norm of two equal images is that of one times sqrt 2; the mean of two sizes is their mean.
    np.testing.assert_allclose(
        total_variation(jnp.repeat(SQUARE, 2, axis=0)), np.sqrt(2) * variation, rtol=1e-6
    )
    np.testing.assert_allclose(
        pixel_norm(jnp.concatenate([SQUARE, 3 * SQUARE])), 2 * np.sqrt(85), rtol=1e-6
    )


def test_numpy_transcription(precision):
    images = np.random.default_rng(0).normal(size=(3, 5, 7, 2))
    total = 0.0
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        squares = [
            (images[:, i, j] - images[:, i + down, j + right]) ** 2
            for i in range(5)
            for j in range(7)
            if i + down < 5 and 0 <= j + right < 7
        ]
        total += np.sqrt(np.sum(squares))
    precision.assert_close(total_variation(precision.array(images)), total)
    precision.assert_close(
        pixel_norm(precision.array(images)),
        np.mean([np.sqrt(np.sum(image**2)) for image in images]),
    )


def test_gradients_by_finite_differences(x64):
    rng = np.random.default_rng(1)
    images, direction = (jnp.asarray(rng.normal(size=(2, 4, 3, 2))) for _ in range(2))
    for prior in (total_variation, pixel_norm):
        slope = (prior(images + 1e-6 * direction) - prior(images - 1e-6 * direction)) / 2e-6
        np.testing.assert_allclose(jnp.sum(jax.grad(prior)(images) * direction), slope, rtol=1e-8)


@PRIORS
def test_order_of_images_and_mirroring(x64, prior):
    images = jnp.asarray(np.random.default_rng(2).normal(size=(3, 4, 5, 2)))
    for turned in (
        images[::-1],
        images[:, ::-1],
        images[:, :, ::-1],
        jnp.swapaxes(images, 1, 2),
        -images,
    ):
        np.testing.assert_allclose(prior(turned), prior(images), rtol=1e-12)


@PRIORS
@pytest.mark.parametrize('shape', [(2, 4, 4, 3), (1, 1, 4, 1), (1, 1, 1, 1)])
def test_zero_images_have_value_and_gradient_zero(prior, shape):
    value, gradient = jax.value_and_grad(prior)(jnp.zeros(shape))
    assert value == 0 and not gradient.any()


def test_constant_images_have_no_variation():
    value, gradient = jax.value_and_grad(total_variation)(jnp.full((2, 4, 4, 3), 0.7))
    assert value == 0 and not gradient.any()


def test_one_zero_image_leaves_the_others_their_gradient():
    gradient = jax.grad(pixel_norm)(jnp.concatenate([SQUARE, 0 * SQUARE]))
    np.testing.assert_allclose(gradient[0], SQUARE[0] / (2 * np.sqrt(85)), rtol=1e-6)
    assert not gradient[1].any()


@PRIORS
def test_other_ranks_are_refused(prior):
    with pytest.raises(AssertionError):
        prior(jnp.zeros((2, 4, 4)))
