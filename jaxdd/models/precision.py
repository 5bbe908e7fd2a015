"""In what precision the bodies of networks compute: convolutions, and dense layers before the last.

A network's own `dtype` says it; where it has none, the block around says it, and else images and
parameters do. Parameters, moments of norms, outputs, losses and optimisers stay float32.
"""

import contextlib

import jax

from jaxdd import checks

# name -> dtype of a body that has none of its own
PRECISIONS = {'f32': None, 'bf16': 'bfloat16'}

# a part of what JAX remembers programs by, so that none is ever of another precision
_body = jax.make_user_context(None)


def precision(name: str) -> contextlib.AbstractContextManager:
    """Gives every network that is applied inside the block, and has no `dtype`, this precision.

        with models.precision('bf16'):
            state = distill.run(step, state, feed, num_steps=1000)

    What was compiled outside the block is traced anew inside it, and the other way round. The block
    counts for its own thread. Networks that are not this library's compute as they say themselves.

    Args:
        name: 'f32', or 'bf16': half the memory of maps, and the matrix units' fast mode; sums are
            float32.

    Raises:
        ValueError: another name.
    """
    checks.one_of('precision', name, PRECISIONS)
    return _body(PRECISIONS[name])


def of_body(dtype: str | None) -> str | None:
    """The dtype of a network's body: its own, else that of the block around.

    Returns:
        A dtype's name; None: that of images and parameters.
    """
    return dtype or _body.value
