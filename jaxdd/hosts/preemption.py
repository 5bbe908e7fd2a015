"""One step at which all processes stop, whichever of them was asked to."""

from jax.experimental import multihost_utils


class Preemption:
    """Becomes true in every process at the same question, after SIGTERM has reached one of them.

    JAX's service notes the signal and chooses a question that no process has asked yet. Each must
    ask equally often and in the same order.
    """

    def __init__(self):
        self._asked = 0

    def __call__(self) -> bool:
        self._asked += 1
        return multihost_utils.reached_preemption_sync_point(self._asked)
