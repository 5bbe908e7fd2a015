"""The 3x3 convolution in fewer multiplications, against XLA's:
values, both derivatives, and derivatives of these."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import parallel
from jaxdd.models.cpu import convolution, winograd

PADDING = (1, 1), (1, 1)


def xla(images, kernel):
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), PADDING, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


def ours(images, kernel):
    return convolution.general_dilated(images, kernel, (1, 1), PADDING)


def drawn(*shapes, dtype='float32'):
    return [jax.random.normal(jax.random.key(i), shape, dtype) for i, shape in enumerate(shapes)]


def to_kernel(convolved, images, kernel, cotangent):
    return jax.vjp(lambda k: convolved(images, k), kernel)[1](cotangent)[0]


@pytest.fixture
def always(monkeypatch):
    """Every 3x3 convolution of stride 1 and even sides takes this way, and says so."""
    taken = []

    def fits(cotangent, kernel, strides, *, for_kernel=False):
        taken.append(for_kernel)
        return (
            kernel[:2] == (3, 3)
            and strides == (1, 1)
            and not any(side % 2 for side in cotangent[1:3])
        )

    monkeypatch.setattr(winograd, 'worthwhile', fits)
    return taken


def test_one_tile_by_hand():
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    # first output: sum over i, j of (4 i + j) (3 i + j)
    expected = [
        sum((4 * (y + i) + x + j) * (3 * i + j) for i in range(3) for j in range(3))
        for y in range(2)
        for x in range(2)
    ]
    np.testing.assert_allclose(winograd.conv(image, kernel).ravel(), expected)
    np.testing.assert_allclose(
        winograd.to_kernel(image, jnp.ones((1, 2, 2, 1))).ravel(),
        [image[0, i : i + 2, j : j + 2].sum() for i in range(3) for j in range(3)],
    )


@pytest.mark.parametrize(
    'shape, out', [((3, 16, 16, 64), 64), ((2, 32, 12, 32), 64), ((4, 8, 8, 128), 128)]
)
def test_in_float32_it_differs_by_rounding(shape, out):
    images, kernel, cotangent = drawn(shape, (3, 3, shape[-1], out), (*shape[:-1], out))
    padded = jnp.pad(images, ((0, 0), *PADDING, (0, 0)))
    exact = [np.float64(a) for a in (images, kernel, cotangent)]
    with jax.enable_x64(True):
        value, slope = (
            np.asarray(x)
            for x in (xla(*map(jnp.asarray, exact[:2])), to_kernel(xla, *map(jnp.asarray, exact)))
        )
    plain = to_kernel(xla, images, kernel, cotangent)
    for found, plain, true in (
        (winograd.conv(padded, kernel), xla(images, kernel), value),
        (winograd.to_kernel(padded, cotangent), plain, slope),
    ):
        found, plain = np.asarray(found), np.asarray(plain)
        scale = np.abs(true).max()
        assert np.abs(found - true).max() < 3e-6 * scale
        assert np.abs(found - true).max() < 8 * np.abs(plain - true).max()


def test_derivatives_of_every_order_are_those_of_xla(x64, always):
    images, kernel, *directions = drawn(
        (2, 6, 4, 3), (3, 3, 3, 2), (2, 6, 4, 3), (3, 3, 3, 2), dtype='float64'
    )

    def everything(convolved):
        def gradient(*args):
            return jax.grad(lambda *args: jnp.sin(convolved(*args)).sum(), (0, 1))(*args)

        def along(*args):
            return sum(jnp.vdot(a, b) for a, b in zip(gradient(*args), directions))

        return (
            convolved(images, kernel),
            gradient(images, kernel),
            jax.grad(along, (0, 1))(images, kernel),
        )

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max()),
        everything(ours),
        everything(xla),
    )
    assert True in always and False in always


@pytest.mark.parametrize('devices', [None, 2])
def test_large_batches_go_in_chunks(devices, monkeypatch, x64):
    monkeypatch.setattr(winograd, '_CACHED', 2 * 16 * 16 * 64)
    images, kernel, cotangent = drawn(
        (12, 16, 16, 64), (3, 3, 64, 64), (12, 16, 16, 64), dtype='float64'
    )
    padded = jnp.pad(images, ((0, 0), *PADDING, (0, 0)))
    with parallel.use(devices and parallel.mesh(devices)):
        compiled = jax.jit(lambda x, k, g: (winograd.conv(x, k), winograd.to_kernel(x, g)))
        value, slope = compiled(parallel.shard(padded), kernel, parallel.shard(cotangent))
        assert 'while(' in compiled.lower(padded, kernel, cotangent).compile().as_text()
    np.testing.assert_allclose(value, xla(images, kernel), atol=1e-11)
    np.testing.assert_allclose(slope, to_kernel(xla, images, kernel, cotangent), atol=1e-10)


def test_half_precision_does_not_take_this_way(monkeypatch):
    def refused(*args):
        raise AssertionError('differences of half-precision pixels')

    monkeypatch.setattr(winograd, 'conv', refused)
    monkeypatch.setattr(winograd, 'to_kernel', refused)
    images, kernel = (x.astype('bfloat16') for x in drawn((2, 16, 16, 128), (3, 3, 128, 128)))
    value, back = jax.vjp(ours, images, kernel)
    assert value.dtype == back(value)[1].dtype == 'bfloat16'
    with pytest.raises(AssertionError, match='half-precision'):
        ours(images.astype('float32'), kernel.astype('float32'))


def test_where_it_pays():
    def fits(side, channels, size=3, stride=1, **more):
        kernel = size, size, channels, channels
        return winograd.worthwhile((8, side, side, channels), kernel, (stride, stride), **more)

    assert fits(16, 128) and fits(32, 64) and not fits(8, 128) and not fits(16, 32)
    assert (
        fits(8, 128, for_kernel=True)
        and not fits(32, 64, for_kernel=True)
        and not fits(4, 512, for_kernel=True)
    )
    assert not fits(16, 128, size=5) and not fits(32, 128, stride=2) and not fits(15, 128)


def test_images_of_few_channels_stay_with_xla():
    assert not winograd.worthwhile((8, 32, 32, 128), (3, 3, 3, 128), (1, 1))
    assert not winograd.worthwhile((8, 32, 32, 3), (3, 3, 128, 3), (1, 1))
