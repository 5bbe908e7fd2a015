"""Augmentation of training on natural images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.augment import geometry

BLACK = (-2.0, -1.0, 0.0)
SHARED = {
    'cifar': augment.recovery(jitter=4),
    'tiny': augment.recovery(jitter=4, both_signs=True, crop=True),
    'imagenet': augment.recovery(jitter=32, crop=True),
}
EACH = {'padded': augment.padded_crop_flip(fill=BLACK), 'resized': augment.resized_crop_flip()}
BUILT = pytest.mark.parametrize(
    'transform', [*SHARED.values(), *EACH.values()], ids=[*SHARED, *EACH]
)


def pictures(num=3, size=(16, 12)):
    return jax.random.normal(jax.random.key(9), (num, *size, 3))


@BUILT
def test_shape_dtype_and_determinism(transform):
    images = pictures()
    y = jax.jit(transform)(jax.random.key(0), images)
    assert y.shape == images.shape and y.dtype == images.dtype
    np.testing.assert_allclose(transform(jax.random.key(0), images), y, rtol=0, atol=1e-6)
    assert any(np.abs(y - transform(jax.random.key(k), images)).max() > 0.1 for k in (1, 2))


@BUILT
def test_linear_in_the_images_but_for_the_padding(transform):
    x, y = pictures(), pictures()[::-1]
    key, zero = jax.random.key(3), jnp.zeros_like(x)
    moved = [transform(key, images) - transform(key, zero) for images in (x, y, 2 * x - y)]
    np.testing.assert_allclose(moved[2], 2 * moved[0] - moved[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize('transform', EACH.values(), ids=EACH)
def test_training_draws_per_image(transform):
    y = np.asarray(jax.jit(transform)(jax.random.key(0), jnp.repeat(pictures(1), 8, axis=0)))
    assert len(np.unique(y.reshape(8, -1), axis=0)) > 5


def test_padded_crop_flip_pads_with_its_colour():
    """Every result is a window of the padded image or of its mirror image."""
    images = pictures(30, (5, 5))
    y = augment.padded_crop_flip(padding=1, fill=BLACK)(jax.random.key(0), images)
    found = []
    for image, result in zip(np.asarray(images), np.asarray(y)):
        padded = np.broadcast_to(np.float32(BLACK), (7, 7, 3)).copy()
        padded[1:6, 1:6] = image
        found += [
            (v, h, flip)
            for v in range(3)
            for h in range(3)
            for flip in (1, -1)
            if np.array_equal(padded[v : v + 5, h : h + 5][:, ::flip], result)
        ]
    assert len(found) == 30 and len(set(found)) > 8
    np.testing.assert_array_equal(
        augment.padded_crop_flip(padding=0, fill=BLACK)(jax.random.key(0), images),
        geometry.flip(images, geometry.draw_flip(jax.random.split(jax.random.key(0))[1], 30)),
    )


def test_training_views_mirror_only_where_asked():
    """A dark left half stays on the left."""
    halves = jnp.zeros((40, 8, 8, 1)).at[:, :, 4:].set(1.0)
    for flip in (True, False):
        for view in (
            augment.padded_crop_flip(padding=1, fill=(0.5,), flip=flip),
            augment.resized_crop_flip(scale=(0.8, 1.0), flip=flip),
        ):
            y = jax.jit(view)(jax.random.key(0), halves)
            mirrored = (y[:, :, 1] > y[:, :, 6]).any(axis=(1, 2))
            assert (5 < mirrored.sum() < 35) if flip else not mirrored.any()


@pytest.mark.parametrize(
    'build, message',
    [
        (
            lambda: augment.resized_crop_flip(scale=(0.9, 0.2)),
            r'0 < least <= largest <= 1, got \(0.9, 0.2\)',
        ),
        (
            lambda: augment.padded_crop_flip(padding=-2, fill=BLACK),
            'padding counts pixels .* got -2',
        ),
        (
            lambda: augment.padded_crop_flip(fill=(0.0,))(jax.random.key(0), pictures()),
            'one number per channel, 3, got 1',
        ),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()
