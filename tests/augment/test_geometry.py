"""Geometric operations against hand-worked values, NumPy and the papers' code
(references/iid_dsa.npz)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment import geometry

OPERATIONS = {  # name -> operation, stored draws [rows, m] -> parameter, absolute tolerance
    'crop': (geometry.crop, lambda d: d.T, 0),
    'cutout': (geometry.cutout, lambda d: d.T, 0),
    'flip': (geometry.flip, lambda d: d[0] < 0.5, 0),
    'scale': (geometry.scale, lambda d: (d[::-1].T * (1.2 - 1 / 1.2) + 1 / 1.2).astype('f4'), 5e-6),
    'rotate': (geometry.rotate, lambda d: ((d[0] - 0.5) * 2 * np.pi / 12).astype('f4'), 5e-6),
}
NEUTRAL = {
    'crop': jnp.zeros((1, 2), int),
    'flip': jnp.zeros(1, bool),
    'scale': jnp.ones((1, 2)),
    'rotate': jnp.zeros(1),
}


def nhwc(images):
    return jnp.asarray(images).transpose(0, 2, 3, 1)


def bilinear(image, row, column):
    """One sample of `image [H, W, C]`, zero outside."""
    total = np.zeros(image.shape[-1])
    for r in (int(np.floor(row)), int(np.floor(row)) + 1):
        for c in (int(np.floor(column)), int(np.floor(column)) + 1):
            if 0 <= r < image.shape[0] and 0 <= c < image.shape[1]:
                total += (1 - abs(row - r)) * (1 - abs(column - c)) * image[r, c]
    return total


def affine(image, matrix):
    """Samples `image [H, W, C]` at matrix @ (x, y), both in -1..1 over the borders of the image."""
    height, width = image.shape[:2]
    result = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            x, y = matrix @ [(2 * j + 1) / width - 1, (2 * i + 1) / height - 1]
            result[i, j] = bilinear(image, ((y + 1) * height - 1) / 2, ((x + 1) * width - 1) / 2)
    return result


@pytest.mark.parametrize('sharing', ['siam', 'indiv'])
@pytest.mark.parametrize('name', OPERATIONS)
def test_matches_reference_value_and_gradient(reference, name, sharing):
    stored = reference('iid_dsa')
    operation, parameter, tolerance = OPERATIONS[name]
    draws = stored[f'{name}_{sharing}_draws']
    draw = jnp.asarray(parameter(draws[:, :1] if sharing == 'siam' else draws))
    y, vjp = jax.vjp(jax.jit(lambda x: operation(x, draw)), nhwc(stored['x16']))
    np.testing.assert_allclose(y, nhwc(stored[f'{name}_{sharing}_y']), rtol=0, atol=tolerance)
    (gradient,) = vjp(nhwc(stored['cot16']))
    np.testing.assert_allclose(
        gradient, nhwc(stored[f'{name}_{sharing}_vjp']), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize('name', ['crop', 'cutout'])
def test_extreme_draws_match_reference(reference, name):
    stored = reference('iid_dsa')
    operation, parameter, _ = OPERATIONS[name]
    y = operation(nhwc(stored['x32']), jnp.asarray(parameter(stored[f'{name}32_indiv_draws'])))
    np.testing.assert_array_equal(y, nhwc(stored[f'{name}32_indiv_y']))


def test_hand_worked_values():
    row = jnp.arange(1.0, 9.0).reshape(1, 1, 8, 1)

    def flat(y):
        return np.asarray(y).ravel()

    np.testing.assert_array_equal(
        flat(geometry.crop(row, jnp.array([[0, 1]]))), [2, 3, 4, 5, 6, 7, 8, 0]
    )
    np.testing.assert_array_equal(
        flat(geometry.crop(row, jnp.array([[0, -1]]))), [0, 1, 2, 3, 4, 5, 6, 7]
    )
    np.testing.assert_array_equal(
        flat(geometry.cutout(row, jnp.array([[0, 4]]))), [1, 2, 0, 0, 0, 0, 7, 8]
    )
    np.testing.assert_array_equal(
        flat(geometry.cutout(row, jnp.array([[0, 8]]))), [1, 2, 3, 4, 5, 6, 0, 0]
    )
    np.testing.assert_array_equal(
        flat(geometry.flip(row, jnp.array([True]))), [8, 7, 6, 5, 4, 3, 2, 1]
    )
    # factor 2: sources -3.5 + 2 * (0..7 - 3.5) + 3.5 = -3.5 -1.5 0.5 2.5 4.5 6.5 8.5 10.5
    np.testing.assert_array_equal(
        flat(geometry.scale(row, jnp.array([[1.0, 2.0]]))), [0, 0, 1.5, 3.5, 5.5, 7.5, 0, 0]
    )
    square = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]
    # a quarter turn: y[i, j] = x[j, -i] about the centre
    np.testing.assert_allclose(
        geometry.rotate(square, jnp.array([np.pi / 2]))[0, :, :, 0],
        [[2, 4], [1, 3]],
        rtol=0,
        atol=1e-6,
    )


def test_crop_and_cutout_match_numpy_transcription():
    rng = np.random.default_rng(1)
    x, size = rng.normal(size=(6, 16, 24, 3)).astype('f4'), (16, 24)
    offset = rng.integers((-2, -3), (3, 4), size=(6, 2))
    centre = rng.integers((0, 0), (17, 25), size=(6, 2))
    cropped, cut = np.zeros_like(x), x.copy()
    for m in range(6):
        for i in range(16):
            for j in range(24):
                source = (i + offset[m, 0], j + offset[m, 1])
                if all(0 <= s < length for s, length in zip(source, size)):
                    cropped[m, i, j] = x[m, source[0], source[1]]
        (top, bottom), (left, right) = (
            (max(0, o - n // 4), min(n, o - n // 4 + n // 2)) for o, n in zip(centre[m], size)
        )
        cut[m, top:bottom, left:right] = 0
    np.testing.assert_array_equal(geometry.crop(jnp.asarray(x), jnp.asarray(offset)), cropped)
    np.testing.assert_array_equal(geometry.cutout(jnp.asarray(x), jnp.asarray(centre)), cut)


@pytest.mark.parametrize('size', [(6, 6), (5, 9), (8, 3)])
def test_warps_match_numpy_transcription_on_any_shape(x64, size):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, *size, 2))
    factors, angles = rng.uniform(0.6, 1.6, size=(2, 2)), np.array([0.4, -1.1])
    scaled = [affine(image, np.diag(factor[::-1])) for image, factor in zip(x, factors)]
    rotated = [
        affine(image, np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]))
        for image, a in zip(x, angles)
    ]
    for operation, draw, expected in (
        (geometry.scale, factors, scaled),
        (geometry.rotate, angles, rotated),
    ):
        y = operation(jnp.asarray(x), jnp.asarray(draw))
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('size', [(8, 8), (7, 12)])
@pytest.mark.parametrize('name', NEUTRAL)
def test_neutral_parameter_is_the_identity(name, size):
    images = jax.random.normal(jax.random.key(0), (3, *size, 3))
    operation = jax.jit(OPERATIONS[name][0])
    np.testing.assert_array_equal(operation(images, NEUTRAL[name]), images)
    np.testing.assert_array_equal(operation(images, jnp.repeat(NEUTRAL[name], 3, axis=0)), images)


@pytest.mark.parametrize('name', OPERATIONS)
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_shared_equals_repeated_and_keeps_the_dtype(name, dtype):
    images = jax.random.normal(jax.random.key(0), (3, 8, 10, 3), dtype)
    operation = OPERATIONS[name][0]
    draw = jnp.asarray(
        {
            'crop': [[1, -1]],
            'cutout': [[3, 9]],
            'flip': [True],
            'scale': [[0.9, 1.1]],
            'rotate': [0.2],
        }[name]
    )
    y = jax.jit(operation)(images, draw)
    each = jax.jit(operation)(images, jnp.repeat(draw, 3, axis=0))
    assert y.dtype == each.dtype == dtype and y.shape == each.shape == images.shape
    tolerance = 2e-6 if dtype == jnp.float32 else 3e-2
    np.testing.assert_allclose(y.astype('f4'), each.astype('f4'), rtol=0, atol=tolerance)


@pytest.mark.parametrize('num_draws', [1, 5])
@pytest.mark.parametrize('name', ['crop', 'flip', 'scale'])
def test_a_pair_of_matrices_is_the_operation(name, num_draws):
    images = jax.random.normal(jax.random.key(0), (5, 8, 12, 3))
    size, key = images.shape[1:3], jax.random.key(1)
    drawn = {
        'crop': lambda: geometry.draw_crop(key, num_draws, size),
        'flip': lambda: geometry.draw_flip(key, num_draws),
        'scale': lambda: geometry.draw_scale(key, num_draws),
    }[name]()
    axes = getattr(geometry, f'{name}_axes')(drawn, size, images.dtype)
    assert [side.shape for side in axes] == [(num_draws, 8, 8), (num_draws, 12, 12)]
    found, expected = geometry.resample(images, axes), getattr(geometry, name)(images, drawn)
    if name == 'scale':
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    else:  # pixels are moved, not mixed
        np.testing.assert_array_equal(found, expected)


def test_warps_are_linear_in_the_image():
    x, y = jax.random.normal(jax.random.key(0), (2, 2, 8, 8, 1))
    for operation, draw in (
        (geometry.scale, jnp.array([[1.1, 0.9]])),
        (geometry.rotate, jnp.array([0.2])),
    ):
        np.testing.assert_allclose(
            operation(2 * x - y, draw),
            2 * operation(x, draw) - operation(y, draw),
            rtol=0,
            atol=2e-6,
        )


@pytest.mark.parametrize(
    'draw, size, ranges',
    [
        (geometry.draw_crop, (32, 16), ((-4, 4), (-2, 2))),
        (geometry.draw_crop, (28, 64), ((-4, 4), (-8, 8))),
        (geometry.draw_cutout, (32, 16), ((0, 32), (0, 16))),
        (geometry.draw_cutout, (9, 10), ((0, 8), (0, 9))),  # sides int(5.0) and int(5.5), both odd
    ],
)
def test_integer_draws_are_uniform_on_their_range(draw, size, ranges):
    values = np.asarray(draw(jax.random.key(0), 6000, size))
    assert values.shape == (6000, 2) and values.dtype == np.int32
    for axis, (low, high) in enumerate(ranges):
        found, counts = np.unique(values[:, axis], return_counts=True)
        np.testing.assert_array_equal(found, np.arange(low, high + 1))
        expected = 6000 / (high - low + 1)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.07


def test_real_draws_fill_their_range_evenly():
    key = jax.random.key(0)
    factor, angle = geometry.draw_scale(key, 4000), geometry.draw_rotate(key, 4000)
    assert factor.shape == (4000, 2) and angle.shape == (4000,)
    for values, low, high in (
        (factor[:, 0], 1 / 1.2, 1.2),
        (factor[:, 1], 1 / 1.2, 1.2),
        (angle, -np.pi / 12, np.pi / 12),
    ):
        assert values.min() >= low - 1e-6 and values.max() <= high + 1e-6
        counts, _ = np.histogram(values, bins=8, range=(low - 1e-6, high + 1e-6))
        assert np.abs(counts - 500).max() < 105  # 5 standard deviations
    assert abs(np.corrcoef(factor.T)[0, 1]) < 0.08
    assert abs(int(geometry.draw_flip(key, 4000).sum()) - 2000) < 160


def test_mismatched_number_of_draws_is_refused():
    images = jnp.zeros((2, 8, 8, 3))
    for name, draw in (
        ('crop', jnp.zeros((3, 2), int)),
        ('cutout', jnp.zeros((3, 2), int)),
        ('flip', jnp.zeros(3, bool)),
        ('scale', jnp.ones((3, 2))),
        ('rotate', jnp.zeros(3)),
    ):
        with pytest.raises(AssertionError):
            OPERATIONS[name][0](images, draw)
