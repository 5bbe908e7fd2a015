"""The benchmark's command: what it measures, its options, its outputs."""

import json
import sys

import jax
import numpy as np
import pytest
import torch

from experiments.speed import benchmark
from experiments.speed.workloads import Sizes
from jaxdd import parallel

TINY = Sizes(per_class=8, ipc=3, num_classes=3, side=16, width=8, resnet_width=4, pool=12)
USED = '/jax/compilation_cache/compile_requests_use_cache'


@pytest.fixture
def quick(monkeypatch, quick_compilation):
    """Short timings on one device, compiled in a hurry, and torch's threads as they were."""
    mesh = parallel.mesh
    monkeypatch.setattr(parallel, 'mesh', lambda: mesh(1))
    monkeypatch.setattr(benchmark, 'SHORTEST', 0.0)
    monkeypatch.setattr(benchmark, 'MATRIX', 64)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_measurement_is_json_with_ratios_by_round(quick):
    result = benchmark.measure({'evaluation': TINY}, repeats=2, steps_per_call=[2], plain=True)
    assert result['plain'] and result['peak bytes of the process'] > 2**27
    found = json.loads(json.dumps(result))['workloads']['evaluation']
    losses = found['loss of the first step']
    assert set(losses) == {'theirs', 'ours, 2'}
    np.testing.assert_allclose(list(losses.values()), losses['theirs'], rtol=1e-5)
    assert set(found['ours']) == {'2'} and found['FLOPs'] > 0
    for ours in found['ours'].values():
        ratios = [a / b for a, b in zip(found['theirs']['all'], ours['all'], strict=True)]
        assert ours['ratio'] == {'min': min(ratios), 'median': np.mean(ratios), 'max': max(ratios)}
        assert (
            ours['temporary bytes'] > 0 and ours['compile seconds'] > ours['of these tracing'] > 0
        )
        assert ours['peak bytes'] >= ours['argument bytes'] > 0


@pytest.mark.long
def test_steps_that_draw_are_measured_too(quick):
    result = benchmark.measure({'evaluation-5': TINY}, repeats=1, steps_per_call=[1])
    found = result['workloads']['evaluation-5']
    assert not result['plain'] and np.isfinite(list(found['loss of the first step'].values())).all()
    assert found['ours']['1']['seconds per step'] > 0 and found['theirs']['seconds per step'] > 0


def test_compiling_reads_no_cache_and_the_cache_comes_back():
    events = []

    def listen(event, **details):
        events.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        with benchmark._without_cache():
            jax.jit(lambda x: 2 * x).lower(1.0).compile()
        assert USED not in events
        jax.jit(lambda x: 3 * x).lower(1.0).compile()
        assert USED in events
    finally:
        jax.monitoring.unregister_event_listener(listen)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--workloads', 'dma'], "unknown workload 'dma'"),
        (['--repeats', '0'], '--repeats must be 1 or more, got 0'),
        (['--steps-per-call', '1', '0'], '--steps-per-call must be 1 or more, got 0'),
    ],
)
def test_senseless_options_are_one_line(arguments, message, capsys):
    assert benchmark.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_without_torch_it_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, 'experiments.speed.eager.meter')
    monkeypatch.setitem(sys.modules, 'torch', None)
    assert benchmark.main(['--workloads', 'dm']) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and "pip install -e '.[torch]'" in error
