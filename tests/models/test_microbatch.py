"""A batch through a network part by part is the batch at once: outputs, moments, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import models, parallel
from jaxdd.losses import batch_moment_distance
from jaxdd.models.microbatch import _pooled
from jaxdd.types import Moments

NET = models.by_name('resnet18_stem3', (8, 8, 3), 5, width=4)
IMAGES = jax.random.normal(jax.random.key(1), (16, 8, 8, 3))


@pytest.fixture(scope='module')
def variables():
    made = NET.init(jax.random.key(0))
    return made._replace(batch_stats=jax.tree.map(lambda x: x + 0.1, made.batch_stats))


def objective(model, variables, images):
    out = model.apply(variables, images)
    return out.logits[:, 0].sum() + batch_moment_distance(out.moments, variables.batch_stats), out


@pytest.mark.parametrize(
    'size', [pytest.param(size, marks=pytest.mark.long) for size in (1, 4, 6, 16, 125)]
)
def test_value_moments_and_gradient_are_those_of_the_whole_batch(size, variables):
    run = lambda model: jax.jit(
        jax.value_and_grad(lambda x: objective(model, variables, x), has_aux=True)
    )(IMAGES)
    (value, whole), gradient = run(NET)
    (parted, out), parts = run(models.microbatched(NET, size))
    np.testing.assert_allclose(parted, value, rtol=1e-5)
    for one, other in zip(jax.tree.leaves(out), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts, gradient, atol=1e-4 * np.abs(gradient).max())


@pytest.mark.parametrize('images, size', [pytest.param(16, 1, marks=pytest.mark.long), (10, 1)])
def test_eight_devices_take_their_own_rows(images, size, variables):
    expected = NET.apply(variables, IMAGES[:images])
    with parallel.use(parallel.mesh(8)):
        out = jax.jit(models.microbatched(NET, size).apply)(
            variables, parallel.shard(IMAGES[:images])
        )
    np.testing.assert_allclose(out.logits, expected.logits, atol=1e-5)
    for path, moments in expected.moments.items():
        np.testing.assert_allclose(out.moments[path].var, moments.var, rtol=1e-4, atol=1e-6)
        assert out.moments[path].count == moments.count


def test_unequal_parts_weigh_by_their_values():
    """Of 1, 3 | 5, 7 | 8: mean 24 / 5, variance 148 / 5 - 4.8 ** 2;
    the mean of the parts' means would be 16 / 3."""
    two, one = (
        Moments(jnp.array([[2.0], [6.0]]), jnp.ones((2, 1)), jnp.array([2, 2])),
        Moments(jnp.array([[8.0]]), jnp.zeros((1, 1)), jnp.array([1])),
    )
    mean, var, count = _pooled([two, one])
    np.testing.assert_allclose([mean[0], var[0], count], [4.8, 6.56, 5], rtol=1e-6)


def test_a_part_of_nothing_is_refused(variables):
    with pytest.raises(ValueError, match='a part must hold at least 1 image per device, got 0'):
        models.microbatched(NET, 0).apply(variables, IMAGES)


def test_the_backward_pass_keeps_one_part():
    wide = models.by_name('convnet_bn', (32, 32, 3), 5, width=16)
    variables, images = wide.init(jax.random.key(0)), jnp.zeros((64, 32, 32, 3))

    def needed(model):
        gradient = jax.grad(lambda x: objective(model, variables, x)[0])
        return jax.jit(gradient).lower(images).compile().memory_analysis().temp_size_in_bytes

    assert needed(models.microbatched(wide, 8)) < needed(wide) / 2
