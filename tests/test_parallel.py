"""Devices: no mesh, a mesh, and the same numbers with either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxdd import parallel

X = jnp.arange(48.0).reshape(16, 3)


def spread(x):
    """How many devices hold how large a piece of `x`."""
    return len(x.sharding.device_set), x.addressable_shards[0].data.shape


def test_without_a_mesh_nothing_happens():
    tree = {'x': X, 'key': jax.random.key(0)}
    assert parallel.shard(X) is X and parallel.shard(X, 1) is X
    assert parallel.replicate(tree) is tree
    assert spread(jax.jit(parallel.shard)(X)) == (1, (16, 3))
    with parallel.use(None):
        assert parallel.shard(X) is X


@pytest.mark.parametrize('compiled', [False, True])
def test_split_divides_one_axis(compiled):
    first, second = lambda x: parallel.shard(x), lambda x: parallel.shard(x, 1)
    if compiled:
        first, second = jax.jit(first), jax.jit(second)
    with parallel.use(parallel.mesh(8)):
        rows, columns = first(X), second(X.T)
    assert spread(rows) == (8, (2, 3)) and spread(columns) == (8, (3, 2))
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(columns, X.T)


def test_an_axis_that_does_not_divide_stays_whole():
    with parallel.use(parallel.mesh(8)):
        assert parallel.shard(X, 1) is X
        assert parallel.shard(X[:12]).shape == (12, 3)
        assert spread(jax.jit(lambda x: parallel.shard(x, 1))(X))[1] == (16, 3)


@pytest.mark.parametrize('compiled', [False, True])
def test_replicate_keeps_everything_everywhere(compiled):
    def both(tree):
        return parallel.replicate(tree)

    tree = {'x': X, 'key': jax.random.key(0), 'count': jnp.int32(2)}
    with parallel.use(parallel.mesh(4)):
        out = (jax.jit(both) if compiled else both)(tree)
        for leaf in jax.tree.leaves(out):
            assert leaf.sharding.is_fully_replicated and len(leaf.sharding.device_set) == 4
    np.testing.assert_array_equal(out['x'], X)
    np.testing.assert_array_equal(jax.random.key_data(out['key']), jax.random.key_data(tree['key']))


def test_replicate_gathers_what_is_split():
    with parallel.use(parallel.mesh(8)):
        assert spread(parallel.replicate(parallel.shard(X))) == (8, (16, 3))


def test_a_reduction_over_a_split_axis_is_global():
    def moments(x):
        x = parallel.shard(x)
        return x.mean(0), x.var(0)

    with parallel.use(parallel.mesh(8)):
        mean, var = jax.jit(moments)(X)
    np.testing.assert_allclose(mean, np.mean(X, 0), rtol=1e-6)
    np.testing.assert_allclose(var, np.var(X, 0), rtol=1e-6)


def test_the_mesh_has_the_devices_asked_for():
    assert parallel.mesh().shape == {'data': 8}
    assert parallel.mesh(3).shape == {'data': 3}
    assert list(parallel.mesh(3).devices) == jax.devices()[:3]


@pytest.mark.parametrize('count', [0, -1, 9])
def test_a_mesh_of_other_sizes_is_refused(count):
    with pytest.raises(ValueError, match=f'between 1 and 8, the devices here, got {count}'):
        parallel.mesh(count)


def test_the_mesh_is_ambient_inside_the_block_only():
    with parallel.use(parallel.mesh(2)):
        assert spread(parallel.shard(X)) == (2, (8, 3))
    assert parallel.shard(X) is X


def test_inside_a_mapped_function_every_shard_is_left_alone():
    mesh = parallel.mesh(8)
    with parallel.use(mesh):
        doubled = jax.jit(
            jax.shard_map(
                lambda x: 2 * parallel.shard(x),
                in_specs=PartitionSpec('data'),
                out_specs=PartitionSpec('data'),
            )
        )(jax.device_put(X, NamedSharding(mesh, PartitionSpec('data'))))
    np.testing.assert_array_equal(doubled, 2 * X)


def test_hardware_is_that_of_the_ambient_mesh():
    assert parallel.hardware() == '1 x cpu'
    with parallel.use(parallel.mesh(4)):
        assert parallel.hardware() == '4 x cpu'
    assert parallel.on_cpu()


@pytest.mark.parametrize('size', [32, 100])
def test_an_axis_is_shared_though_it_does_not_divide(size):
    x, w = (
        jax.random.normal(jax.random.key(0), (size, 5)),
        jax.random.normal(jax.random.key(1), (5, 7)),
    )

    def moments(x, w):
        y = jnp.exp(parallel.shard_uneven(x) @ w)
        # what pads must enter neither, though its inverse be infinite
        return y.mean(0), (1 / y).sum(0)

    with parallel.use(parallel.mesh(8)):
        compiled = jax.jit(moments).lower(*map(parallel.replicate, (x, w))).compile()
        found = compiled(*map(parallel.replicate, (x, w)))
    assert (
        f'f32[{-(-size // 8)},7]' in compiled.as_text()
        and f'f32[{size},7]' not in compiled.as_text()
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, moments(x, w))


def test_few_rows_and_what_no_program_holds_are_not_shared():
    with parallel.use(parallel.mesh(8)):
        assert parallel.shard_uneven(jnp.ones((100, 3))).sharding.is_fully_replicated
        assert spread(parallel.shard_uneven(X)) == (8, (2, 3))
        program = (
            jax.jit(lambda x: jnp.sin(parallel.shard_uneven(x)))
            .lower(parallel.replicate(X[:15]))
            .compile()
            .as_text()
        )
    assert 'f32[15,3]' in program and 'f32[2,3]' not in program
    assert parallel.shard_uneven(X) is X


@pytest.mark.parametrize('size, own', [(40, 5), (100, 13), (10, 10)])
def test_by_shares_gives_the_values_and_gradients_of_the_whole(size, own):
    x, w = (
        jax.random.normal(jax.random.key(0), (size, 4)),
        jax.random.normal(jax.random.key(1), (4, 7)),
    )

    def loss(x, w, apply=parallel.shard_map_uneven):
        out = apply(lambda rows: jnp.tanh(rows @ w), x)
        return jnp.sum(out.reshape(-1, 10, 7).mean(0) ** 2)

    expected = jax.grad(loss, (0, 1))(x, w, lambda function, x: function(x))
    with parallel.use(parallel.mesh(8)):
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*map(parallel.replicate, (x, w))).compile()
        found = compiled(*map(parallel.replicate, (x, w)))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected
    )
    assert f'f32[{own},7]' in compiled.as_text()


@pytest.mark.parametrize('count, own', [(1, 1), (3, 1), (8, 1), (10, 2), (16, 2)])
def test_every_device_has_rows_of_its_own(count, own):
    seen, rows = [], {'x': X[:count], 'key': jax.random.split(jax.random.key(0), count)}

    def function(rows, scale):
        seen.append(len(rows['x']))
        return scale * rows['x'] + jax.vmap(jax.random.normal)(rows['key'])[:, None]

    with parallel.use(parallel.mesh(8)):
        found = jax.jit(lambda rows, scale: parallel.shard_map_rows(function, rows, scale))(
            rows, 2.0
        )
    assert set(seen) == {own}
    np.testing.assert_allclose(found, function(rows, 2.0), rtol=1e-6)


def test_what_is_lowered_for_an_accelerator_is_traced_as_there():
    traces = []

    @jax.jit
    def program(x):
        traces.append(parallel.on_cpu())
        return x

    program(1.0)
    with parallel.lowering_for('tpu'):
        assert not parallel.on_cpu()
        program.lower(1.0)
    program(1.0)
    assert traces == [True, False] and parallel.on_cpu()
