"""Scaling on paper: what is counted in a program, and what the model makes of it."""
import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from experiments import scaling
from jaxdd import parallel

COLLECTIVES = (scaling.Collective('all-reduce', 800, 2), scaling.Collective('all-gather', 80, 1))


def compiled(function, *shapes):
    with parallel.use(parallel.mesh(8)):
        return jax.jit(function).lower(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).compile().as_text()


def total(x):
    return parallel.split(x, 0).sum(0)


def test_an_all_reduce_has_the_bytes_of_its_array():
    flops, found = scaling.counted(compiled(lambda x: parallel.replicate(total(x)), (16, 3, 5)))
    assert (flops, found) == (0, [scaling.Collective('all-reduce', 3 * 5 * 4, 1)])


def test_a_loop_passes_its_collectives_as_often_as_it_turns():
    def looped(x):
        return jax.lax.scan(lambda carry, _: (parallel.replicate(carry + total(x * carry[None])), None), jnp.ones(7),
                            length=11)[0]
    _, found = scaling.counted(compiled(looped, (16, 7)))
    assert found == [scaling.Collective('all-reduce', 7 * 4, 11)]


def test_an_all_gather_has_the_bytes_of_the_whole():
    _, found = scaling.counted(compiled(lambda x: parallel.replicate(jnp.sin(parallel.split(x, 0))), (16, 3)))
    assert found == [scaling.Collective('all-gather', 16 * 3 * 4, 1)]


def product(x, y):
    return parallel.split(x, 0) @ y


def test_one_device_computes_its_share_of_a_product():
    assert scaling.counted(compiled(product, (16, 5), (5, 3)))[0] == 2 * 16 * 5 * 3 / 8
    assert scaling.counted(compiled(product, (15, 5), (5, 3)))[0] == 2 * 15 * 5 * 3


@pytest.mark.parametrize('stride, spread, taps', [(1, 1, (3 * 8 - 2) ** 2), (2, 1, (3 * 4 - 1) ** 2),
                                                  (1, 2, (3 * 15 // 2) ** 2)])
def test_a_convolution_counts_what_is_not_padding(stride, spread, taps):
    def function(x, w):
        return jax.lax.conv_general_dilated(x, w, (stride, stride), [(1, 1), (1, 1)], lhs_dilation=(spread, spread),
                                            dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    shapes = (2, 8, 8, 3), (3, 3, 3, 4)
    expected = 2 * 2 * taps * 3 * 4
    jaxpr = jax.make_jaxpr(function)(*map(jnp.ones, shapes)).jaxpr
    assert scaling.work(jaxpr) == (expected, 4 * (math.prod(shapes[0]) + math.prod(shapes[1]) + sum(
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(function, *map(jnp.ones, shapes))))))
    assert scaling.counted(compiled(function, *shapes))[0] == expected


def test_the_jaxpr_counts_loops_by_length_and_the_dearer_branch():
    once = jax.custom_vjp(lambda x: x @ x)
    once.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x + x @ g,))

    def function(x, flag):
        x = jax.lax.scan(lambda c, _: (jax.jit(once)(c), None), x, length=5)[0]
        return jax.lax.cond(flag, lambda x: x @ x @ x, lambda x: x, x)
    jaxpr = jax.make_jaxpr(function)(jnp.ones((4, 4)), True).jaxpr
    assert scaling.work(jaxpr) == (7 * 2 * 4 ** 3, 7 * 3 * 4 ** 2 * 4)
    gradient = jax.make_jaxpr(jax.grad(lambda x: jax.checkpoint(once)(x).sum()))(jnp.ones((4, 4))).jaxpr
    assert scaling.work(gradient).flops >= 3 * 2 * 4 ** 3


def machine(**changes):
    made = scaling.Machine('paper', 8, peak=1000 / scaling.EFFICIENCY, memory=1.0, bandwidth=math.inf, start=0.0,
                           hop=0.0)
    return made._replace(**changes)


def found(flops, *collectives, share=0.0):
    return scaling.Found(8, scaling.Work(flops, 0.0), share, collectives)


def test_bytes_sent_and_seconds_by_hand():
    one = found(0.0, *COLLECTIVES)
    assert scaling.sent(one) == 2 * (2 * 7 / 8 * 800) + 7 / 8 * 80
    paper = machine(bandwidth=100.0, start=10.0, hop=1.0)
    assert scaling.communication(paper, one, 8) == 3 * 10 + (2 * 14 + 7) + 2870 / 100


def test_break_even_by_hand():
    # latency alone: 12,000 / (1000 N) = 2 (N - 1) at N = 3; bandwidth alone: 8,000 / (1000 N) = 2 (N - 1) / N at 5
    once = scaling.Collective('all-reduce', 100, 1)
    assert scaling.break_even(machine(hop=1.0), found(12e3, once)) == pytest.approx(3)
    assert scaling.break_even(machine(bandwidth=100.0), found(8e3, once)) == pytest.approx(5)
    assert scaling.break_even(machine(), found(8e3)) == math.inf


def test_speed_up_counts_what_every_device_repeats():
    assert scaling.speed_up(machine(), found(8000., share=1000.)) == 8
    assert scaling.speed_up(machine(), found(8000., share=8000.)) == 1
    once = scaling.Collective('all-reduce', 100, 1)
    assert scaling.speed_up(machine(hop=0.5), found(8000., once, share=1000.)) == 1


def test_memory_over_compute_by_hand():
    one = found(8000.)._replace(whole=scaling.Work(8000., 40.))
    assert scaling.memory(machine(memory=10.0), one) == 0.5


def test_the_table_has_a_row_per_step():
    results = {name: {n: found(8000., *COLLECTIVES, share=1000.)._replace(count=n) for n in (8, 16)}
               for name in scaling.FIRST}
    rows = scaling.table(results)
    assert [row.split(' | ')[0].removeprefix('| ') for row in rows[4:]] == list(scaling.FIRST)
    assert len({row.count('|') for row in rows[2:]}) == 1
    assert 'TPU v4-32, 8 x H100' in rows[0] and ' 93 / 100 | 3 / 3 | 0.00 / 0.00 | ' in rows[4]


def test_a_step_of_dm_reduces_the_mean_features_alone(monkeypatch):
    monkeypatch.setattr(scaling, 'SIZE', 320)
    config = scaling.preset('dm')
    small = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, width=4),
                                data=dataclasses.replace(config.data, per_class=8),
                                augmentation=dataclasses.replace(config.augmentation, strategy='none'))
    one = scaling.measure('dm', small, 8)
    assert one.collectives == (scaling.Collective('all-reduce', 10 * 16 * 4 * 4, 1),)
    assert one.whole.flops / 8 < one.share < one.whole.flops    # the 100 synthetic images do not divide by 8
    assert parallel.on_cpu()


def test_an_unknown_step_is_refused(capsys):
    with pytest.raises(SystemExit, match='2'):
        scaling.main(['--steps', 'nothing'])
    assert 'dsa' in capsys.readouterr().err
