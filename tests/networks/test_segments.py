"""Segments: which expert, from which epoch, and where they lie."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import feeds
from jaxdd.networks import segments
from jaxdd.networks.segments import Starts
from jaxdd.types import Inputs, Stream

FEED = jax.tree_util.Partial(lambda key, step: Inputs())
KEY = jax.random.key(4)


def experts(count, epochs):
    """Parameters that tell expert and epoch: 100 i + epoch."""
    return [{'w': 100.0 * i + np.arange(epochs + 1.0)[:, None]} for i in range(count)]


def drawn(feed, steps, first=0):
    """(expert, start, target) of each step."""
    found = []
    for _, inputs in zip(range(steps), feeds.iterate(feed, KEY, first)):
        start, target = (int(end['w'][0]) for end in inputs.expert)
        found.append((start // 100, start % 100, target % 100))
        assert target // 100 == start // 100
    return found


@pytest.mark.parametrize('on_host', [False, True])
def test_segments_have_their_span_and_every_start_is_drawn(on_host):
    feed = segments.attach(FEED, experts(3, 6), Starts(1, 5, 5), 2, on_host=on_host)
    assert isinstance(feed, Stream) == on_host
    found = drawn(feed, 60)
    assert {target - start for _, start, target in found} == {2}
    assert {start for _, start, _ in found} == {1, 2, 3, 4}


def test_experts_come_in_rounds_of_a_new_order():
    found = [i for i, _, _ in drawn(segments.attach(FEED, experts(4, 3), Starts(0, 1, 1), 1), 40)]
    rounds = [tuple(found[at : at + 4]) for at in range(0, 40, 4)]
    assert all(sorted(one) == [0, 1, 2, 3] for one in rounds) and len(set(rounds)) > 3


def test_host_and_devices_draw_the_same_and_resume_anywhere():
    given = experts(3, 9), Starts(0, 2, 6, 20), 3
    device, host = (segments.attach(FEED, *given, on_host=where) for where in (False, True))
    assert drawn(device, 30) == drawn(host, 30)
    assert drawn(device, 30)[11:] == drawn(device, 19, first=11) == drawn(host, 19, first=11)


def test_over_a_stream_it_is_a_stream():
    feed = segments.attach(
        Stream(lambda key, step: iter([Inputs(real=jnp.ones(1))] * 5)), experts(2, 3),
        Starts(0, 2, 2), 1,
    )  # fmt: skip
    assert isinstance(feed, Stream) and len(drawn(feed, 5)) == 5


@pytest.mark.parametrize(
    'step, until', [(0, 10), (99, 10), (100, 11), (550, 15), (999, 19), (1000, 20), (5000, 20)]
)
def test_the_range_grows_as_the_authors_does(step, until):
    # min(max, current + floor((max - current) * it / expansion_end))
    grown = Starts(0, 10, 20, 1000).until(jnp.int32(step))
    assert grown == until == min(20, 10 + (20 - 10) * step // 1000)


def test_without_expansion_it_is_the_last_from_the_start():
    assert Starts(0, 1, 7).until(jnp.int32(0)) == 7


def test_a_growing_range_is_used():
    feed = segments.attach(FEED, experts(1, 9), Starts(0, 1, 8, 100), 1)
    early = collections.Counter(start for _, start, _ in drawn(feed, 14))
    late = {start for _, start, _ in drawn(feed, 60, first=100)}
    assert set(early) == {0} and max(late) == 7


@pytest.mark.parametrize(
    'count, epochs, starts, span, said',
    [
        (0, 3, Starts(0, 1, 1), 1, 'no expert to follow'),
        (1, 3, Starts(0, 3, 3), 2, r'up to epoch 2 and follow for 2 epochs, so .* need 4 epochs; '
         'they have 3'),
        (1, 3, Starts(1, 1, 2), 1, r'starts must be 0 <= least < first <= last .* got Starts'),
        (1, 3, Starts(0, 3, 2), 1, 'starts must be'),
        (1, 3, Starts(0, 1, 1, -1), 1, 'expansion at least 0'),
        (1, 3, Starts(0, 1, 1), 0, 'span at least 1'),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(count, epochs, starts, span, said):
    with pytest.raises(ValueError, match=said):
        segments.attach(FEED, experts(count, epochs), starts, span)


def test_the_epochs_that_are_read():
    assert segments.num_epochs(Starts(0, 2, 2), 2) == 3
    assert len(experts(1, segments.num_epochs(Starts(0, 10, 20, 9), 3))[0]['w']) == 23
