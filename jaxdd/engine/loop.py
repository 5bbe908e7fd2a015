"""The one loop: several steps per dispatch, metrics, callbacks,
a loud stop at the first non-finite number.

Everything that advances a state by steps runs here: distillation, proxies, students.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import feeds, parallel
from jaxdd.bound import bind
from jaxdd.types import Array, DeviceFeed, Feed, Metrics, PRNGKey

State = Any  # a record with the fields `step` and `key`
Step = Callable[[State, Any], tuple[State, Metrics]]

RATE = 'learning_rate'  # the metric of a learned rate, which must stay above 0

_FEED = 0x0FEED  # separates the feed's draws from the step's own
_transfers = contextvars.ContextVar('transfers', default='allow')


class Callback(NamedTuple):
    """Something done every `every` steps, and after the last one."""

    every: int
    # (state, step, metrics [n] of the last dispatch)
    call: Callable[[State, int, dict[str, np.ndarray]], None]


@contextlib.contextmanager
def guarded(level: str) -> Iterator[None]:
    """Watches for what moves unasked between host and devices in the dispatches of a block.

    The first dispatch of a run compiles, and is left alone; callbacks are, too.

    Args:
        level: as of `jax.transfer_guard`: 'allow', 'log' or 'disallow'.
    """
    before = _transfers.set(level)
    try:
        yield
    finally:
        _transfers.reset(before)


class Control(NamedTuple):
    """How a training is dispatched, watched, saved and stopped.

    Its result is the same up to rounding.
    """

    steps_per_call: int = 1
    callbacks: Sequence[Callback] = ()
    should_stop: Callable[[], bool] = lambda: False
    # networks or chunks trained as one program; None = as the function says
    together: int | None = None
    checkpoint_every: int = 1000  # steps between saves of a state on its way
    log: Callable[[str], None] = lambda message: None

    def of_run(self) -> dict[str, Any]:
        """The options of `run`."""
        return {
            name: getattr(self, name) for name in ('steps_per_call', 'callbacks', 'should_stop')
        }


def num_together(control: Control, default: int) -> int:
    """How many networks or chunks are one program.

    Raises:
        ValueError: fewer than one.
    """
    if control.together is not None and control.together < 1:
        raise ValueError(f'together must be at least 1 network or chunk, got {control.together}')
    return control.together or max(1, default)


class NonFiniteError(ArithmeticError):
    """A metric stopped being a finite number, or a learned rate one above 0.

    Args:
        what: which metric, of what, at which step.
        advice: what to do about it.
    """

    def __init__(
        self, what: str, advice: str = "lower the learning rate or the regularizers' weights"
    ):
        super().__init__(f'{what}; {advice}')
        self.what = what


@contextlib.contextmanager
def naming(who: str, advice: str) -> Iterator[None]:
    """Says of what a metric in the block stopped being finite:
    the loop knows the metric and the step alone.

    Args:
        who: such as 'convnet, student 3'.
        advice: what to do about it.
    """
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f'{who}: {error.what}', advice) from error


def feed_key(state: State) -> PRNGKey:
    """The key that a device feed of this run receives:
    constant, so (key, step) alone position the feed."""
    return jax.random.fold_in(state.key, _FEED)


class Stacked(NamedTuple):
    """Several runs of the same kind as one state, for `vmap_step`."""

    step: Array
    key: PRNGKey  # not used by the runs, which have their own
    states: State  # leaves [runs, ...]


def stack_states(states: State) -> Stacked:
    """Joins runs that are at the same step.

    Args:
        states: a record with `step` and `key`, leaves `[runs, ...]`.
    """
    return Stacked(states.step[0], states.key[0], states)


def vmap_step(step: Step) -> Step:
    """The step of several independent runs at once: each draws from the same feed by its own key.

    Args:
        step: of one run.

    Returns:
        A step on `Stacked` states, whose input is the feed itself (see `broadcast_feed`); metrics
        are `[runs]`, of which `run_steps` reports the mean.
    """
    return bind(_step_of_all, step)


def _step_of_all(step: Step, state: Stacked, feed: DeviceFeed) -> tuple[Stacked, Metrics]:
    def one(state: State, feed: DeviceFeed) -> tuple[State, Metrics]:
        return step(state, feed(feed_key(state), state.step))

    # vmap over one would still make every convolution a grouped one
    if state.states.step.shape[0] == 1:
        states, metrics = one(jax.tree.map(lambda x: x[0], state.states), feed)
        states, metrics = jax.tree.map(lambda x: x[None], (states, metrics))
    else:
        states, metrics = jax.vmap(one, (0, None))(state.states, feed)
    return state._replace(step=state.step + 1, states=states), metrics


def broadcast_feed(feed: DeviceFeed) -> DeviceFeed:
    """Hands each step the feed itself, so that several runs sample by their own keys."""
    return jax.tree_util.Partial(_itself, feed)


def _itself(feed: DeviceFeed, key: PRNGKey, step: Array) -> DeviceFeed:
    del key, step
    return feed


def iterate_feed(state: State, feed: Feed) -> Iterator[Any]:
    """What a feed gives from `state.step` on, one step at a time: for looking, not for speed."""
    return feeds.iterate(feed, feed_key(state), int(state.step))


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def run_steps(
    step: Step, size: int, state: State, feed: DeviceFeed, count: Array
) -> tuple[State, Metrics]:
    """Takes `count <= size` steps in one dispatch, sampling included.

    The state's buffers are donated.

    Runs that are stepped together are divided among the devices, which meet at the end of a
    dispatch alone (`parallel.shard_map_rows`); a single run divides the work of every step.

    Args:
        step: pure `(state, inputs) -> (state, metrics)`; the same function object compiles once.
        size: most steps per dispatch.
        state: a record with `step` and `key`.
        feed: pure `(key, step) -> inputs`.
        count: int32, traced: every count uses the same program. Ignored when `size` is 1.

    Returns:
        The state and the metrics `[size]`, NaN beyond `count`.
    """
    if not isinstance(state, Stacked):
        state, history = _taken(step, size, state, feed, count)
        return parallel.replicate(state), history

    def own(states: State, feed: DeviceFeed, count: Array) -> tuple[State, Metrics]:
        state, history = _taken(step, size, stack_states(states), feed, count)
        return state.states, jax.tree.map(jnp.transpose, history)  # [runs, size]

    states, history = parallel.shard_map_rows(own, state.states, feed, count)
    state = state._replace(step=states.step[0], states=states)
    return parallel.replicate(state), jax.tree.map(lambda m: m.mean(0), history)


def _taken(
    step: Step, size: int, state: State, feed: DeviceFeed, count: Array
) -> tuple[State, Metrics]:
    """The state after `count` steps, and the metrics `[size, ...]`."""
    key = feed_key(state)
    # traced once, for its shapes and for the loop
    one = jax.jit(lambda state: step(state, feed(key, state.step)))
    if size == 1:  # nothing to loop over
        state, metrics = one(state)
        return state, jax.tree.map(lambda m: m[None], metrics)

    def body(i, carry):
        state, history = carry
        state, metrics = one(state)
        return state, jax.tree.map(lambda h, m: h.at[i].set(m), history, metrics)

    history = jax.tree.map(
        lambda m: jnp.full((size, *m.shape), jnp.nan, m.dtype), jax.eval_shape(one, state)[1]
    )
    return jax.lax.fori_loop(0, count, body, (state, history))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def advance_with(step: Step, state: State, inputs: Any) -> tuple[State, Metrics]:
    """Takes one step with inputs that the host supplies; the state's buffers are donated."""
    state, metrics = step(state, inputs)
    return parallel.replicate(state), metrics


