"""CutMix and mixup: the box of the papers' program, the meaning of mixed labels, and the draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.augment import mixing

MIXES = {'cutmix': augment.cutmix, 'mixup': augment.mixup}
parametrize = pytest.mark.parametrize('mix', MIXES.values(), ids=MIXES)


def one_hot_batch(num=5, size=(8, 12)):
    """Image i is 1 in channel i, and so is its label: mixed labels are mean pixels."""
    labels = jnp.eye(num)
    return jnp.broadcast_to(labels[:, None, None, :], (num, *size, num)), labels


def random_batch(num=4):
    images = jax.random.normal(jax.random.key(9), (num, 8, 8, 3))
    return images, jax.nn.softmax(jax.random.normal(jax.random.key(8), (num, 6)))


def test_box_matches_reference(reference):
    stored = reference('cmi_idc_aug')['bbox_lam0.64_cx5_cy1_hw8']  # x is vertical in that program
    box = mixing.box(jnp.float32(0.64), jnp.array([5, 1]), (8, 8))
    np.testing.assert_array_equal([*box.start, *box.stop], stored)
    assert box.start.dtype == box.stop.dtype == jnp.int32


@pytest.mark.parametrize('size', [(8, 8), (7, 13)])
def test_box_matches_numpy_transcription(size):
    rng = np.random.default_rng(0)
    box = jax.jit(mixing.box, static_argnums=2)
    for lam in (0.0, 1.0, *rng.uniform(size=60)):
        centre = rng.integers(0, size)
        half = (np.array(size) * np.sqrt(1 - lam)).astype(int) // 2
        found = box(jnp.float32(lam), jnp.asarray(centre), size)
        np.testing.assert_array_equal(found.start, np.maximum(centre - half, 0))
        np.testing.assert_array_equal(found.stop, np.minimum(centre + half, size))


def test_hand_worked_values():
    images = jnp.stack([jnp.zeros((2, 3, 1)), jnp.ones((2, 3, 1))])
    labels, partner = jnp.eye(2), jnp.array([1, 0])
    region = mixing.Box(jnp.array([0, 1]), jnp.array([1, 3]))
    mixed, soft = mixing.paste(images, labels, partner, region)
    np.testing.assert_array_equal(mixed[0, :, :, 0], [[0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(mixed[1, :, :, 0], [[1, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(soft, [[2 / 3, 1 / 3], [1 / 3, 2 / 3]], rtol=1e-6)
    mixed, soft = mixing.blend(images, labels, partner, jnp.float32(0.75))
    np.testing.assert_array_equal(mixed, images * 0.75 + (1 - images) * 0.25)
    np.testing.assert_array_equal(soft, [[0.75, 0.25], [0.25, 0.75]])


@parametrize
def test_labels_are_the_share_of_each_image(mix):
    images, labels = one_hot_batch()
    keys = jax.random.split(jax.random.key(0), 40)
    mixed, soft = jax.jit(jax.vmap(mix, (0, None, None)))(keys, images, labels)
    np.testing.assert_allclose(soft, mixed.mean(axis=(2, 3)), rtol=0, atol=1e-6)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=0, atol=1e-6)  # a partner serves once
    assert (soft.max(axis=2) < 1).any() and ((soft > 0).sum(axis=2) <= 2).all()


def test_cutmix_pastes_one_rectangle_in_all_images():
    images, labels = one_hot_batch(6, (9, 9))
    seen = 0
    for key in jax.random.split(jax.random.key(2), 20):
        mixed, _ = augment.cutmix(key, images, labels)
        foreign = np.asarray((mixed != images).any(axis=-1))
        foreign = foreign[foreign.any(axis=(1, 2))]
        if len(foreign):
            rows, columns = foreign[0].any(axis=1), foreign[0].any(axis=0)
            np.testing.assert_array_equal(foreign[0], rows[:, None] & columns[None, :])
            np.testing.assert_array_equal(foreign, np.broadcast_to(foreign[0], foreign.shape))
            assert np.abs(np.diff(rows)).sum() <= 2 and np.abs(np.diff(columns)).sum() <= 2
            seen += 1
    assert seen > 10


@parametrize
def test_probability_zero_returns_the_inputs_bitwise(mix):
    images, labels = random_batch()
    images = images.at[0, 0, 0].set(jnp.array([-0.0, jnp.inf, jnp.nan]))
    mixed, soft = jax.jit(lambda key: mix(key, images, labels, probability=0.0))(jax.random.key(0))
    assert np.asarray(mixed).tobytes() == np.asarray(images).tobytes()
    assert np.asarray(soft).tobytes() == np.asarray(labels).tobytes()


@parametrize
@pytest.mark.parametrize('probability', [0.3, 1.0])
def test_batches_are_mixed_with_the_probability(mix, probability):
    images, labels = one_hot_batch(12, (32, 32))
    apply = jax.jit(jax.vmap(lambda key: mix(key, images, labels, probability=probability)[1]))
    changed = (
        (apply(jax.random.split(jax.random.key(1), 800)) != labels[None]).any(axis=(1, 2)).mean()
    )
    # a share of (2/32)^2 of CutMix's boxes is empty; 5 standard deviations
    assert abs(changed - probability) < 5 * np.sqrt(probability * (1 - probability) / 800) + 0.015


@pytest.mark.parametrize('alpha', [0.2, 1.0, 4.0])
def test_mixup_draws_from_the_beta_distribution(alpha):
    images, labels = one_hot_batch(2, (1, 1))
    keys = jax.random.split(jax.random.key(3), 8000)
    soft = jax.jit(jax.vmap(lambda key: augment.mixup(key, images, labels, alpha=alpha)[1][0]))(
        keys
    )
    lam = soft[:, 0][soft[:, 1] > 0]  # half of the partners are the image itself
    assert len(lam) > 3500
    variance = 1 / (4 * (2 * alpha + 1))
    assert (
        abs(lam.mean() - 0.5) < 5 * np.sqrt(variance / len(lam))
        and abs(lam.var() - variance) < 0.01
    )


def test_cutmix_keeps_half_on_average_before_clipping():
    images, labels = one_hot_batch(2, (64, 64))
    keys = jax.random.split(jax.random.key(4), 2000)
    soft = jax.jit(jax.vmap(lambda key: augment.cutmix(key, images, labels)[1][0]))(keys)
    kept = soft[:, 0][soft[:, 1] > 0]
    # Side s = sqrt(u) of 1; a uniform centre leaves s - s^2/4 of it on each axis:
    # E (s - s^2/4)^2 = 0.3208
    assert abs(kept.mean() - (1 - 0.3208)) < 0.04


@parametrize
def test_jit_and_vmap_agree_with_a_loop(mix):
    images = jax.random.normal(jax.random.key(5), (6, 4, 8, 8, 3))
    labels = jax.nn.softmax(jax.random.normal(jax.random.key(6), (6, 4, 10)))
    keys = jax.random.split(jax.random.key(7), 6)
    loop = [mix(*one) for one in zip(keys, images, labels)]
    for found, expected in zip(jax.jit(jax.vmap(mix))(keys, images, labels), zip(*loop)):
        np.testing.assert_allclose(found, jnp.stack(expected), rtol=0, atol=1e-6)


@parametrize
def test_gradients_are_finite_and_sum_over_both_sources(mix):
    images, labels = random_batch()
    for probability in (0.0, 1.0):
        total = lambda x: mix(jax.random.key(0), x, labels, probability=probability)[0].sum()
        gradient = jax.jit(jax.grad(total))(images)
        np.testing.assert_allclose(gradient, jnp.ones_like(images), rtol=0, atol=1e-6)


@parametrize
def test_dtypes_and_single_images_are_kept(mix):
    images, labels = random_batch(1)
    mixed, soft = mix(jax.random.key(0), images.astype(jnp.bfloat16), labels)
    assert mixed.dtype == jnp.bfloat16 and soft.dtype == jnp.float32
    np.testing.assert_allclose(mixed.astype(jnp.float32), images, rtol=0.02)
    np.testing.assert_allclose(soft, labels, rtol=1e-6)


def test_tiny_alpha_is_finite():
    images, labels = random_batch()
    mixed, soft = jax.vmap(lambda key: augment.mixup(key, images, labels, alpha=1e-4))(
        jax.random.split(jax.random.key(0), 50)
    )
    assert jnp.isfinite(mixed).all() and jnp.isfinite(soft).all()


def test_user_mistakes_are_named():
    images, labels = random_batch()
    for mix in MIXES.values():
        for probability in (-0.1, 1.5, float('nan')):
            with pytest.raises(ValueError, match=rf'must lie in \[0, 1\], got {probability}'):
                mix(jax.random.key(0), images, labels, probability=probability)
        with pytest.raises(AssertionError):
            mix(jax.random.key(0), images, labels[1:])
        with pytest.raises(AssertionError):
            mix(jax.random.key(0), images, jnp.eye(4, dtype=jnp.int32))
    for alpha in (0.0, -1.0):
        with pytest.raises(
            ValueError, match=f'above 0, got {alpha}; for no mixing use probability=0'
        ):
            augment.mixup(jax.random.key(0), images, labels, alpha=alpha)


# SRe2L's mixing


@pytest.mark.parametrize('case', range(3))
def test_mixup_matches_the_authors_code(reference, case):
    stored = {
        name: reference('infer_mix')[f'mixup{case}_{name}'] for name in ('out', 'index', 'lam')
    }
    images = jnp.asarray(reference('infer_mix')['images'].transpose(0, 2, 3, 1))
    mixed, _ = mixing.blend(
        images, jnp.eye(6), jnp.asarray(stored['index']), jnp.float32(stored['lam'])
    )
    np.testing.assert_allclose(mixed, stored['out'].transpose(0, 2, 3, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize('case', range(3))
def test_cutmix_matches_the_authors_code(reference, case):
    names = ('out', 'index', 'lam', 'bbox_x1y1x2y2')  # x is vertical in that program
    out, index, lam, corners = (reference('infer_mix')[f'cutmix{case}_{name}'] for name in names)
    images = jnp.asarray(reference('infer_mix')['images'].transpose(0, 2, 3, 1))
    region = mixing.Box(jnp.asarray(corners[:2], jnp.int32), jnp.asarray(corners[2:], jnp.int32))
    mixed, _ = mixing.paste(images, jnp.eye(6), jnp.asarray(index), region)
    np.testing.assert_array_equal(mixed, out.transpose(0, 2, 3, 1))
    # Some centre gives that box.
    boxes = [
        mixing.box(jnp.float32(lam), jnp.array([v, h]), (12, 12))
        for v in range(12)
        for h in range(12)
    ]
    assert any(np.array_equal(np.concatenate(box), corners) for box in boxes)


def test_cutmix_boxes_match_the_authors_code(reference):
    rows = reference('infer_mix')['bbox_lam_cx_cy_x1_y1_x2_y2_size16']
    assert len(rows) == 24
    for lam, *centre, top, left, bottom, right in rows:
        box = mixing.box(jnp.float32(lam), jnp.array(centre, jnp.int32), (16, 16))
        np.testing.assert_array_equal([*box.start, *box.stop], [top, left, bottom, right])


def test_the_area_that_cutmix_keeps_follows_its_alpha():
    images, labels = jnp.zeros((2, 32, 32, 1)), jnp.eye(2)

    def kept(alpha):
        def one(key):
            mixed = augment.cutmix(key, images, labels, alpha=alpha)[1]
            return jnp.max(mixed[0])

        return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 400)))

    near_half = [
        np.mean((values > 0.4) & (values < 0.75)) for values in map(kept, (0.1, 1.0, 20.0))
    ]
    assert near_half[0] < near_half[1] < near_half[2]
    with pytest.raises(ValueError, match='alpha of CutMix .* must be above 0, got 0'):
        augment.cutmix(jax.random.key(0), images, labels, alpha=0)
