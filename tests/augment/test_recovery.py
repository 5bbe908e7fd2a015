"""Augmentation of images under recovery, and CDA's curriculum against its code
(references/infer_*.npz)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.augment import cropping

SHARED = {
    'cifar': augment.recovery(jitter=4),
    'tiny': augment.recovery(jitter=4, both_signs=True, crop=True),
    'imagenet': augment.recovery(jitter=32, crop=True),
}


def pictures(num=3, size=(16, 12)):
    return jax.random.normal(jax.random.key(9), (num, *size, 3))


@pytest.mark.parametrize('transform', SHARED.values(), ids=SHARED)
def test_recovery_draws_once_per_batch(transform):
    transform, copies = jax.jit(transform), jnp.repeat(pictures(1), 4, axis=0)
    for k in range(6):
        y = transform(jax.random.key(k), copies)
        np.testing.assert_array_equal(y, jnp.repeat(y[:1], 4, axis=0))
        # A batch of another size, such as the real images of the class, undergoes the same.
        np.testing.assert_allclose(
            transform(jax.random.key(k), copies[:1]), y[:1], rtol=0, atol=1e-6
        )
    keys = jnp.stack([jax.random.key(k) for k in (4, 5)])
    mapped = jax.jit(jax.vmap(transform, in_axes=(0, None)))(keys, copies)
    np.testing.assert_allclose(mapped[1], y, rtol=0, atol=1e-6)


def test_recovery_without_crop_only_rolls():
    images = pictures()
    shifts = {
        (v, h)
        for k in range(60)
        for v in range(3)
        for h in range(3)
        if np.array_equal(
            augment.recovery(jitter=2)(jax.random.key(k), images),
            np.roll(images, (v, h), axis=(1, 2)),
        )
    }
    assert len(shifts) == 9
    np.testing.assert_array_equal(augment.recovery(jitter=0)(jax.random.key(0), images), images)


def test_recovery_crops_then_flips_then_rolls():
    """Every result is the roll of a crop, mirrored or not; the key decides which."""
    images, mirrored = pictures(), []
    for k in range(12):
        k_crop, k_roll = jax.random.split(jax.random.key(k))
        box = cropping.draw_resized_crop(jax.random.split(k_crop)[0], 1, (16, 12), scale=(0.2, 0.7))
        assert 0.15 < np.prod(box[0, 2:]) / 192 < 0.8
        crop = cropping.resized_crop(images, box, (16, 12))
        y = augment.recovery(jitter=4, crop=True, scale=(0.2, 0.7))(jax.random.key(k), images)
        y = cropping.roll(y, -cropping.draw_roll(k_roll, 4))
        gaps = [np.abs(y - candidate).max() for candidate in (crop, crop[:, :, ::-1])]
        assert min(gaps) < 1e-6 < max(gaps)
        mirrored.append(gaps[1] < gaps[0])
    assert 0 < sum(mirrored) < 12


@pytest.mark.parametrize('build, message', [
    (lambda: augment.recovery(jitter=-1),
     'jitter is the largest shift in pixels; it must be 0 .* got -1'),
    (lambda: augment.recovery(jitter=4, scale=(0., 1.)),
     r'0 < least <= largest <= 1, got \(0.0, 1.0\)'),
    (lambda: augment.curriculum_scale(0, 10, kind='cosin'), "Did you mean 'cosine'"),
    (lambda: augment.curriculum_scale(0, 0), 'num_steps must be at least 1, got 0'),
    (lambda: augment.curriculum_scale(0, 10, smallest=0.), 'smallest is a fraction; .* got 0'),
    (lambda: augment.curriculum_scale(0, 10, milestone=1.5), 'milestone is a fraction; .* got 1.5')
])  # fmt: skip
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# CDA's curriculum


@pytest.mark.parametrize('kind', ['cosine', 'linear'])
def test_curriculum_matches_the_authors_code(reference, kind):
    stored = reference('infer_sched_budget')
    scale = jax.jit(lambda step: augment.curriculum_scale(step, 4000, kind=kind))(
        jnp.asarray(stored['cda_its'])
    )
    np.testing.assert_allclose(scale, stored[f'cda_min_crop_{kind}_ms1_T4000'], rtol=2e-6)


@pytest.mark.parametrize('kind, halfway', [('cosine', 0.6), ('linear', 0.6), ('step', 1.0)])
def test_curriculum_ends_at_its_milestone(kind, halfway):
    steps = jnp.array([0, 25, 50, 51, 99, 100])
    scale = augment.curriculum_scale(steps, 100, smallest=0.2, milestone=0.5, kind=kind)
    np.testing.assert_allclose(scale, [1, halfway, 0.2, 0.2, 0.2, 0.2], rtol=1e-6)
    assert scale.dtype == jnp.float32


def test_curriculum_moves_recovery_from_the_whole_image_to_parts():
    images = pictures(1, (32, 32))

    @jax.jit
    def crop(step):
        scale = augment.curriculum_scale(step, 100), 1.0
        return augment.recovery(jitter=0, crop=True, scale=scale)(jax.random.key(4), images)

    whole = crop(0)
    assert any(np.array_equal(whole, images[:, :, ::flip]) for flip in (1, -1))
    assert np.abs(crop(100) - whole).max() > 0.1
