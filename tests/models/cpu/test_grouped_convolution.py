import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdd.models.cpu import grouped_convolution


def case(channels, features, groups, size, side, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(2, *side, channels)).astype(np.float32),
        rng.normal(size=(size, size, channels // groups, features)).astype(np.float32),
    )


CASES = pytest.mark.parametrize(
    'channels, features, groups, size, stride, side',
    [
        (6, 6, 6, 3, 1, (5, 7)),
        (6, 6, 6, 3, 2, (5, 8)),
        (4, 4, 4, 5, 2, (6, 6)),
        (4, 4, 4, 3, 2, (1, 1)),
        (6, 4, 2, 1, 1, (4, 4)),
        (6, 9, 3, 3, 2, (5, 6)),
        (3, 6, 3, 3, 1, (4, 4)),
    ],
)


def padded(size):
    return ((size // 2, size // 2),) * 2


@CASES
def test_groups_agree_with_lax_and_so_do_gradients(
    channels, features, groups, size, stride, side, x64
):
    images, kernel = (
        jnp.asarray(x, jnp.float64) for x in case(channels, features, groups, size, side)
    )

    def lax(images, kernel):
        return jax.lax.conv_general_dilated(
            images,
            kernel,
            (stride, stride),
            padded(size),
            feature_group_count=groups,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )

    def ours(images, kernel):
        return grouped_convolution.general_dilated(
            images, kernel, (stride, stride), padded(size), feature_group_count=groups
        )

    def gradients(convolve):
        first = jax.grad(lambda *args: jnp.sum(jnp.sin(convolve(*args))), (0, 1))
        second = jax.grad(lambda *args: sum(jnp.square(g).sum() for g in first(*args)), (0, 1))
        orders = (first, second) if size == 3 else (first,)  # 25 taps compile slowly
        return jax.jit(lambda *args: (convolve(*args), *(order(*args) for order in orders)))(
            images, kernel
        )

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max()),
        gradients(ours),
        gradients(lax),
    )


@CASES
def test_groups_are_torchs(channels, features, groups, size, stride, side):
    images, kernel = case(channels, features, groups, size, side)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(images.transpose(0, 3, 1, 2)),
        torch.from_numpy(kernel.transpose(3, 2, 0, 1)),
        stride=stride,
        padding=size // 2,
        groups=groups,
    )
    ours = grouped_convolution.general_dilated(
        jnp.asarray(images),
        jnp.asarray(kernel),
        (stride, stride),
        padded(size),
        feature_group_count=groups,
    )
    np.testing.assert_allclose(ours, expected.numpy().transpose(0, 2, 3, 1), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize('side', [(8, 8), (7, 5), (1, 1)])
def test_the_average_pool_is_torchs(side):
    x = np.random.default_rng(0).normal(size=(2, *side, 3)).astype(np.float32)
    expected = torch.nn.functional.avg_pool2d(torch.from_numpy(x.transpose(0, 3, 1, 2)), 3, 2, 1)
    np.testing.assert_allclose(
        grouped_convolution.average_pool(jnp.asarray(x)),
        expected.numpy().transpose(0, 2, 3, 1),
        atol=1e-6,
    )


def test_dilation_is_refused():
    images, kernel = case(4, 4, 4, 3, (6, 6))
    with pytest.raises(AssertionError):
        grouped_convolution.general_dilated(
            images, kernel, (1, 1), padded(3), feature_group_count=4, rhs_dilation=(2, 2)
        )
