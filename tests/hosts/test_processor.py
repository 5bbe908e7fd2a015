"""How many devices a host's processor is."""

import os

import jax
import pytest

from jaxdd import parallel


def test_start_gives_a_host_a_power_of_two_of_devices(monkeypatch):
    asked = {}
    monkeypatch.delenv('PJRT_NPROC', raising=False)
    monkeypatch.setattr('os.environ', os.environ.copy())
    monkeypatch.setattr(jax.config, 'update', lambda name, value: asked.update({name: value}))
    for cores, expected in ((1, 1), (2, 2), (3, 2), (7, 4), (8, 8), (96, 8)):
        monkeypatch.setattr(
            'os.sched_getaffinity', lambda pid, cores=cores: set(range(cores)), raising=False
        )
        parallel.start()
        assert asked == {'jax_num_cpu_devices': expected}
        assert os.environ.pop('PJRT_NPROC') == str(expected)  # a thread per device, and per core
    parallel.start(cpu_devices=5)
    assert asked == {'jax_num_cpu_devices': 5}
    monkeypatch.setattr('os.sched_getaffinity', lambda pid: {0, 1})
    del os.environ['PJRT_NPROC']
    parallel.start(cpu_devices=8)
    assert os.environ['PJRT_NPROC'] == '256'


@pytest.mark.parametrize(
    'flags, variable, devices',
    [
        ('--xla_force_host_platform_device_count=3', '', 3),
        ('--x --xla_force_host_platform_device_count 5', '', 5),
        ('', '6', 6),
        ('--xla_force_host_platform_device_count=3', '6', 3),
        ('', '', None),
    ],
)
def test_the_number_of_cpu_devices_that_the_user_asks_for_is_kept(
    flags, variable, devices, monkeypatch
):
    chosen = {}
    monkeypatch.setattr(jax.config, 'update', chosen.__setitem__)
    monkeypatch.setenv('XLA_FLAGS', flags)
    monkeypatch.setenv('PJRT_NPROC', '1')
    monkeypatch.setenv('JAX_NUM_CPU_DEVICES', variable) if variable else monkeypatch.delenv(
        'JAX_NUM_CPU_DEVICES', False
    )
    parallel.start()
    cores = min(len(os.sched_getaffinity(0)), 8)
    assert chosen == {'jax_num_cpu_devices': devices or 2 ** (cores.bit_length() - 1)}
