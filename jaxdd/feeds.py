"""Feeds: a run's inputs, sampled inside the compiled program or sent by the host,
asked for in one way."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import parallel
from jaxdd.bound import bind
from jaxdd.types import DeviceFeed, Feed, PRNGKey, Stream


def start(feed: Feed, key: PRNGKey, step: int) -> DeviceFeed | Iterator[Any]:
    """A device feed as it is, a `Stream` as the iterator of its inputs from `step` on."""
    return feed.start(key, step) if isinstance(feed, Stream) else feed


def iterate(feed: Feed, key: PRNGKey, step: int) -> Iterator[Any]:
    """The inputs from `step` on, one at a time: for looking, not for speed."""
    if isinstance(feed, Stream):
        return feed.start(key, step)
    sample = jax.jit(lambda feed, at: feed(key, at))
    return (sample(feed, jnp.int32(at)) for at in itertools.count(step))


def comes_from_host(feed: Feed) -> bool:
    """Whether the host sends the inputs, so that the set does not lie on the devices."""
    return isinstance(feed, Stream)


def transform(
    feed: Feed,
    function: Callable[..., Any],
    *arrays: Any,
    keys: Callable[[PRNGKey], tuple[PRNGKey, PRNGKey]] | None = None,
) -> Feed:
    """A feed whose inputs pass through a function, on the devices.

    Args:
        feed: of either kind; the result is of the same kind.
        function: pure `(*arrays, inputs, key, step) -> inputs`. Feeds of equal functions
            (`bound.bind`) and of arrays of the same shapes share one compiled program.
        arrays: pytrees that the function needs; they stay in device memory.
        keys: the run's key -> the key of the feed and the key of the function; by default both get
            the run's.
    """
    keys = keys or _same
    if not isinstance(feed, Stream):
        return jax.tree_util.Partial(bind(_transformed, function, keys), feed, arrays)
    apply = jax.jit(function)

    def begin(key: PRNGKey, step: int) -> Iterator[Any]:
        k_feed, k_function = keys(key)
        return (
            apply(*arrays, inputs, k_function, parallel.sent(np.int32(at)))
            for at, inputs in enumerate(feed.start(k_feed, step), step)
        )

    return Stream(begin)


def _same(key: PRNGKey) -> tuple[PRNGKey, PRNGKey]:
    return key, key


def _transformed(
    function, keys, feed: DeviceFeed, arrays: tuple, key: PRNGKey, step: jax.Array
) -> Any:
    k_feed, k_function = keys(key)
    return function(*arrays, feed(k_feed, step), k_function, step)
