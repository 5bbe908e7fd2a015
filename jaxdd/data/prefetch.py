"""Work on the host that is done before it is asked for."""

import collections
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from jaxdd import parallel
from jaxdd.types import PRNGKey


def ahead(gather: Callable[[int], Any], first: int, count: int) -> Iterator[Any]:
    """Endless gather(first), gather(first + 1), ...

    One thread works out up to `count` of them ahead.

    Args:
        gather: of one step.
        first: the first step.
        count: how many wait finished, at least 1.
    """
    pool = ThreadPoolExecutor(1)
    try:
        waiting = collections.deque(pool.submit(gather, first + i) for i in range(count))
        for following in itertools.count(first + count):
            done = waiting.popleft().result()
            waiting.append(pool.submit(gather, following))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)


def on_host(key: PRNGKey) -> PRNGKey:
    """A copy of a key on the host.

    Drawing from it waits for no accelerator and for no other process.
    """
    with parallel.host():
        return jax.random.wrap_key_data(
            np.asarray(jax.random.key_data(key)), impl=jax.random.key_impl(key)
        )
