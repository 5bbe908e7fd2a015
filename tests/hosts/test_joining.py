"""Where a process stands among several."""

import re

import jax
import pytest

from jaxdd import hosts
from jaxdd.hosts import joining


@pytest.mark.parametrize(
    'environment, place',
    [
        ({}, None),
        ({'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '4'}, None),  # beside srun, not under it
        ({'SLURM_STEP_NODELIST': 'n1', 'SLURM_STEP_NUM_TASKS': '1'}, None),
        (
            {'SLURM_STEP_NODELIST': 'n[1-4]', 'SLURM_STEP_NUM_TASKS': '4'},
            hosts.Place(num_processes=4),
        ),
        ({'OMPI_COMM_WORLD_SIZE': '1'}, None),
        ({'OMPI_COMM_WORLD_SIZE': '2'}, hosts.Place()),
        ({'TPU_WORKER_HOSTNAMES': 'localhost'}, None),
        ({'TPU_WORKER_HOSTNAMES': 'a,b'}, hosts.Place()),
        ({'TPU_WORKER_HOSTNAMES': 'a', 'MEGASCALE_NUM_SLICES': '2'}, hosts.Place()),
        (
            {
                'JAX_COORDINATOR_ADDRESS': '10.0.0.2:9876',
                'JAX_NUM_PROCESSES': '2',
                'JAX_PROCESS_ID': '1',
            },
            hosts.Place('10.0.0.2:9876', 2, 1),
        ),
    ],
)
def test_what_a_scheduler_says(environment, place):
    assert joining.told_by_scheduler(environment) == place


@pytest.mark.parametrize(
    'place, message',
    [
        (hosts.Place('10.0.0.2:9876', 2), 'belong together.* missing: process_id'),
        (hosts.Place(process_id=0), 'missing: coordinator, num_processes'),
        (hosts.Place('10.0.0.2', 2, 0), 'ADDRESS:PORT of process 0.* got 10.0.0.2'),
        (hosts.Place('10.0.0.2:9876', 2, 2), 'from 0 to num_processes - 1, got 2 of 2'),
    ],
)
def test_half_a_place_is_refused(place, message):
    with pytest.raises(ValueError, match=re.compile(message)):
        hosts.join(place)


def test_alone_nothing_is_joined(monkeypatch):
    monkeypatch.setattr(joining, 'told_by_scheduler', lambda environment: None)
    monkeypatch.setattr(jax.distributed, 'initialize', lambda *a, **b: pytest.fail('it joined'))
    hosts.join()
    hosts.join(hosts.Place('127.0.0.1:1', 1, 0))
    assert hosts.count() == 1


def test_alone_nobody_is_greeted_or_silenced(capsys):
    hosts.greet('8 devices')
    print('said')
    assert capsys.readouterr().out == 'said\n'


def test_a_jax_that_starts_its_service_otherwise_starts_it_itself(monkeypatch):
    module = type('module', (), {'get_distributed_runtime_service': staticmethod(lambda *a: a)})
    monkeypatch.setattr(joining.distributed, '_jax', module)

    class Apart:
        def __init__(self, *args, grace, **options):
            raise joining.service.Unavailable

    monkeypatch.setattr(joining.service, 'Apart', Apart)
    with joining._service_apart(30.0):
        assert module.get_distributed_runtime_service('[::]:1', 2) == ('[::]:1', 2)
    monkeypatch.setattr(joining.distributed, '_jax', None)
    with joining._service_apart(30.0):
        pass
