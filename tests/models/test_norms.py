import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import parallel
from jaxdd.models import norms
from jaxdd.types import Moments


class Host(nn.Module):
    """One norm, so that `norms.norm` runs inside a compact module."""

    kind: str
    batch_statistics: bool = True

    @nn.compact
    def __call__(self, x):
        return norms.norm(self.kind, batch_statistics=self.batch_statistics, name='norm')(x)


def maps(seed=0, shape=(3, 4, 5, 8)):
    return np.random.default_rng(seed).normal(2.0, 3.0, shape).astype(np.float32)


def variables(kind, x, seed=1):
    """Fresh variables with a random scale and bias (none for 'none')."""
    rng = np.random.default_rng(seed)
    fresh = jax.jit(Host(kind).init)(jax.random.key(0), jnp.asarray(x))
    params = jax.tree.map(
        lambda p: rng.normal(size=p.shape).astype(p.dtype), fresh.get('params', {})
    )
    return {**fresh, 'params': params}


@pytest.mark.parametrize(
    'kind, axes', [('instance', (1, 2)), ('batch', (0, 1, 2)), ('layer', (1, 2, 3))]
)
def test_norms_agree_with_numpy(kind, axes):
    x = maps()
    v = variables(kind, x)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(
        wide.var(axes, keepdims=True) + 1e-5
    )
    expected = expected * v['params']['norm']['scale'] + v['params']['norm']['bias']
    np.testing.assert_allclose(Host(kind).apply(v, x), expected, atol=2e-5)


def test_group_norm_has_four_groups_of_neighbouring_channels():
    x = maps()
    v = variables('group', x)
    groups = x.astype(np.float64).reshape(3, 4, 5, 4, 2)
    mean, var = groups.mean((1, 2, 4), keepdims=True), groups.var((1, 2, 4), keepdims=True)
    expected = ((groups - mean) / np.sqrt(var + 1e-5)).reshape(x.shape)
    expected = expected * v['params']['norm']['scale'] + v['params']['norm']['bias']
    np.testing.assert_allclose(Host('group').apply(v, x), expected, atol=2e-5)


def test_none_is_the_identity_without_parameters():
    x = maps()
    assert not variables('none', x)['params']
    np.testing.assert_array_equal(Host('none').apply({}, x), x)


def test_fresh_norms_scale_by_one_and_shift_by_zero():
    params = Host('layer').init(jax.random.key(0), maps())['params']['norm']
    np.testing.assert_array_equal(params['scale'], np.ones((4, 5, 8)))
    np.testing.assert_array_equal(params['bias'], np.zeros((4, 5, 8)))


@pytest.mark.parametrize(
    'kind, axes', [('instance', (1, 2)), ('group', (1, 2, 4)), ('layer', (1, 2, 3))]
)
def test_first_and_second_derivatives_are_those_of_the_formula(x64, kind, axes):
    x, direction = jnp.asarray(maps(), jnp.float64), jnp.asarray(maps(1), jnp.float64)
    v = jax.tree.map(lambda leaf: leaf.astype('float64'), variables(kind, np.asarray(x)))

    def formula(x):
        wide = x.reshape(3, 4, 5, 4, 2) if kind == 'group' else x
        y = (wide - wide.mean(axes, keepdims=True)) / jnp.sqrt(wide.var(axes, keepdims=True) + 1e-5)
        scale, bias = (
            jnp.broadcast_to(v['params']['norm'][leaf], x.shape) for leaf in ('scale', 'bias')
        )
        return y.reshape(x.shape) * scale + bias

    def derivatives(norm):
        gradient = jax.grad(lambda x: jnp.sin(norm(x)).sum())
        return gradient(x), jax.grad(lambda x: jnp.vdot(gradient(x), direction))(x)

    for found, expected in zip(
        derivatives(lambda x: Host(kind).apply(v, x)), derivatives(formula), strict=True
    ):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize('kind', norms.NORMS)
def test_a_constant_map_has_finite_value_and_gradient(kind):
    x = jnp.full((2, 4, 4, 8), 7.0)
    v = variables(kind, x)
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(jnp.sin(Host(kind).apply(v, x))))(x)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_variance_survives_a_large_mean():
    x = maps() + 3000
    y = Host('instance').apply(variables('instance', x), x)
    wide = x.astype(np.float64)
    spread = wide.std((1, 2), keepdims=True)
    v = variables('instance', x)['params']['norm']
    np.testing.assert_allclose(
        y, (wide - wide.mean((1, 2), keepdims=True)) / spread * v['scale'] + v['bias'], atol=2e-3
    )


class Convolved(nn.Module):
    """A convolution and its norm, as networks have them."""

    kind: str

    @nn.compact
    def __call__(self, x):
        return norms.normed_conv(
            x, 8, kind=self.kind, batch_statistics=True, names=('conv', 'norm'), padding=0
        )