def run(
    step: Step,
    state: State,
    feed: Feed | Iterator[Any],
    *,
    num_steps: int,
    steps_per_call: int = 1,
    callbacks: Sequence[Callback] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> State:
    """Advances a state to `num_steps`, from wherever it stands.

    Args:
        step: pure `(state, inputs) -> (state, metrics)`; scalars in metrics.
        state: a record with `step` and `key`. Its buffers are consumed.
        feed: a pure `(key, step) -> inputs` sampled inside the compiled program; a `Stream` from
            the host, started at `state.step`; or an iterator of inputs that stands there.
        num_steps: the step to stop at.
        steps_per_call: steps per dispatch with a device feed.
        callbacks: called in order, after every multiple of their period and after the last step;
            not on an early stop.
        should_stop: asked before each dispatch; True ends the run early with the state as it is.

    Returns:
        The state, `state.step == num_steps` unless stopped early.

    Raises:
        NonFiniteError: a metric is NaN or infinite, or a learned rate not above 0; names it and
            the step. Callbacks have not seen that state.
        ValueError: a period below 1, or an iterator that ends before `num_steps`.

    Note:
        A run is the same bit for bit however its dispatches are cut, as long as `steps_per_call`
        stays 1 or stays above 1: XLA compiles a step alone and a step in a loop differently.
    """
    for callback in callbacks:
        if callback.every < 1:
            raise ValueError(f'a callback period must be at least 1 step, got {callback.every}')
    state = parallel.replicate(jax.tree.map(_owned, state))
    supply = (
        feed if isinstance(feed, Iterator) else feeds.start(feed, feed_key(state), int(state.step))
    )
    take = functools.partial(
        _streamed if isinstance(supply, Iterator) else _on_device, step, supply, steps_per_call
    )
    begun = done = int(state.step)
    while done < num_steps and not should_stop():
        limits = [c.every - done % c.every for c in callbacks]
        count = min([steps_per_call, num_steps - done, *limits])
        with jax.transfer_guard('allow' if done == begun else _transfers.get()):
            state, history = take(state, count)
            history = {name: values[:count] for name, values in jax.device_get(history).items()}
        _require_finite(history, done)
        done += count
        for callback in callbacks:
            if done % callback.every == 0 or done == num_steps:
                callback.call(state, done, history)
    return state


def _owned(leaf: Array) -> Array:
    """A copy that may be donated, of a strong type:
    a weak one would compile the program a second time."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.copy(leaf)
    return jnp.array(leaf, dtype=leaf.dtype, copy=True)


def _on_device(
    step: Step, feed: DeviceFeed, size: int, state: State, count: int
) -> tuple[State, Metrics]:
    return run_steps(step, size, state, feed, parallel.sent(np.int32(count)))


def _streamed(
    step: Step, feed: Iterator[Any], size: int, state: State, count: int
) -> tuple[State, Metrics]:
    del size
    rows = []
    for _ in range(count):
        inputs = next(feed, None)
        if inputs is None:
            raise ValueError(f'the feed ended at step {int(state.step)}, before the run did')
        state, metrics = advance_with(step, state, inputs)
        rows.append(metrics)
    return state, jax.tree.map(lambda *values: jnp.stack(values), *rows)


def _require_finite(history: dict[str, np.ndarray], done: int) -> None:
    bad = {
        name: np.flatnonzero(~np.isfinite(values) | ((name == RATE) & (values <= 0)))
        for name, values in history.items()
    }
    if first := [steps[0] for steps in bad.values() if steps.size]:
        i = min(first)
        words = ', '.join(f'{name} is {history[name][i]}' for name in sorted(bad) if i in bad[name])
        what = f'{words} at step {done + int(i) + 1}'
        if i in bad.get(RATE, ()):
            raise NonFiniteError(f'{what}, and must stay above 0', 'lower the rate that moves it')
        raise NonFiniteError(what)
