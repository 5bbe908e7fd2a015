"""The service of several processes, apart from the first of them."""

import socket
import time

import pytest

from jaxdd.hosts import service


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return f'127.0.0.1:{free.getsockname()[1]}'


@pytest.fixture
def one(address):
    apart = service.Apart(address, 2, heartbeat_timeout=10, grace=60.0)
    yield apart
    apart._child.kill()


def test_it_listens_until_it_is_told_to_end(address, one):
    host, port = address.split(':')
    socket.create_connection((host, int(port)), timeout=10).close()
    one.shutdown()
    assert one._child.returncode == 0 and not service._taken(address)


def test_no_second_one_shares_its_port(address, one):
    with pytest.raises(ValueError, match='another program listens on port'):
        service.Apart(address, 2, heartbeat_timeout=10, grace=0.5)


def test_without_whoever_started_it_it_stays_for_those_who_are_connected(address, one):
    host, port = address.split(':')
    with socket.create_connection((host, int(port)), timeout=10):
        one._child.stdin.close()
        time.sleep(2)
        assert one._child.poll() is None
    assert one._child.wait(20) == 0


def test_another_jax_is_no_fault_of_the_user(address):
    with pytest.raises(service.Unavailable):
        service.Apart(address, 2, no_such_option=1, grace=1.0)
