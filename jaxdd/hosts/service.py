"""The service that processes find each other by, in a process of its own.

JAX starts it inside process 0. Whoever loses the connection to it is aborted by JAX in the same
moment, with a stack of C++ and no chance to say a word; neither `jax_enable_recoverability` nor a
callback changes that. Apart from process 0 it outlives that one until the others have noticed.
"""

import errno
import importlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import Any

_READY, _END = 'ready', 'end'
_ESTABLISHED = '01'


class Unavailable(RuntimeError):
    """The service cannot run in a process of its own."""


class Apart:
    """The service of one computation, as JAX's own would be held by process 0.

    Args:
        args, options: those of JAX's function that makes the service; the first is 'HOST:PORT'.
        grace: most seconds that the service outlives the process that started it, and that this
            one waits for the port.

    Raises:
        ValueError: another program listens there.
        Unavailable: another JAX, which does not know this function.
    """

    def __init__(self, *args: Any, grace: float, **options: Any):
        _await_port(str(args[0]), grace)
        self._child = subprocess.Popen(
            (sys.executable, '-P', __file__, json.dumps([args, options, grace])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # what ends a terminal's or a job's processes is not for it
        )
        assert self._child.stdout is not None
        if self._child.stdout.readline().strip() != _READY:
            raise Unavailable

    def shutdown(self) -> None:
        """Ends the service at once: every process has left."""
        try:
            self._child.communicate(_END, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self._child.kill()


def serve(args: list, options: dict, grace: float) -> None:
    """Serves until told to end, and where whoever started it has died, while others are left."""
    module = importlib.import_module('jaxlib._jax')
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    service = module.get_distributed_runtime_service(*args, **options)
    print(_READY, flush=True)
    if sys.stdin.read().strip() != _END:
        end, port = time.monotonic() + grace, int(args[0].rpartition(':')[2])
        while time.monotonic() < end and _connected(port):
            time.sleep(0.5)
    service.shutdown()


def _connected(port: int) -> bool:
    """Whether anybody is connected to a port of this machine; True where no system says."""
    tables = [
        path for path in map(pathlib.Path, ('/proc/net/tcp', '/proc/net/tcp6')) if path.exists()
    ]
    rows = [line.split() for path in tables for line in path.read_text().splitlines()[1:]]
    here = f':{port:04X}'
    return not tables or any(row[1].endswith(here) and row[3] == _ESTABLISHED for row in rows)


def _await_port(address: str, wait: float) -> None:
    """Waits for what is left of an earlier run: two services would share a port without a word."""
    end = time.monotonic() + wait
    while _taken(address):
        if time.monotonic() > end:
            raise ValueError(
                f'another program listens on port {address.rpartition(":")[2]} of this machine; '
                'give another port with hosts.coordinator, in all processes'
            )
        time.sleep(0.5)


def _taken(address: str) -> bool:
    host, _, port = address.rpartition(':')
    try:
        with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host.strip('[]'), int(port)))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


if __name__ == '__main__':
    serve(*json.loads(sys.argv[1]))
