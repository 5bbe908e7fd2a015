"""What is counted in a program: FLOPs, traffic, collectives."""

import math

import jax
import jax.numpy as jnp
import pytest

from experiments.speed import collectives
from jaxdd import parallel


def compiled(function, *shapes):
    with parallel.use(parallel.mesh(8)):
        return (
            jax.jit(function)
            .lower(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes))
            .compile()
            .as_text()
        )


def total(x):
    return parallel.shard(x, 0).sum(0)


def test_an_all_reduce_has_the_bytes_of_its_array():
    flops, found = collectives.counted(compiled(lambda x: parallel.replicate(total(x)), (16, 3, 5)))
    assert (flops, found) == (0, [collectives.Collective('all-reduce', 3 * 5 * 4, 1)])


def test_a_loop_passes_its_collectives_as_often_as_it_turns():
    def looped(x):
        return jax.lax.scan(
            lambda carry, _: (parallel.replicate(carry + total(x * carry[None])), None),
            jnp.ones(7),
            length=11,
        )[0]

    _, found = collectives.counted(compiled(looped, (16, 7)))
    assert found == [collectives.Collective('all-reduce', 7 * 4, 11)]


def test_an_all_gather_has_the_bytes_of_the_whole():
    _, found = collectives.counted(
        compiled(lambda x: parallel.replicate(jnp.sin(parallel.shard(x, 0))), (16, 3))
    )
    assert found == [collectives.Collective('all-gather', 16 * 3 * 4, 1)]


def test_a_loop_of_unknown_length_turns_as_often_as_is_said():
    def looped(x, count):
        return jax.lax.fori_loop(
            0,
            count.astype(int),
            lambda _, c: parallel.replicate(c + total(x * c[None])),
            jnp.ones(7),
        )

    text = compiled(looped, (16, 7), ())
    assert [[c.times for c in collectives.counted(text, unknown=n)[1]] for n in (1, 50)] == [
        [1],
        [50],
    ]


def product(x, y):
    return parallel.shard(x, 0) @ y


def test_one_device_computes_its_share_of_a_product():
    assert collectives.counted(compiled(product, (16, 5), (5, 3)))[0] == 2 * 16 * 5 * 3 / 8
    assert collectives.counted(compiled(product, (15, 5), (5, 3)))[0] == 2 * 15 * 5 * 3


@pytest.mark.parametrize(
    'stride, spread, taps',
    [(1, 1, (3 * 8 - 2) ** 2), (2, 1, (3 * 4 - 1) ** 2), (1, 2, (3 * 15 // 2) ** 2)],
)
def test_a_convolution_counts_what_is_not_padding(stride, spread, taps):
    def function(x, w):
        return jax.lax.conv_general_dilated(
            x,
            w,
            (stride, stride),
            [(1, 1), (1, 1)],
            lhs_dilation=(spread, spread),
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )

    shapes = (2, 8, 8, 3), (3, 3, 3, 4)
    expected = 2 * 2 * taps * 3 * 4
    jaxpr = jax.make_jaxpr(function)(*map(jnp.ones, shapes)).jaxpr
    assert collectives.work(jaxpr) == (
        expected,
        4
        * (
            math.prod(shapes[0])
            + math.prod(shapes[1])
            + sum(
                leaf.size
                for leaf in jax.tree.leaves(jax.eval_shape(function, *map(jnp.ones, shapes)))
            )
        ),
    )
    assert collectives.counted(compiled(function, *shapes))[0] == expected


def test_the_jaxpr_counts_loops_by_length_and_the_dearer_branch():
    once = jax.custom_vjp(lambda x: x @ x)
    once.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x + x @ g,))

    def function(x, flag):
        x = jax.lax.scan(lambda c, _: (jax.jit(once)(c), None), x, length=5)[0]
        return jax.lax.cond(flag, lambda x: x @ x @ x, lambda x: x, x)

    jaxpr = jax.make_jaxpr(function)(jnp.ones((4, 4)), True).jaxpr
    assert collectives.work(jaxpr) == (7 * 2 * 4**3, 7 * 3 * 4**2 * 4)
    gradient = jax.make_jaxpr(jax.grad(lambda x: jax.checkpoint(once)(x).sum()))(
        jnp.ones((4, 4))
    ).jaxpr
    assert collectives.work(gradient).flops >= 3 * 2 * 4**3
