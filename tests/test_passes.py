"""Passes in parts give what the whole gives, value and gradient, and hold no more than a part."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import parallel, passes


def test_each_is_a_map_over_the_leading_axis():
    x = jnp.arange(12.0).reshape(4, 3)
    found = jax.jit(lambda x: passes.each(lambda row, scale: row * scale, x, jnp.arange(4.0)))(x)
    np.testing.assert_array_equal(found, x * jnp.arange(4.0)[:, None])


# the largest divisor from 4 to 8, if there is one
@pytest.mark.parametrize('size, chunk', [(64, 8), (30, 6), (62, 62)])
@pytest.mark.parametrize('devices', [None, 2])
def test_images_go_through_in_chunks_and_come_back_in_order(devices, size, chunk):
    seen, x = [], jnp.arange(size * 3.0).reshape(size, 3)

    def function(rows):
        seen.append(len(rows))
        return {'double': 2 * rows, 'sum': rows.sum(1)}

    with parallel.use(devices and parallel.mesh(devices)):
        found = jax.jit(lambda x: passes.chunked(function, x))(x)
    np.testing.assert_array_equal(found['double'], 2 * x)
    np.testing.assert_array_equal(found['sum'], x.sum(1))
    assert devices or set(seen) == {chunk}


@pytest.mark.parametrize('devices', [None, 2])
@pytest.mark.parametrize('size', [64, 48, 30])
def test_sums_in_chunks_are_sums(devices, size):
    images = jax.random.normal(jax.random.key(0), (size, 32, 32, 3))
    weights = jnp.arange(size, dtype=jnp.float32)

    def moments(images, weights):
        return {'first': jnp.einsum('nhwc,n->c', images, weights), 'count': jnp.sum(weights)}

    with parallel.use(devices and parallel.mesh(devices)):
        found = jax.jit(lambda *batch: passes.chunked_sum(moments, *batch))(
            parallel.shard(images), weights
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-2),
        found,
        moments(images, weights),
    )


def test_large_batches_are_summed_chunk_by_chunk_on_a_cpu():
    def widest(size, side):
        seen = []
        passes.chunked_sum(
            lambda images: seen.append(len(images)) or images.sum(), jnp.ones((size, side, side, 3))
        )
        return max(seen)

    assert widest(64, 32) == 4 and widest(50, 32) == 5
    assert widest(64, 8) == 64 and widest(61, 32) == 61  # fits the cache; has no divisor


@pytest.mark.parametrize('devices', [None, 8])
@pytest.mark.parametrize('size, part', [(10, 3), (2, 125), (7, 7), (5, 1), (26, 2)])
def test_parts_of_any_size_give_the_values_and_gradients_of_the_whole(devices, size, part, x64):
    """In float64: the value is a small difference of large sums, whose order is XLA's."""
    x, w = (
        jax.random.normal(jax.random.key(0), (size, 4)),
        jax.random.normal(jax.random.key(1), (4, 6)),
    )

    def function(rows, w):
        y = jnp.tanh(rows @ w) @ w.T
        return y, {'sum': y.sum(0), 'count': len(rows)}

    def loss(x, w):
        rows, groups = passes.microbatched(lambda rows: function(rows, w), x, per_device=part)
        total = sum(group['sum'].sum(0) for group in groups)
        return jnp.sum(rows[0] * rows[-1]) + jnp.sum(total**2), (
            rows,
            [group['count'] for group in groups],
        )

    def at_once(x, w):
        rows, others = function(x, w)
        return jnp.sum(rows[0] * rows[-1]) + jnp.sum(others['sum'] ** 2), rows

    (value, rows), expected = jax.value_and_grad(at_once, (0, 1), has_aux=True)(x, w)
    with parallel.use(devices and parallel.mesh(devices)):
        given = tuple(map(parallel.replicate, (x, w)))
        compiled = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True)).lower(*given).compile()
        (found, (ours, counts)), gradient = compiled(*given)
    np.testing.assert_allclose(found, value, rtol=1e-12)
    np.testing.assert_allclose(ours, rows, rtol=1e-12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), gradient, expected
    )
    full, rest = divmod(size, part * (devices or 1))
    assert [n for group in counts for n in group.tolist()] == [part * (devices or 1)] * full + [
        rest
    ] * (rest > 0)
    held = [int(n or 1) for n in re.findall(r'f64\[(?:(\d+),)?6\]\S* tanh\(', compiled.as_text())]
    assert held and max(held) <= part  # images, on every device


def test_a_part_of_nothing_is_refused():
    with pytest.raises(ValueError, match='a part must hold at least 1 image per device, got 0'):
        passes.microbatched(lambda rows: (rows, {}), jnp.ones((4, 3)), per_device=0)
