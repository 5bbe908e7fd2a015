"""Augmentation of recovery and of training on natural images; SRe2L's and CDA's code (references/infer_*.npz)."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.augment import cropping, geometry, mixing

BLACK = (-2., -1., 0.)
SHARED = {'cifar': augment.recovery(jitter=4), 'tiny': augment.recovery(jitter=4, both_signs=True, crop=True),
          'imagenet': augment.recovery(jitter=32, crop=True)}
EACH = {'padded': augment.padded_crop_flip(fill=BLACK), 'resized': augment.resized_crop_flip()}
BUILT = pytest.mark.parametrize('transform', [*SHARED.values(), *EACH.values()], ids=[*SHARED, *EACH])


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


@pytest.mark.parametrize('transform', SHARED.values(), ids=SHARED)
def test_recovery_draws_once_per_batch(transform):
    transform, copies = jax.jit(transform), jnp.repeat(pictures(1), 4, axis=0)
    for k in range(6):
        y = transform(jax.random.key(k), copies)
        np.testing.assert_array_equal(y, jnp.repeat(y[:1], 4, axis=0))
        # A batch of another size, such as the real images of the class, undergoes the same.
        np.testing.assert_allclose(transform(jax.random.key(k), copies[:1]), y[:1], rtol=0, atol=1e-6)
    keys = jnp.stack([jax.random.key(k) for k in (4, 5)])
    mapped = jax.jit(jax.vmap(transform, in_axes=(0, None)))(keys, copies)
    np.testing.assert_allclose(mapped[1], y, rtol=0, atol=1e-6)


@pytest.mark.parametrize('transform', EACH.values(), ids=EACH)
def test_training_draws_per_image(transform):
    y = np.asarray(jax.jit(transform)(jax.random.key(0), jnp.repeat(pictures(1), 8, axis=0)))
    assert len(np.unique(y.reshape(8, -1), axis=0)) > 5


def test_recovery_without_crop_only_rolls():
    images = pictures()
    shifts = {(v, h) for k in range(60) for v in range(3) for h in range(3)
              if np.array_equal(augment.recovery(jitter=2)(jax.random.key(k), images),
                                np.roll(images, (v, h), axis=(1, 2)))}
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


def test_padded_crop_flip_pads_with_its_colour():
    """Every result is a window of the padded image or of its mirror image."""
    images = pictures(30, (5, 5))
    y = augment.padded_crop_flip(padding=1, fill=BLACK)(jax.random.key(0), images)
    found = []
    for image, result in zip(np.asarray(images), np.asarray(y)):
        padded = np.broadcast_to(np.float32(BLACK), (7, 7, 3)).copy()
        padded[1:6, 1:6] = image
        found += [(v, h, flip) for v in range(3) for h in range(3) for flip in (1, -1)
                  if np.array_equal(padded[v:v + 5, h:h + 5][:, ::flip], result)]
    assert len(found) == 30 and len(set(found)) > 8
    np.testing.assert_array_equal(augment.padded_crop_flip(padding=0, fill=BLACK)(jax.random.key(0), images),
                                  geometry.flip(images, geometry.draw_flip(jax.random.split(jax.random.key(0))[1], 30)))


def test_training_views_mirror_only_where_asked():
    """A dark left half stays on the left."""
    halves = jnp.zeros((40, 8, 8, 1)).at[:, :, 4:].set(1.)
    for flip in (True, False):
        for view in (augment.padded_crop_flip(padding=1, fill=(0.5,), flip=flip),
                     augment.resized_crop_flip(scale=(0.8, 1.), flip=flip)):
            y = jax.jit(view)(jax.random.key(0), halves)
            mirrored = (y[:, :, 1] > y[:, :, 6]).any(axis=(1, 2))
            assert (5 < mirrored.sum() < 35) if flip else not mirrored.any()


@pytest.mark.parametrize('build, message', [
    (lambda: augment.recovery(jitter=-1), 'jitter is the largest shift in pixels; it must be 0 .* got -1'),
    (lambda: augment.recovery(jitter=4, scale=(0., 1.)), r'0 < least <= largest <= 1, got \(0.0, 1.0\)'),
    (lambda: augment.resized_crop_flip(scale=(0.9, 0.2)), r'0 < least <= largest <= 1, got \(0.9, 0.2\)'),
    (lambda: augment.padded_crop_flip(padding=-2, fill=BLACK), 'padding counts pixels .* got -2'),
    (lambda: augment.padded_crop_flip(fill=(0.,))(jax.random.key(0), pictures()), 'one number per channel, 3, got 1'),
    (lambda: augment.curriculum_scale(0, 10, kind='cosin'), "Did you mean 'cosine'"),
    (lambda: augment.curriculum_scale(0, 0), 'num_steps must be at least 1, got 0'),
    (lambda: augment.curriculum_scale(0, 10, smallest=0.), 'smallest is a fraction; .* got 0'),
    (lambda: augment.curriculum_scale(0, 10, milestone=1.5), 'milestone is a fraction; .* got 1.5')])
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# CDA's curriculum


@pytest.mark.parametrize('kind', ['cosine', 'linear'])
def test_curriculum_matches_the_authors_code(reference, kind):
    stored = reference('infer_sched_budget')
    scale = jax.jit(lambda step: augment.curriculum_scale(step, 4000, kind=kind))(jnp.asarray(stored['cda_its']))
    np.testing.assert_allclose(scale, stored[f'cda_min_crop_{kind}_ms1_T4000'], rtol=2e-6)


@pytest.mark.parametrize('kind, halfway', [('cosine', 0.6), ('linear', 0.6), ('step', 1.)])
def test_curriculum_ends_at_its_milestone(kind, halfway):
    steps = jnp.array([0, 25, 50, 51, 99, 100])
    scale = augment.curriculum_scale(steps, 100, smallest=0.2, milestone=0.5, kind=kind)
    np.testing.assert_allclose(scale, [1, halfway, 0.2, 0.2, 0.2, 0.2], rtol=1e-6)
    assert scale.dtype == jnp.float32


def test_curriculum_moves_recovery_from_the_whole_image_to_parts():
    images = pictures(1, (32, 32))

    @jax.jit
    def crop(step):
        scale = augment.curriculum_scale(step, 100), 1.
        return augment.recovery(jitter=0, crop=True, scale=scale)(jax.random.key(4), images)
    whole = crop(0)
    assert any(np.array_equal(whole, images[:, :, ::flip]) for flip in (1, -1))
    assert np.abs(crop(100) - whole).max() > 0.1


# SRe2L's mixing


@pytest.mark.parametrize('case', range(3))
def test_mixup_matches_the_authors_code(reference, case):
    stored = {name: reference('infer_mix')[f'mixup{case}_{name}'] for name in ('out', 'index', 'lam')}
    images = jnp.asarray(reference('infer_mix')['images'].transpose(0, 2, 3, 1))
    mixed, _ = mixing.blend(images, jnp.eye(6), jnp.asarray(stored['index']), jnp.float32(stored['lam']))
    np.testing.assert_allclose(mixed, stored['out'].transpose(0, 2, 3, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize('case', range(3))
def test_cutmix_matches_the_authors_code(reference, case):
    names = ('out', 'index', 'lam', 'bbox_x1y1x2y2')    # x is vertical in that program
    out, index, lam, corners = (reference('infer_mix')[f'cutmix{case}_{name}'] for name in names)
    images = jnp.asarray(reference('infer_mix')['images'].transpose(0, 2, 3, 1))
    region = mixing.Box(jnp.asarray(corners[:2], jnp.int32), jnp.asarray(corners[2:], jnp.int32))
    mixed, _ = mixing.paste(images, jnp.eye(6), jnp.asarray(index), region)
    np.testing.assert_array_equal(mixed, out.transpose(0, 2, 3, 1))
    # Some centre gives that box.
    boxes = [mixing.box(jnp.float32(lam), jnp.array([v, h]), (12, 12)) for v in range(12) for h in range(12)]
    assert any(np.array_equal(np.concatenate(box), corners) for box in boxes)


def test_cutmix_boxes_match_the_authors_code(reference):
    rows = reference('infer_mix')['bbox_lam_cx_cy_x1_y1_x2_y2_size16']
    assert len(rows) == 24
    for lam, *centre, top, left, bottom, right in rows:
        box = mixing.box(jnp.float32(lam), jnp.array(centre, jnp.int32), (16, 16))
        np.testing.assert_array_equal([*box.start, *box.stop], [top, left, bottom, right])
