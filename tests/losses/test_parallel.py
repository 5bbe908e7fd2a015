"""Every loss, in every form of parallelism: the same value and the same gradient."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxdd import losses
from jaxdd.types import Moments

AXIS, DEVICES, VMAPPED = 'devices', 8, 3
FEATURES, MAPS, LOGITS = (4, 5, 6), (4, 5, 3, 6), (4, 5, 6)  # [K, n, D], [K, n, P, D], [K, n, Y]
IMAGES = (4, 5, 6, 3)  # [N, H, W, C]


class Case(NamedTuple):
    """One loss of (synthetic, target); a split target is a real batch,
    cut along B over the devices."""

    loss: Callable
    shape: tuple[int, ...]
    split: bool


def with_real(loss):
    """(synthetic, real, axis_name) -> loss, for losses that average over the real batch."""
    return lambda synthetic, real, axis_name=None: loss(real, synthetic, axis_name=axis_name)


def with_weights(loss):
    """`with_real`, with real images that count for 0.5, 1 or nothing."""

    def weighted(synthetic, real, axis_name=None):
        first = real.reshape(*real.shape[:2], -1)[..., 0]
        weights = jnp.where(first > 0.5, 0.5, jnp.where(first > -0.5, 1.0, 0.0))
        return loss(real, synthetic, real_weights=weights, axis_name=axis_name)

    return weighted


def alone(loss, **options):
    """(synthetic, unused target) -> loss, for losses of the synthetic set only."""
    return lambda synthetic, target: loss(synthetic, **options)


def of_gradients(loss):
    """(synthetic, real, axis_name) -> loss, with the mean over images as if it were a parameter
    gradient."""

    def tree(images):
        mean = jnp.mean(images, axis=1)
        return {'kernel': mean.reshape(2, 2, 2, 3), 'bias': mean[0]}

    return lambda synthetic, real, axis_name=None: loss(
        tree(real), tree(synthetic), axis_name=axis_name
    )


def of_moments(loss):
    """(synthetic, target) -> loss, with features and their squares as the inputs of two batch-norm
    layers."""

    def moments(features):
        layers = {
            'norm0': features.reshape(-1, features.shape[-1]),
            'norm1': features[..., :2].reshape(-1, 2) ** 2,
        }
        return {path: Moments(x.mean(0), x.var(0), len(x)) for path, x in layers.items()}

    return lambda synthetic, target: loss(
        moments(synthetic),
        {path: {'mean': m.mean, 'var': m.var} for path, m in moments(target).items()},
    )


def remembering(synthetic, target):
    return losses.remembering_cross_entropy(
        synthetic, jax.nn.softmax(target), target, beta=0.5, temperature=2.0
    )


def soft_cross_entropy(logits, target):
    return losses.soft_cross_entropy(logits, jax.nn.softmax(target))


def parameter_distance(params, target):
    """A student and its start are (parts of) the given arrays, which stand for parameters."""
    return losses.normalized_parameter_distance(
        {'w': params}, {'w': jnp.zeros_like(target)}, {'w': target}
    )


CASES = {
    'mean_feature_distance': Case(with_real(losses.mean_feature_distance), FEATURES, True),
    'local_covariance_distance': Case(with_real(losses.local_covariance_distance), MAPS, True),
    'mean_feature_distance weighted': Case(
        with_weights(losses.mean_feature_distance), FEATURES, True
    ),
    'local_covariance_distance weighted': Case(
        with_weights(losses.local_covariance_distance), MAPS, True
    ),
    'class_centralization': Case(alone(losses.class_centralization), FEATURES, False),
    'class_centralization exp_hinge': Case(
        alone(losses.class_centralization, form='exp_hinge'), FEATURES, False
    ),
    'conditional_mutual_information': Case(
        alone(losses.conditional_mutual_information), FEATURES, False
    ),
    'layerwise_cosine_distance': Case(
        of_gradients(losses.layerwise_cosine_distance), FEATURES, True
    ),
    'cosine_distance': Case(of_gradients(losses.cosine_distance), FEATURES, True),
    'squared_distance': Case(of_gradients(losses.squared_distance), FEATURES, True),
    'layerwise_l1': Case(of_gradients(losses.layerwise_l1), FEATURES, True),
    'layerwise_l2': Case(of_gradients(losses.layerwise_l2), FEATURES, True),
    'layerwise_l1_mean': Case(of_gradients(losses.layerwise_l1_mean), FEATURES, True),
    'convolution_cosine_distance': Case(
        of_gradients(losses.convolution_cosine_distance), FEATURES, True
    ),
    'batch_moment_distance': Case(of_moments(losses.batch_moment_distance), FEATURES, False),
    'layer_moment_distances': Case(of_moments(losses.layer_moment_distances), FEATURES, False),
    'normalized_parameter_distance': Case(parameter_distance, FEATURES, False),
    'total_variation': Case(alone(losses.total_variation), IMAGES, False),
    'pixel_norm': Case(alone(losses.pixel_norm), IMAGES, False),
    'soft_cross_entropy': Case(soft_cross_entropy, LOGITS, False),
    'soft_label_kl': Case(functools.partial(losses.soft_label_kl, temperature=2.0), LOGITS, False),
    'remembering_cross_entropy': Case(remembering, LOGITS, False),
}


def evaluate(case, *, axis_name=None):
    """(synthetic, target) -> (unreduced loss, gradient of its sum to the synthetic side)."""
    loss = (
        functools.partial(case.loss, axis_name=axis_name) if axis_name and case.split else case.loss
    )

    def total(synthetic, target):
        value = loss(synthetic, target)
        return jnp.sum(value), value

    def value_and_gradient(synthetic, target):
        (_, value), gradient = jax.value_and_grad(total, has_aux=True)(synthetic, target)
        return value, gradient

    return value_and_gradient


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.fixture
def arrays(x64, case):
    """VMAPPED synthetic sets and targets;
    the real batch has two images of each class per device."""
    rng = np.random.default_rng(12)
    target_shape = (case.shape[0], 2 * DEVICES, *case.shape[2:]) if case.split else case.shape
    return tuple(
        jnp.asarray(rng.normal(size=(VMAPPED, *shape))) for shape in (case.shape, target_shape)
    )


@pytest.fixture
def expected(case, arrays):
    """Plain calls, one by one."""
    results = [evaluate(case)(*pair) for pair in zip(*arrays)]
    return tuple(np.stack(result) for result in zip(*results))


def assert_same(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-12)


def replicated(results):
    """What each of the devices holds, for comparison with the one true result."""
    return tuple(np.broadcast_to(result, (DEVICES, *result.shape)) for result in results)


def per_device(case, target):
    """[devices, ...]: each device's part of a real batch [K, B, ...],
    or a copy of any other target."""
    return jnp.stack(jnp.split(target, DEVICES, axis=1) if case.split else [target] * DEVICES)


def test_every_public_loss_is_here():
    public = {name for name, value in vars(losses).items() if callable(value)}
    assert public == {name.split()[0] for name in CASES}


def test_jit(case, arrays, expected):
    assert_same(
        jax.jit(evaluate(case))(arrays[0][0], arrays[1][0]), [result[0] for result in expected]
    )


def test_vmap(case, arrays, expected):
    assert_same(jax.vmap(evaluate(case))(*arrays), expected)


def test_pmap(case, arrays, expected):
    step = jax.pmap(evaluate(case, axis_name=AXIS), axis_name=AXIS, in_axes=(None, 0))
    actual = step(arrays[0][0], per_device(case, arrays[1][0]))
    assert_same(actual, replicated(result[0] for result in expected))


def test_vmap_with_an_axis_name(case, arrays, expected):
    step = jax.vmap(evaluate(case, axis_name=AXIS), axis_name=AXIS, in_axes=(None, 0))
    actual = step(arrays[0][0], per_device(case, arrays[1][0]))
    assert_same(actual, replicated(result[0] for result in expected))


@pytest.mark.parametrize('check_vma', [True, False])
def test_shard_map(case, arrays, expected, check_vma):
    mesh = jax.make_mesh((DEVICES,), (AXIS,), axis_types=(AxisType.Auto,))
    parts = PartitionSpec(None, AXIS) if case.split else PartitionSpec()
    step = jax.shard_map(
        evaluate(case, axis_name=AXIS),
        mesh=mesh,
        in_specs=(PartitionSpec(), parts),
        out_specs=PartitionSpec(),
        check_vma=check_vma,
    )
    assert_same(jax.jit(step)(arrays[0][0], arrays[1][0]), [result[0] for result in expected])
