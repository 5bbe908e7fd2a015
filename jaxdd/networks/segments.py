"""Segments of experts' trajectories: which one a student follows at each step."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import feeds
from jaxdd.bound import bind
from jaxdd.data import epoch_indices
from jaxdd.types import Array, Expert, Feed, Inputs, PRNGKey, PyTree, Stream

_DRAW = 0x5E63  # separates the draw of a segment from the feed's other draws


class Starts(NamedTuple):
    """The epochs at which students may start, a range that may grow with the run.

    Drawn uniformly from least ... U - 1, where U grows evenly from `first` to `last` in the first
    `expansion` steps and stays there: U(step) = first + floor((last - first) step / expansion).
    MTT: one range. DATM: a range that grows towards later, harder epochs. Guo et al., ICLR 2024,
    https://arxiv.org/abs/2310.05773.
    """

    least: int
    first: int  # U at the first step
    last: int  # U in the end
    expansion: int = 0  # steps; 0: U is `last` throughout

    def until(self, step: Array) -> Array:
        """U, one more than the latest start epoch, int32."""
        if self.expansion == 0:
            return jnp.int32(self.last)
        done = jnp.minimum(step, self.expansion)
        return jnp.int32(self.first + (self.last - self.first) * done // self.expansion)


def num_epochs(starts: Starts, span: int) -> int:
    """The last epoch that students start from or are to reach."""
    return starts.last - 1 + span


def attach(
    feed: Feed[Inputs],
    experts: Sequence[PyTree],
    starts: Starts,
    span: int,
    *,
    on_host: bool = False,
) -> Feed[Inputs]:
    """A feed that also supplies the segment that a student follows, `Inputs.expert`.

    Experts come in rounds, each round in a new order; the start epoch is drawn anew at every step.

    Args:
        feed: a device feed, or a `Stream`.
        experts: the parameters of each, leaves `[epochs + 1, ...]` (`experts.train`).
        starts: epochs at which a segment may start.
        span: epochs from start to target.
        on_host: leave the experts in the host's memory and send a segment per step, for more of
            them than the devices hold; the result is a `Stream`.

    Raises:
        ValueError: no experts, a range or span that is empty, or experts of fewer epochs than it
            reaches.
    """
    _require(experts, starts, span)
    draw = bind(_draw, len(experts), starts)
    if on_host or feeds.comes_from_host(feed):
        return _from_host(feed, experts, draw, span)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *experts)
    return feeds.transform(feed, bind(_with_segment, draw, span), stacked)


def _require(experts: Sequence[PyTree], starts: Starts, span: int) -> None:
    if not experts:
        raise ValueError('there is no expert to follow; train at least one')
    least, first, last, expansion = starts
    if not (0 <= least < first <= last and expansion >= 0) or span < 1:
        raise ValueError(
            'starts must be 0 <= least < first <= last and expansion at least 0, span at least 1, '
            f'got {starts} and span {span}'
        )
    needed = num_epochs(starts, span)
    reached = min(leaf.shape[0] - 1 for one in experts for leaf in jax.tree.leaves(one))
    if reached < needed:
        raise ValueError(
            f'students start up to epoch {last - 1} and follow for {span} epochs, so experts need '
            f'{needed} epochs; they have {reached}. Train them for {needed}, or lower the last '
            'start or the span'
        )


def _draw(count: int, starts: Starts, key: PRNGKey, step: Array) -> tuple[Array, Array]:
    """Number of the expert and start epoch of a step."""
    k_order, k_start = jax.random.split(jax.random.fold_in(key, _DRAW))
    index, _ = epoch_indices(k_order, step, size=count, batch_size=1)
    until = starts.until(step)
    start = jax.random.randint(jax.random.fold_in(k_start, step), (), starts.least, until)
    return index[0], start


def _with_segment(draw, span: int, experts: PyTree, inputs: Inputs, key: PRNGKey, step: Array):
    index, start = draw(key, step)
    ends = (
        jax.tree.map(lambda leaf, at=at: leaf[index, at], experts) for at in (start, start + span)
    )
    return inputs._replace(expert=Expert(*ends))


def _from_host(feed: Feed[Inputs], experts: Sequence[PyTree], draw, span: int) -> Stream:
    pick = jax.jit(draw)

    def begin(key: PRNGKey, step: int) -> Iterator[Inputs]:
        for at, inputs in enumerate(feeds.iterate(feed, key, step), step):
            index, start = (int(np.asarray(x)) for x in pick(key, jnp.int32(at)))
            ends = (
                jax.tree.map(lambda x, e=e: x[e], experts[index]) for e in (start, start + span)
            )
            yield inputs._replace(expert=Expert(*ends))

    return Stream(begin)
