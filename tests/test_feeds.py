"""Feeds: both kinds give the same inputs, are changed by the same functions, and compile once."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import feeds
from jaxdd.bound import bind
from jaxdd.types import Stream

KEY = jax.random.key(0)


def sampled(key, step):
    return jax.random.uniform(jax.random.fold_in(key, step), (2,))


DEVICE = jax.tree_util.Partial(sampled)
HOST = Stream(lambda key, step: (sampled(key, at) for at in itertools.count(step)))
both = pytest.mark.parametrize('feed', [DEVICE, HOST], ids=['device', 'host'])


def shifted(offset, scale, inputs, key, step):
    return offset + scale * inputs + jax.random.uniform(key) + step


def halves(key):
    first, second = jax.random.split(key)
    return first, second


def first(feed, count=3, step=0):
    return [
        np.asarray(inputs) for inputs in itertools.islice(feeds.iterate(feed, KEY, step), count)
    ]


@both
def test_inputs_follow_from_key_and_step(feed):
    np.testing.assert_array_equal(first(feed, 3, 2), [sampled(KEY, at) for at in (2, 3, 4)])
    assert feeds.comes_from_host(feed) == (feed is HOST)


@both
def test_a_function_sees_arrays_inputs_key_and_step(feed):
    changed = feeds.transform(feed, bind(shifted, 1.0), jnp.float32(2))
    expected = [shifted(1.0, 2, sampled(KEY, at), KEY, at) for at in (5, 6)]
    np.testing.assert_allclose(first(changed, 2, 5), expected, rtol=1e-6)


@both
def test_feed_and_function_may_have_keys_of_their_own(feed):
    changed = feeds.transform(feed, bind(shifted, 0.0), jnp.float32(1), keys=halves)
    k_feed, k_function = halves(KEY)
    np.testing.assert_allclose(
        first(changed, 1)[0], shifted(0.0, 1, sampled(k_feed, 0), k_function, 0), rtol=1e-6
    )


def test_feeds_of_equal_functions_share_one_program():
    draw = jax.jit(lambda feed: feed(KEY, jnp.int32(0)))
    for offset, scale, programs in ((1.0, 1, 1), (1.0, 2, 1), (2.0, 1, 2)):
        draw(feeds.transform(DEVICE, bind(shifted, offset), jnp.float32(scale)))
        assert draw._cache_size() == programs


def test_only_a_stream_has_to_be_started():
    assert feeds.start(DEVICE, KEY, 0) is DEVICE
    np.testing.assert_array_equal(next(feeds.start(HOST, KEY, 4)), sampled(KEY, 4))
