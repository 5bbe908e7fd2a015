"""Crops and shifts by hand, against torch and against torchvision's rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdd.augment import cropping


def torch_resized(images, boxes, size):
    """`torch.nn.functional.interpolate` of each image's box, NHWC."""
    crops = [
        torch.nn.functional.interpolate(
            images[m : m + 1, :, top : top + height, left : left + width],
            size,
            mode='bilinear',
            align_corners=False,
        )
        for m, (top, left, height, width) in enumerate(boxes)
    ]
    return torch.cat(crops).permute(0, 2, 3, 1)


def test_hand_worked_values():
    row = jnp.arange(1.0, 5.0).reshape(1, 1, 4, 1)

    def flat(y):
        return np.asarray(y).ravel()

    np.testing.assert_array_equal(flat(cropping.roll(row, jnp.array([0, 1]))), [4, 1, 2, 3])
    np.testing.assert_array_equal(flat(cropping.roll(row, jnp.array([5, -1]))), [2, 3, 4, 1])
    # Two pixels on four: sources -1/4, 1/4, 3/4, 5/4 of the box, the outer ones moved to 0 and 1.
    np.testing.assert_allclose(
        flat(cropping.resized_crop(row, jnp.array([[0, 1, 1, 2]]), (1, 4))),
        [2, 2.25, 2.75, 3],
        rtol=1e-6,
    )
    for offset, expected in (
        (0, [1, 2, 3, 4]),
        (2, [3, 4, -7, -7]),
        (-1, [-7, 1, 2, 3]),
        (9, [3, 4, -7, -7]),
    ):
        y = cropping.padded_crop(row, jnp.array([[0, offset]]), padding=2, fill=[-7.0])
        np.testing.assert_array_equal(flat(y), expected)


def test_roll_matches_numpy():
    images = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype('f4')
    for shift in ((0, 0), (3, 1), (-4, 4), (7, -13)):
        y = jax.jit(cropping.roll)(images, jnp.array(shift))
        np.testing.assert_array_equal(y, np.roll(images, shift, axis=(1, 2)))


