"""The service that processes find each other by, in a process of its own.

JAX starts it inside process 0. Whoever loses the connection to it is aborted by JAX in the same
moment, with a stack of C++ and no chance to say a word. Apart from process 0 it outlives that one
by as long as the others need to notice.
"""

import signal
import subprocess
import sys
import time

_READY, _END = 'ready', 'end'


class Apart:
    """The service of one computation, as JAX's own would be held by process 0.

    Args:
        address: 'HOST:PORT' to listen on.
        num_processes: how many will connect.
        heartbeat: seconds of silence after which JAX counts a process as dead.
        grace: seconds that the service outlives the process that started it.

    Raises:
        ValueError: nothing can listen there.
    """

    def __init__(self, address: str, num_processes: int, *, heartbeat: int, grace: float):
        words = (address, str(num_processes), str(heartbeat), str(grace))
        self._child = subprocess.Popen(
            (sys.executable, '-P', __file__, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # what ends a terminal's or a job's processes is not for it
        )
        assert self._child.stdout is not None
        if self._child.stdout.readline().strip() != _READY:
            raise ValueError(
                f'nothing can listen on {address} here: the port is taken, or the coordinator is '
                'another machine; process 0 must run where hosts.coordinator points'
            )

    def shutdown(self) -> None:
        """Ends the service at once: every process has left."""
        try:
            self._child.communicate(_END, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self._child.kill()


def serve(address: str, num_processes: int, heartbeat: int, grace: float) -> None:
    """Serves until told to end, and for a while where whoever started it has died."""
    from jaxlib import _jax

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    service = _jax.get_distributed_runtime_service(
        address, num_processes, heartbeat_timeout=heartbeat
    )
    print(_READY, flush=True)
    if sys.stdin.read().strip() != _END:
        time.sleep(grace)
    service.shutdown()


if __name__ == '__main__':
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
