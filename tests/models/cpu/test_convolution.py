"""The convolution with its own derivatives, against XLA's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.models.cpu.convolution import general_dilated

# these programs run once each and are tiny: compiling them well costs more than it saves
quick = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
# stride 2 with every padding, stride 1 with every padding on one of the axes
CASES = [
    *(((2, 2), ((p, p), (p, p))) for p in range(4)),
    *(((1, 1), ((p, p), (p + 2, p + 2))) for p in range(2)),
]


def xla(images, kernel, strides, padding):
    return jax.lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def derivatives(convolution, strides, padding):
    """(images, kernel, directions) -> value, both gradients, and the gradients of <gradients,
    directions>."""

    def value(images, kernel):
        return jnp.sin(convolution(images, kernel, strides, padding))

    def gradient(images, kernel):
        return jax.grad(lambda *args: value(*args).sum(), (0, 1))(images, kernel)

    def along(images, kernel, directions):
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient(images, kernel), directions)))

    def everything(images, kernel, directions):
        return (
            value(images, kernel),
            gradient(images, kernel),
            jax.grad(along, (0, 1))(images, kernel, directions),
        )

    return everything


def assert_same(actual, expected):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert one.dtype == jnp.float64 and one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * max(1, np.abs(other).max()))


def compare(settings, side, size):
    """All derivatives of all settings `(strides, padding)`, in one program."""
    images, kernel = normal(0, 2, *side, 3), normal(1, *size, 3, 2)
    directions = normal(2, *images.shape), normal(3, *kernel.shape)
    ours, theirs = (
        quick(lambda *args: [derivatives(convolution, *setting)(*args) for setting in settings])(
            images, kernel, directions
        )
        for convolution in (general_dilated, xla)
    )
    for actual, expected in zip(ours, theirs, strict=True):
        assert_same(actual, expected)
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(expected))


@pytest.mark.parametrize('size', [1, 3, 5])
def test_first_and_second_derivatives_are_those_of_xla(x64, size):
    compare(CASES, side=(7, 8), size=(size, size))


@pytest.mark.parametrize('side', [(1, 1), (2, 2), (1, 4), (4, 4)])
def test_maps_of_few_pixels(x64, side):
    compare([((1, 1), ((1, 1), (1, 1))), ((2, 2), ((1, 1), (1, 1)))], side=side, size=(3, 3))


def test_axes_may_differ(x64):
    compare([((1, 2), ((2, 0), (1, 3))), ((3, 1), ((0, 0), (0, 1)))], side=(6, 9), size=(2, 3))


def test_a_kernel_per_network(x64):
    images, kernels = normal(0, 2, 5, 5, 3), normal(1, 4, 1, 2, 3, 2)
    directions = normal(2, *images.shape), normal(3, *kernels.shape[1:])
    one = derivatives(general_dilated, *CASES[1])
    together = quick(jax.vmap(one, (None, 0, None)))(images, kernels, directions)
    single = quick(one)
    for i, kernel in enumerate(kernels):
        assert_same(
            jax.tree.map(lambda leaf: leaf[i], together), single(images, kernel, directions)
        )


def test_inside_a_scan(x64):
    images, start = normal(0, 2, 5, 5, 2), normal(1, 3, 3, 2, 2)

    def descended(convolution, images):
        """The kernel after three steps of descent:
        its gradient to the images is one of gradients."""

        def loss(kernel):
            return jnp.sum(jnp.sin(convolution(images, kernel, (1, 1), ((1, 1), (1, 1)))))

        def step(kernel, _):
            return kernel - 0.1 * jax.grad(loss)(kernel), loss(kernel)

        kernel, losses = jax.lax.scan(step, start, length=3)
        return jnp.sum(kernel**2), losses

    ours, theirs = quick(
        lambda images: [
            jax.value_and_grad(lambda x: descended(convolution, x), has_aux=True)(images)
            for convolution in (general_dilated, xla)
        ]
    )(images)
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    'others', [{'feature_group_count': 2}, {'lhs_dilation': (2, 1)}, {'rhs_dilation': (1, 2)}]
)
def test_other_convolutions_are_refused(others):
    images, kernel = jnp.zeros((1, 5, 5, 2)), jnp.zeros((3, 3, 2, 2))
    with pytest.raises(ValueError, match=f'only plain convolutions .*{next(iter(others))}'):
        general_dilated(images, kernel, (1, 1), ((1, 1), (1, 1)), **others)


def test_what_flax_adds_to_a_plain_convolution_changes_nothing():
    images, kernel = jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2, 2))
    where = (1, 1), ((1, 1), (1, 1))
    plain = {
        'lhs_dilation': (1, 1),
        'rhs_dilation': (1, 1),
        'feature_group_count': 1,
        'precision': None,
    }
    np.testing.assert_array_equal(
        general_dilated(images, kernel, *where, **plain), general_dilated(images, kernel, *where)
    )