@pytest.mark.parametrize('size', [(12, 10), (7, 7), (5, 16), (1, 1)])
def test_resized_crop_matches_torch_value_and_gradient(x64, size):
    rng = np.random.default_rng(1)
    images, cotangent = rng.normal(size=(6, 12, 10, 3)), rng.normal(size=(6, *size, 3))
    boxes = [(0, 0, 12, 10), (0, 0, 1, 1), (11, 9, 1, 1), (3, 2, 5, 7), (2, 0, 10, 3), (5, 4, 7, 6)]
    theirs = torch.tensor(images.transpose(0, 3, 1, 2), requires_grad=True)
    expected = torch_resized(theirs, boxes, size)
    expected.backward(torch.tensor(cotangent))
    y, vjp = jax.vjp(
        jax.jit(lambda x, box: cropping.resized_crop(x, box, size)),
        jnp.asarray(images),
        jnp.array(boxes),
    )
    np.testing.assert_allclose(y, expected.detach(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        vjp(jnp.asarray(cotangent))[0], theirs.grad.permute(0, 2, 3, 1), rtol=0, atol=1e-12
    )


def test_resized_crop_of_drawn_boxes_matches_torch_in_float32():
    images = jax.random.normal(jax.random.key(0), (40, 32, 32, 3))
    boxes = cropping.draw_resized_crop(jax.random.key(1), 40, (32, 32))
    theirs = torch.tensor(np.asarray(images).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(
        cropping.resized_crop(images, boxes, (32, 32)),
        torch_resized(theirs, np.asarray(boxes).tolist(), (32, 32)),
        rtol=0,
        atol=2e-6,
    )


def test_padded_crop_matches_numpy():
    rng = np.random.default_rng(2)
    images, fill = rng.normal(size=(5, 6, 9, 2)).astype('f4'), (-2.0, 0.5)
    offset = rng.integers(-3, 4, size=(5, 2))
    y = jax.jit(lambda x, o: cropping.padded_crop(x, o, padding=3, fill=fill))(images, offset)
    padded = np.stack(
        [np.pad(images[..., c], ((0, 0), (3, 3), (3, 3)), constant_values=fill[c]) for c in (0, 1)],
        -1,
    )
    for m, (v, h) in enumerate(offset + 3):
        np.testing.assert_array_equal(y[m], padded[m, v : v + 6, h : h + 9])


OPERATIONS = {
    'resized_crop': (
        lambda x, box: cropping.resized_crop(x, box, x.shape[1:3]),
        [[1, 2, 5, 4]],
        [[0, 0, 8, 6]],
    ),
    'padded_crop': (
        lambda x, offset: cropping.padded_crop(x, offset, fill=(-1.0, 0.0, 1.0)),
        [[2, -1]],
        [[0, 0]],
    ),
}
parametrize = pytest.mark.parametrize(
    'operation, parameter, neutral', OPERATIONS.values(), ids=OPERATIONS
)


@parametrize
def test_neutral_parameter_is_the_identity(operation, parameter, neutral):
    images = jax.random.normal(jax.random.key(0), (3, 8, 6, 3))
    np.testing.assert_array_equal(operation(images, jnp.array(neutral)), images)
    np.testing.assert_array_equal(operation(images, jnp.array(neutral * 3)), images)


@parametrize
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_shared_equals_repeated_and_keeps_the_dtype(operation, parameter, neutral, dtype):
    images = jax.random.normal(jax.random.key(0), (3, 8, 6, 3), dtype)
    y, each = operation(images, jnp.array(parameter)), operation(images, jnp.array(parameter * 3))
    assert y.dtype == each.dtype == dtype and y.shape == each.shape == images.shape
    tolerance = 1e-6 if dtype == jnp.float32 else 3e-2
    np.testing.assert_allclose(y.astype('f4'), each.astype('f4'), rtol=0, atol=tolerance)


@parametrize
def test_mismatched_number_of_parameters_is_refused(operation, parameter, neutral):
    with pytest.raises(AssertionError):
        operation(jnp.zeros((2, 8, 6, 3)), jnp.array(parameter * 3))


def numpy_boxes(rng, num, size, scale, ratio=(3 / 4, 4 / 3)):
    """torchvision's rule, one draw after the other."""
    height, width = size
    boxes = []
    for _ in range(num):
        for _ in range(10):
            area = height * width * rng.uniform(*scale)
            shape = np.exp(rng.uniform(*np.log(ratio)))
            w, h = round(np.sqrt(area * shape)), round(np.sqrt(area / shape))
            if 0 < w <= width and 0 < h <= height:
                boxes.append(
                    (rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w)
                )
                break
        else:
            w, h = width, height
            if width / height < ratio[0]:
                h = round(width / ratio[0])
            elif width / height > ratio[1]:
                w = round(height * ratio[1])
            boxes.append(((height - h) // 2, (width - w) // 2, h, w))
    return np.array(boxes)


@pytest.mark.parametrize(
    'size, scale',
    [
        ((32, 32), (0.08, 1.0)),
        ((32, 32), (0.9, 1.0)),
        ((8, 20), (0.3, 1.0)),
        ((30, 10), (0.5, 0.6)),
        ((4, 4), (0.02, 0.1)),
    ],
)
def test_boxes_are_distributed_as_torchvisions(size, scale):
    drawn = np.asarray(
        jax.jit(lambda key: cropping.draw_resized_crop(key, 4000, size, scale=scale))(
            jax.random.key(0)
        )
    )
    expected = numpy_boxes(np.random.default_rng(3), 4000, size, scale)
    assert drawn.shape == (4000, 4) and drawn.dtype == np.int32
    assert (
        (drawn[:, :2] >= 0).all()
        and (drawn[:, 2:] > 0).all()
        and (drawn[:, :2] + drawn[:, 2:] <= size).all()
    )
    for axis in range(4):
        ours, theirs = (
            np.bincount(x[:, axis], minlength=40).cumsum() / 4000 for x in (drawn, expected)
        )
        # Kolmogorov-Smirnov; 0.1 % of such pairs exceed 0.044
        assert np.abs(ours - theirs).max() < 0.05
    for pair in ((0, 2), (2, 3), (0, 1)):
        ours, theirs = (np.mean(x[:, pair[0]] * x[:, pair[1]]) for x in (drawn, expected))
        np.testing.assert_allclose(ours, theirs, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    'size, ratio, expected',
    [
        ((90, 90), (3 / 4, 4 / 3), (0, 0, 90, 90)),
        ((10, 40), (1.3, 4 / 3), (0, 13, 10, 13)),
        ((12, 12), (1.3, 4 / 3), (1, 0, 9, 12)),
        ((41, 9), (1.3, 4 / 3), (17, 0, 7, 9)),
    ],
)
def test_boxes_that_never_fit_give_the_centre(size, ratio, expected):
    """The whole area, in a shape that is not the image's."""
    boxes = cropping.draw_resized_crop(jax.random.key(0), 5, size, scale=(1.0, 1.0), ratio=ratio)
    np.testing.assert_array_equal(boxes, [expected] * 5)


def test_the_least_area_may_be_traced():
    def draw(low):
        return cropping.draw_resized_crop(jax.random.key(0), 200, (64, 64), scale=(low, 1.0))

    np.testing.assert_array_equal(jax.jit(draw)(0.5), draw(0.5))
    areas = np.prod(np.asarray(jax.jit(draw)(0.5))[:, 2:], axis=1) / 64**2
    assert 0.48 < areas.min() < 0.6 and areas.max() > 0.8


def test_integer_draws_are_uniform_on_their_range():
    keys = jax.random.split(jax.random.key(0), 3000)
    for values, low, high in (
        (jax.vmap(lambda k: cropping.draw_roll(k, 4))(keys), 0, 4),
        (jax.vmap(lambda k: cropping.draw_roll(k, 4, both_signs=True))(keys), -4, 4),
        (jax.vmap(lambda k: cropping.draw_roll(k, 0))(keys), 0, 0),
        (cropping.draw_padded_crop(keys[0], 3000, padding=2), -2, 2),
    ):
        assert values.shape == (3000, 2) and values.dtype == jnp.int32
        for axis in (0, 1):
            found, counts = np.unique(values[:, axis], return_counts=True)
            np.testing.assert_array_equal(found, np.arange(low, high + 1))
            expected = 3000 / (high - low + 1)
            assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
        assert low == high or abs(np.corrcoef(np.asarray(values).T)[0, 1]) < 0.1


def test_refusals():
    draw = jax.random.key(0), 2, (8, 8)
    for scale in ((0.0, 1.0), (0.5, 0.4), (0.5, 1.1)):
        with pytest.raises(ValueError, match='0 < least <= largest <= 1, got'):
            cropping.draw_resized_crop(*draw, scale=scale)
    with pytest.raises(ValueError, match='ratio is the least and the largest width / height'):
        cropping.draw_resized_crop(*draw, ratio=(2.0, 1.0))
    with pytest.raises(ValueError, match=r'one number per channel, 3, got 1: \(0.0,\)'):
        cropping.padded_crop(jnp.zeros((2, 8, 8, 3)), jnp.zeros((2, 2), int), fill=(0.0,))