@pytest.mark.parametrize('kind', norms.NORMS)
@pytest.mark.parametrize('mean', [0, 10_000])
def test_one_pass_over_a_map_gives_what_two_give(kind, mean):
    x = mean + np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)
    v = Convolved(kind).init(jax.random.key(0), x)
    if kind == 'batch':  # an image's mean stands for that of former batches
        maps = Convolved('none').apply({'params': {'conv': v['params']['conv']}}, x)
        v['batch_stats']['norm']['mean'] = maps[0].mean((0, 1))

    def value_and_slope(x):
        value, back = jax.vjp(lambda x: Convolved(kind).apply(v, x), x)
        return value, back(jnp.cos(value))[0]

    here = value_and_slope(x)
    with parallel.lowering_for('tpu'):
        there = value_and_slope(x)
    # Both round products of the size of the mean. E[x^2] - E[x]^2 alone would lose the variance.
    for one, other in zip(here, there):
        scale = max(1, np.abs(one).max())
        np.testing.assert_allclose(other, one, rtol=0, atol=scale * (1e-5 if mean == 0 else 2e-2))


@pytest.mark.parametrize('kind', norms.NORMS)
def test_one_pass_over_a_constant_map_is_finite(kind):
    x = jnp.full((2, 8, 8, 3), 7.0)
    v = Convolved(kind).init(jax.random.key(0), x)
    with parallel.lowering_for('tpu'):
        value, gradient = jax.value_and_grad(
            lambda x: jnp.sum(jnp.sin(Convolved(kind).apply(v, x)))
        )(x)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_half_precision_maps_keep_their_type_and_float32_moments():
    x = jnp.asarray(maps(), jnp.bfloat16)
    y, sown = Host('batch').apply(variables('batch', x), x, mutable=['moments'])
    assert y.dtype == jnp.bfloat16
    assert sown['moments']['norm']['input'].var.dtype == jnp.float32


@pytest.mark.parametrize('batch_statistics', [True, False])
def test_batch_moments_are_those_of_the_layer_input(batch_statistics):
    x = maps()
    _, sown = Host('batch', batch_statistics).apply(variables('batch', x), x, mutable=['moments'])
    mean, var, count = sown['moments']['norm']['input']
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(var, x.var((0, 1, 2)), rtol=1e-5)
    assert count == 3 * 4 * 5


def test_running_moments_normalise_and_stay():
    x = maps()
    v = variables('batch', x)
    running = {'norm': {'mean': jnp.arange(8.0), 'var': jnp.arange(1.0, 9.0)}}
    y, changed = Host('batch', False).apply(
        {**v, 'batch_stats': running}, x, mutable=['batch_stats']
    )
    expected = (x - np.arange(8)) / np.sqrt(np.arange(1, 9) + 1e-5)
    expected = expected * v['params']['norm']['scale'] + v['params']['norm']['bias']
    np.testing.assert_allclose(y, expected, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, changed['batch_stats'], running)


def test_running_variance_is_counted_without_bias():
    x = maps().astype(np.float64)
    old = {'a/norm': {'mean': jnp.arange(8.0), 'var': jnp.arange(1.0, 9.0)}}
    moments = {'a/norm': Moments(jnp.asarray(x.mean((0, 1, 2))), jnp.asarray(x.var((0, 1, 2))), 60)}
    new = norms.update_batch_stats(old, moments, momentum=0.3)
    np.testing.assert_allclose(
        new['a/norm']['mean'], 0.7 * np.arange(8) + 0.3 * x.mean((0, 1, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(
        new['a/norm']['var'], 0.7 * np.arange(1, 9) + 0.3 * x.var((0, 1, 2), ddof=1), rtol=1e-5
    )


def test_running_moments_update_with_a_traced_count():
    old = {'norm': {'mean': jnp.zeros(2), 'var': jnp.ones(2)}}
    moments = {'norm': Moments(jnp.ones(2), jnp.full(2, 2.0), 1)}  # n - 1 = 0
    eager, jitted = (
        norms.update_batch_stats(old, moments),
        jax.jit(norms.update_batch_stats)(old, moments),
    )
    np.testing.assert_allclose(eager['norm']['var'], 0.9 + 0.1 * 2.0, rtol=1e-6)
    jax.tree.map(np.testing.assert_allclose, eager, jitted)
    assert all(leaf.dtype == jnp.float32 and not leaf.weak_type for leaf in jax.tree.leaves(jitted))


def test_an_unknown_norm_names_the_valid_ones():
    with pytest.raises(
        ValueError, match=r"unknown norm 'instence'; valid: batch, group.*mean 'instance'"
    ):
        Host('instence').init(jax.random.key(0), maps())


def test_group_norm_refuses_a_width_that_does_not_divide():
    with pytest.raises(ValueError, match='width divisible by 4, got 6'):
        Host('group').init(jax.random.key(0), maps(shape=(1, 2, 2, 6)))
