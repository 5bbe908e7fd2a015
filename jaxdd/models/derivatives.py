"""Whose derivatives a network has: its own, which are fast, or XLA's, which know forward mode too.

Convolutions on a CPU (`models.cpu`), average pools, and instance, group and layer norms carry
derivatives of their own, pools and norms on every device. They exist in reverse mode alone, of any
order: `jax.jvp` of a ConvNet raises a TypeError, and so does what is built on it (`jax.jacfwd`,
`jax.hessian`).
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax

T = TypeVar('T')
# a part of what JAX remembers programs by, so that none is ever of the other kind
_own = jax.make_user_context(True)


@contextlib.contextmanager
def xla_derivatives() -> Iterator[None]:
    """Gives every network that is applied inside the block XLA's derivatives:
    `jax.jvp` works there.

        with models.xla_derivatives():
            logits, change = jax.jvp(lambda x: net.apply(variables, x).logits, (images,),
            (direction,))

    Convolutions are then XLA's own on a CPU, too: their values and gradients differ by float32
    rounding, and take longer. What was compiled outside the block is traced anew inside it, and the
    other way round. The block counts for its own thread.
    """
    with _own(False):
        yield


def own() -> bool:
    """Whether networks have derivatives of their own here: outside every `xla_derivatives`."""
    return _own.value


def chosen(function: Callable[..., T]) -> Callable[..., T]:
    """A `jax.custom_vjp` function; inside `xla_derivatives`, the function that it was made of."""
    return function if own() else inspect.unwrap(function)
