"""The Siamese and the per-image transform:
selection, sharing, order, and agreement under jit, vmap, map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment, parallel
from jaxdd.augment import color, geometry

ALL = augment.STRATEGY['default']
NAMES = ALL.split('_')
MODES = ('S', 'M', 'IDC')
WARP = 5e-6  # float32 rounding of a source position, times the difference of neighbouring pixels


def nhwc(images):
    return jnp.asarray(images).transpose(0, 2, 3, 1)


def repeated(num, size=16):
    """The same image `num` times, positive and without symmetry."""
    image = jax.random.uniform(jax.random.key(9), (1, size, size, 3), minval=1, maxval=2)
    return jnp.repeat(image, num, axis=0)


def apply_drawn(key, name, images, num_draws):
    """One operation written out, with the published strengths."""
    size = images.shape[1:3]
    return {
        'color': lambda: color.color(images, color.draw_color(key, num_draws)),
        'crop': lambda: geometry.crop(images, geometry.draw_crop(key, num_draws, size)),
        'cutout': lambda: geometry.cutout(images, geometry.draw_cutout(key, num_draws, size)),
        'flip': lambda: geometry.flip(images, geometry.draw_flip(key, num_draws)),
        'scale': lambda: geometry.scale(images, geometry.draw_scale(key, num_draws)),
        'rotate': lambda: geometry.rotate(images, geometry.draw_rotate(key, num_draws)),
    }[name]()


def test_all_operations_in_order_match_reference(reference):
    stored = reference('iid_dsa')

    @jax.jit
    def every(images, d):  # d: three colours, ty tx, oy ox, flip, sx sy, rotate
        integers = d[3:7].astype(jnp.int32)
        images = color.color(images, color.ColorDraw(d[0] - 0.5, 2 * d[1], d[2] + 0.5))
        images = geometry.crop(images, integers[:2].T)
        images = geometry.cutout(images, integers[2:].T)
        images = geometry.flip(images, d[7] < 0.5)
        images = geometry.scale(images, d[8:10][::-1].T * (1.2 - 1 / 1.2) + 1 / 1.2)
        return geometry.rotate(images, (d[10] - 0.5) * 2 * 15 / 180 * np.pi)

    y = every(
        nhwc(stored['x16']), jnp.asarray(stored['diffaug_M_draws_flat'], jnp.float32)[:, None]
    )
    np.testing.assert_allclose(y, nhwc(stored['diffaug_M_y']), rtol=0, atol=WARP)


@pytest.mark.parametrize('build, num_draws', [(augment.shared, 1), (augment.independent, 4)])
def test_mode_m_applies_every_operation_in_order(build, num_draws):
    key, images = jax.random.key(3), jax.random.normal(jax.random.key(4), (4, 16, 16, 3))
    for names in (NAMES, NAMES[::-1], ['scale']):

        @jax.jit
        def expected(key, images):
            for k, name in zip(jax.random.split(key, len(names)), names):
                images = apply_drawn(k, name, images, num_draws)
            return images

        y = jax.jit(build('_'.join(names), mode='M'))(key, images)
        np.testing.assert_allclose(y, expected(key, images), rtol=0, atol=WARP)


@pytest.mark.parametrize('build, num_draws', [(augment.shared, 1), (augment.independent, 3)])
def test_mode_s_applies_one_operation_equally_often(build, num_draws):
    images, transform = repeated(num_draws, 8), jax.jit(build(ALL))
    each = jax.jit(
        lambda key: jnp.stack([apply_drawn(key, name, images, num_draws) for name in NAMES])
    )
    counts = dict.fromkeys(NAMES, 0)
    for key in jax.random.split(jax.random.key(0), 600):
        difference = each(jax.random.split(key)[1]) - transform(key, images)[None]
        error = np.abs(difference).max(axis=(1, 2, 3, 4))
        assert error.min() < WARP
        counts[NAMES[int(error.argmin())]] += 1
    # chi-square with 5 degrees of freedom: p = 0.001
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 20.5


@pytest.mark.parametrize(
    'name, operation, draw, tolerance',
    [
        ('brightness_u0.3', color.brightness, [0.3 - 0.5], 1e-5),
        ('saturation_u0.7', color.saturation, [2 * 0.7], 1e-5),
        ('contrast_u0.2', color.contrast, [0.2 + 0.5], 1e-5),
        ('flip_u0.4', geometry.flip, [True], 0),
        ('crop_m1_p1', geometry.crop, [[-1, 1]], 0),  # the program's x is vertical here
        ('cutout_o2_o7', geometry.cutout, [[2, 7]], 0),
        (
            'scale_u0.1_u0.9',
            geometry.scale,  # and horizontal here
            [[u * (1.2 - 1 / 1.2) + 1 / 1.2 for u in (0.9, 0.1)]],
            1e-5,
        ),
        ('rotate_u0.85', geometry.rotate, [(2 * 0.85 - 1) * np.pi / 12], 1e-5),
    ],
)
def test_operations_are_those_of_the_program_of_idc(reference, name, operation, draw, tolerance):
    stored = reference('cmi_idc_aug')
    y = operation(nhwc(stored['x']), jnp.asarray(draw))
    np.testing.assert_allclose(y, nhwc(stored[name]), rtol=0, atol=tolerance)


@pytest.mark.parametrize('build, num_draws', [(augment.shared, 1), (augment.independent, 4)])
def test_mode_idc_applies_flip_color_one_other_and_cutout(build, num_draws):
    key, images = jax.random.key(3), jax.random.normal(jax.random.key(4), (4, 16, 16, 3))
    for strategy, names in (
        ('color_crop_cutout', 'color crop cutout'),
        ('cutout_flip', 'flip cutout'),
        ('cutout_rotate_color_flip', 'flip color rotate cutout'),
        ('scale', 'scale'),
    ):

        @jax.jit
        def expected(key, images):
            for k, name in zip(jax.random.split(key, len(names.split())), names.split()):
                k = k if name in ('flip', 'color', 'cutout') else jax.random.split(k)[1]
                images = apply_drawn(k, name, images, num_draws)
            return images

        y = jax.jit(build(strategy, mode='IDC'))(key, images)
        np.testing.assert_allclose(y, expected(key, images), rtol=0, atol=WARP)


@pytest.mark.parametrize('build, num_draws', [(augment.shared, 1), (augment.independent, 3)])
def test_mode_idc_draws_the_others_equally_often(build, num_draws):
    images, transform = repeated(num_draws, 8), jax.jit(build(ALL, mode='IDC'))
    others = [name for name in NAMES if name in ('crop', 'scale', 'rotate')]

    @jax.jit
    def each(key):
        k_flip, k_color, k_other, k_cutout = jax.random.split(key, 4)
        before = apply_drawn(
            k_color, 'color', apply_drawn(k_flip, 'flip', images, num_draws), num_draws
        )
        middle = [
            apply_drawn(jax.random.split(k_other)[1], name, before, num_draws) for name in others
        ]
        return jnp.stack([apply_drawn(k_cutout, 'cutout', image, num_draws) for image in middle])

    counts = dict.fromkeys(others, 0)
    for key in jax.random.split(jax.random.key(0), 300):
        error = np.abs(each(key) - transform(key, images)[None]).max(axis=(1, 2, 3, 4))
        assert error.min() < WARP
        counts[others[int(error.argmin())]] += 1
    # chi-square with 2 degrees of freedom: p = 0.001
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 13.8


def test_mode_idc_has_its_own_order():
    key, images = jax.random.key(1), repeated(3)
    one = augment.independent('flip_color_crop_scale_cutout', mode='IDC')(key, images)
    other = augment.independent('crop_cutout_color_scale_flip', mode='IDC')(key, images)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('mode', MODES)
def test_one_key_is_one_transform_whatever_the_batch_size(mode):
    transform = jax.jit(augment.shared(mode=mode))
    for key in jax.random.split(jax.random.key(1), 12):
        one, three, seven = (transform(key, repeated(num)) for num in (1, 3, 7))
        np.testing.assert_allclose(three, jnp.repeat(one, 3, axis=0), rtol=0, atol=1e-6)
        np.testing.assert_allclose(seven, jnp.repeat(one, 7, axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_independent_draws_differ_between_images_and_keys(name):
    transform = augment.independent(name)
    y = np.asarray(transform(jax.random.key(5), repeated(8)))
    distinct = len(np.unique(y.reshape(8, -1), axis=0))
    assert distinct == 2 if name == 'flip' else distinct >= 6
    assert not np.array_equal(y, transform(jax.random.key(6), repeated(8)))


@pytest.mark.parametrize(
    'build', [augment.shared, pytest.param(augment.independent, marks=pytest.mark.long)]
)
@pytest.mark.parametrize('mode', MODES)
def test_jit_vmap_and_map_over_classes_agree_with_a_loop(build, mode):
    transform = build(mode=mode)
    keys = jax.random.split(jax.random.key(7), 8)
    images = jax.random.normal(jax.random.key(8), (8, 3, 8, 8, 3))
    once = jax.jit(transform)
    loop = jnp.stack([once(key, x) for key, x in zip(keys, images)])
    mapped = jax.jit(lambda *batch: jax.lax.map(lambda one: transform(*one), batch))(keys, images)
    np.testing.assert_allclose(jax.jit(jax.vmap(transform))(keys, images), loop, rtol=0, atol=WARP)
    np.testing.assert_allclose(mapped, loop, rtol=0, atol=WARP)


@pytest.mark.parametrize('build', [augment.shared, augment.independent])
def test_jit_agrees_with_eager(build):
    key, images = jax.random.key(7), jax.random.normal(jax.random.key(8), (3, 8, 8, 3))
    for mode in MODES:
        transform = build('crop_scale', mode=mode)
        np.testing.assert_allclose(
            jax.jit(transform)(key, images), transform(key, images), rtol=0, atol=WARP
        )


@pytest.mark.parametrize(
    'build', [augment.shared, pytest.param(augment.independent, marks=pytest.mark.long)]
)
@pytest.mark.parametrize('mode', MODES)
def test_gradients_are_finite_and_equal_under_vmap(build, mode):
    transform = build(mode=mode)
    keys = jax.random.split(jax.random.key(7), 6)

    def loss(x, key):
        y = transform(key, x)
        return (y**2 + y).sum()

    gradient = jax.jit(jax.grad(loss))
    together = jax.jit(jax.grad(lambda images: jax.vmap(loss)(images, keys).sum()))
    for images in (
        jnp.zeros((6, 2, 8, 8, 3)),
        jax.random.normal(jax.random.key(8), (6, 2, 8, 8, 3)),
    ):
        loop = jnp.stack([gradient(x, key) for x, key in zip(images, keys)])
        assert jnp.isfinite(loop).all() and (loop != 0).any()
        np.testing.assert_allclose(together(images), loop, rtol=0, atol=1e-5)


@pytest.mark.parametrize('mode', ('S', 'IDC'))
@pytest.mark.parametrize('strategy', [ALL, 'crop_flip_translate', 'color_rotate', 'scale'])
@pytest.mark.parametrize('build', [augment.shared, augment.independent])
def test_accelerators_choose_matrices_and_get_the_same(build, strategy, mode):
    transform = build(strategy, mode=mode)
    keys = jax.random.split(jax.random.key(7), 12)
    images = jax.random.normal(jax.random.key(8), (12, 2, 8, 6, 3))
    cotangent = jax.random.normal(jax.random.key(9), images.shape)

    def both(images):
        y, back = jax.vjp(lambda x: jax.vmap(transform)(keys, x), images)
        return y, back(cotangent)[0]

    here = jax.jit(both)(images)
    with parallel.lowering_for('tpu'):
        there = jax.jit(both)(images)
    for found, expected in zip(there, here):
        np.testing.assert_allclose(found, expected, rtol=0, atol=WARP)


@pytest.mark.parametrize('shape', [(1, 28, 28, 1), (2, 6, 9, 3)])
@pytest.mark.parametrize('build', [augment.shared, augment.independent])
def test_shapes_and_dtypes_are_kept(build, shape):
    for dtype in (jnp.float32, jnp.bfloat16):
        for mode in MODES:
            y = jax.eval_shape(build(mode=mode), jax.random.key(0), jnp.zeros(shape, dtype))
            assert y.shape == shape and y.dtype == dtype


def test_double_precision_is_kept_with_the_same_draw(x64):
    images = repeated(2).astype(jnp.float64)
    transform = jax.jit(augment.shared(mode='M'))
    y = transform(jax.random.key(0), images)
    assert y.dtype == jnp.float64
    np.testing.assert_allclose(
        transform(jax.random.key(0), images.astype(jnp.float32)), y, rtol=0, atol=1e-5
    )


def test_strengths_reach_the_operations():
    none = augment.Strengths(brightness=0.0, crop=0.0, cutout=0.0, scale=1.0, rotate=0.0)
    images = repeated(3)
    for build in (augment.shared, augment.independent):
        transform = jax.jit(build('crop_cutout_scale_rotate', mode='M', strengths=none))
        still = transform(jax.random.key(0), images)
        np.testing.assert_array_equal(still, images)
        grey = build('color', strengths=none._replace(saturation=0.0))(jax.random.key(0), images)
        np.testing.assert_allclose(
            grey, jnp.broadcast_to(grey[..., :1], grey.shape), rtol=0, atol=1e-6
        )
        y = build('color', strengths=none._replace(contrast=3.0))(jax.random.key(0), images)
        num_draws = 1 if build is augment.shared else 3
        draw = color.draw_color(
            jax.random.split(jax.random.key(0))[1], num_draws, brightness=0.0, contrast=3.0
        )
        np.testing.assert_allclose(y, color.color(images, draw), rtol=0, atol=2e-6)


def test_identity_and_empty_strategies():
    images = repeated(2)
    assert augment.identity()(jax.random.key(0), images) is images
    for build, strategy in (
        (augment.shared, ''),
        (augment.independent, ''),
        (augment.shared, 'none'),
    ):
        transform = build(strategy)
        assert transform(jax.random.key(0), images) is images


def test_the_table_of_strategies_builds():
    for strategy in augment.STRATEGY.values():
        assert augment.shared(strategy)(jax.random.key(0), repeated(2)).shape == (2, 16, 16, 3)
    assert 'flip' not in augment.STRATEGY['no_flip']


@pytest.mark.parametrize('build', [augment.shared, augment.independent])
def test_user_mistakes_are_named(build):
    with pytest.raises(ValueError, match="'colour'; valid: color, crop, cutout, flip, .*'color'"):
        build('colour_crop')
    with pytest.raises(ValueError, match="names 'crop' 2 times"):
        build('crop_flip_crop')
    with pytest.raises(ValueError, match="augmentation mode 'X'; valid: IDC, M, S"):
        build('', mode='X')
    with pytest.raises(ValueError, match=r'strength cutout .* \[0, 1\], got 16'):
        build(strengths=augment.Strengths(cutout=16))
    with pytest.raises(ValueError, match='strength scale .* at least 1, got 0.8'):
        build(strengths=augment.Strengths(scale=0.8))


def test_translate_is_a_crop_that_shifts_sideways_alone():
    images = jnp.zeros((600, 8, 8, 1)).at[:, 3, 3].set(1.0)
    moved = augment.independent('translate', mode='M')(jax.random.key(0), images)
    places = np.argwhere(np.asarray(moved[..., 0]) == 1)
    assert len(places) == 600 and set(places[:, 1]) == {3} and set(places[:, 2]) == {2, 3, 4}
    together = augment.shared('translate')(jax.random.key(1), images)
    np.testing.assert_array_equal(together, jnp.broadcast_to(together[:1], together.shape))
