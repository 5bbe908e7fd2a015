"""Scaling on paper: what the model makes of the counts."""

import dataclasses
import math

import pytest

from experiments.speed import scaling
from experiments.speed.collectives import Collective, Found, Work
from jaxdd import parallel

COLLECTIVES = (Collective('all-reduce', 800, 2), Collective('all-gather', 80, 1))


def machine(**changes):
    made = scaling.Machine(
        'paper',
        8,
        peak=1000 / scaling.EFFICIENCY,
        memory=1.0,
        bandwidth=math.inf,
        start=0.0,
        hop=0.0,
    )
    return made._replace(**changes)


def found(flops, *collectives, share=0.0):
    return Found(8, Work(flops, 0.0), share, collectives)


def test_bytes_sent_and_seconds_by_hand():
    one = found(0.0, *COLLECTIVES)
    assert scaling.sent(one) == 2 * (2 * 7 / 8 * 800) + 7 / 8 * 80
    paper = machine(bandwidth=100.0, start=10.0, hop=1.0)
    assert scaling.communication(paper, one, 8) == 3 * 10 + (2 * 14 + 7) + 2870 / 100


def test_break_even_by_hand():
    # latency alone: 12,000 / (1000 N) = 2 (N - 1) at N = 3;
    # bandwidth alone: 8,000 / (1000 N) = 2 (N - 1) / N at 5
    once = Collective('all-reduce', 100, 1)
    assert scaling.break_even(machine(hop=1.0), found(12e3, once)) == pytest.approx(3)
    assert scaling.break_even(machine(bandwidth=100.0), found(8e3, once)) == pytest.approx(5)
    assert scaling.break_even(machine(), found(8e3)) == math.inf


def test_speed_up_counts_what_every_device_repeats():
    assert scaling.speed_up(machine(), found(8000.0, share=1000.0)) == 8
    assert scaling.speed_up(machine(), found(8000.0, share=8000.0)) == 1
    once = Collective('all-reduce', 100, 1)
    assert scaling.speed_up(machine(hop=0.5), found(8000.0, once, share=1000.0)) == 1


def test_memory_over_compute_by_hand():
    one = found(8000.0)._replace(whole=Work(8000.0, 40.0))
    assert scaling.memory(machine(memory=10.0), one) == 0.5


def test_the_table_has_a_row_per_step():
    results = {
        name: {n: found(8000.0, *COLLECTIVES, share=1000.0)._replace(count=n) for n in (8, 16)}
        for name in scaling.DIVIDED
    }
    rows = scaling.table(results)
    assert [row.split(' | ')[0].removeprefix('| ') for row in rows[4:]] == list(scaling.DIVIDED)
    assert len({row.count('|') for row in rows[2:]}) == 1
    assert 'TPU v4-32, 8 x H100' in rows[0] and ' 93 / 100 | 3 / 3 | 0.00 / 0.00 | ' in rows[4]


def test_a_step_of_dm_sends_features_and_the_gradient(monkeypatch):
    monkeypatch.setattr(scaling, 'SIZE', 320)
    config = scaling.preset('dm')
    small = dataclasses.replace(
        config,
        encoder=dataclasses.replace(config.encoder, width=4),
        data=dataclasses.replace(config.data, per_class=8),
        augmentation=dataclasses.replace(config.augmentation, strategy='none'),
    )
    one = scaling.measure('dm', small, 8)
    features, images = 13 * 8 * 16 * 4 * 4, 13 * 8 * 3072 * 4  # synthetic: 13 of 100 on each device
    assert sorted((c.kind, c.size) for c in one.collectives if c.times == 1) == [
        ('all-gather', features),
        ('all-gather', images),
        ('all-reduce', 10 * 16 * 4 * 4),
    ]
    assert one.whole.flops / 8 < one.share < 1.04 * one.whole.flops / 8
    assert parallel.on_cpu()


def test_an_unknown_step_is_refused(capsys):
    with pytest.raises(SystemExit, match='2'):
        scaling.main(['--steps', 'nothing'])
    assert 'dsa' in capsys.readouterr().err
