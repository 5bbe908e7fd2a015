"""The loop against the plainest loop there is, in exact integer arithmetic where equality must be
exact."""

import re
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import parallel
from jaxdd.engine import loop
from jaxdd.engine.loop import Callback


class State(NamedTuple):
    step: jax.Array
    key: jax.Array
    # [4] uint32, wraps around: any lost, doubled or reordered step changes every bit
    numbers: jax.Array
    value: jax.Array  # [4] float32


def step(state, inputs):
    bits = jax.random.bits(jax.random.fold_in(state.key, state.step), (4,))
    numbers = state.numbers * jnp.uint32(1664525) + bits + inputs
    value = jnp.sin(3 * state.value) + (numbers % 1024).astype(jnp.float32) / 1024
    return State(state.step + 1, state.key, numbers, value), {
        'loss/mean': value.mean(),
        'loss/first': value[0],
    }


def draw(key, step):
    return jax.random.bits(jax.random.fold_in(key, step), (4,))


FEED = jax.tree_util.Partial(draw)


def start(value=0.1):
    return State(
        jnp.zeros((), jnp.int32),
        jax.random.key(3),
        jnp.arange(4, dtype=jnp.uint32),
        jnp.full((4,), value, jnp.float32),
    )


def plain(num_steps, state=None):
    state, history = state or start(), []
    key = loop.feed_key(state)
    for i in range(num_steps):
        state, metrics = step(state, draw(key, jnp.int32(i)))
        history.append(metrics)
    return state, history


def assert_same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(*map(data, (x, y))), a, b)


def data(x):
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


class Recorder:
    """A callback's function that keeps what it saw."""

    def __init__(self):
        self.steps, self.states, self.metrics = [], [], []

    def __call__(self, state, step, metrics):
        self.steps.append(step)
        self.states.append(jax.tree.map(jnp.copy, state))
        self.metrics.append(metrics)


@pytest.mark.parametrize('steps_per_call', [1, 3, 7])
def test_is_a_plain_loop(steps_per_call):
    expected, history = plain(10)
    seen = Recorder()
    final = loop.run(
        step,
        start(),
        FEED,
        num_steps=10,
        steps_per_call=steps_per_call,
        callbacks=[Callback(steps_per_call, seen)],
    )
    assert_same(final[:3], expected[:3])
    np.testing.assert_allclose(final.value, expected.value, atol=1e-4)
    for name in ('loss/mean', 'loss/first'):
        values = np.concatenate([metrics[name] for metrics in seen.metrics])
        np.testing.assert_allclose(values, [m[name] for m in history], atol=1e-4)


def test_windows_and_callbacks_change_no_bit():
    expected = loop.run(step, start(), FEED, num_steps=11)
    for steps_per_call in (1, 3, 7):
        for periods in ((), (2,), (5, 3), (100,)):
            callbacks = [Callback(every, Recorder()) for every in periods]
            final = loop.run(
                step,
                start(),
                FEED,
                num_steps=11,
                steps_per_call=steps_per_call,
                callbacks=callbacks,
            )
            assert_same(final, expected)


@pytest.mark.parametrize('steps_per_call', [1, 4, 50])
def test_callbacks_come_at_their_multiples_and_at_the_end(steps_per_call):
    order = []
    twos = Callback(2, lambda state, done, metrics: order.append(('two', done, int(state.step))))
    fives = Callback(5, lambda state, done, metrics: order.append(('five', done, int(state.step))))
    loop.run(
        step, start(), FEED, num_steps=11, steps_per_call=steps_per_call, callbacks=[twos, fives]
    )
    assert order == [
        ('two', 2, 2),
        ('two', 4, 4),
        ('five', 5, 5),
        ('two', 6, 6),
        ('two', 8, 8),
        ('two', 10, 10),
        ('five', 10, 10),
        ('two', 11, 11),
        ('five', 11, 11),
    ]


def test_callbacks_see_the_state_of_their_step():
    seen = Recorder()
    loop.run(step, start(), FEED, num_steps=5, steps_per_call=4, callbacks=[Callback(3, seen)])
    assert seen.steps == [3, 5]
    for done, state in zip(seen.steps, seen.states):
        assert_same(state.numbers, plain(done)[0].numbers)


def test_an_iterator_gives_what_the_device_feed_gives():
    key = loop.feed_key(start())
    stream = (draw(key, jnp.int32(i)) for i in range(9))
    fed, streamed = Recorder(), Recorder()
    expected = loop.run(
        step, start(), FEED, num_steps=9, steps_per_call=4, callbacks=[Callback(4, fed)]
    )
    final = loop.run(
        step, start(), stream, num_steps=9, steps_per_call=4, callbacks=[Callback(4, streamed)]
    )
    assert_same(final, expected)
    assert fed.steps == streamed.steps == [4, 8, 9]
    jax.tree.map(np.testing.assert_array_equal, fed.metrics, streamed.metrics)


def test_an_iterator_is_not_read_ahead():
    stream = iter([jnp.zeros(4, jnp.uint32)] * 5)
    loop.run(step, start(), stream, num_steps=3, steps_per_call=2)
    assert len(list(stream)) == 2


@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('feed', ['device', 'stream'])
def test_stops_at_the_first_non_finite_metric(bad, feed):
    def breaks(state, inputs):
        state, metrics = step(state, inputs)
        return state, {**metrics, 'loss/cc': jnp.where(state.step >= 6, bad, 1.0)}

    seen = Recorder()
    given = FEED if feed == 'device' else iter([jnp.zeros(4, jnp.uint32)] * 20)
    with pytest.raises(loop.NonFiniteError, match=rf'loss/cc is {bad} at step 6;'):
        loop.run(
            breaks, start(), given, num_steps=20, steps_per_call=4, callbacks=[Callback(2, seen)]
        )
    assert seen.steps == [2, 4]


def test_the_step_where_it_began_is_named_with_all_that_broke_there():
    def breaks(state, inputs):
        state, _ = step(state, inputs)
        broken = {'a': jnp.nan, 'b': jnp.nan, 'c': jnp.inf}
        return state, {
            name: jnp.where(state.step >= begin, broken[name], 0.0)
            for name, begin in (('a', 3), ('b', 2), ('c', 2))
        }

    with pytest.raises(loop.NonFiniteError, match='^b is nan, c is inf at step 2;'):
        loop.run(breaks, start(), FEED, num_steps=8, steps_per_call=8)


def test_stops_when_asked_with_the_state_it_has():
    answers = iter([False, False, True])
    state = loop.run(
        step, start(), FEED, num_steps=100, steps_per_call=3, should_stop=lambda: next(answers)
    )
    assert_same(state.numbers, plain(6)[0].numbers)
    assert int(state.step) == 6


@pytest.mark.parametrize('steps_per_call', [1, 4])
def test_compiles_once_whatever_the_windows(steps_per_call):
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(lambda state, inputs: step(state, inputs), n=1)
    for num_steps in (11, 6):
        loop.run(
            counted,
            start(),
            FEED,
            num_steps=num_steps,
            steps_per_call=steps_per_call,
            callbacks=[Callback(5, Recorder()), Callback(3, Recorder())],
        )


@pytest.mark.parametrize('steps_per_call', [1, 3])
def test_continues_from_a_middle_state(steps_per_call):
    def run(state, num_steps):
        return loop.run(step, state, FEED, num_steps=num_steps, steps_per_call=steps_per_call)

    assert_same(run(run(start(), 5), 11), run(start(), 11))


def test_a_finished_state_comes_back_untouched():
    state, seen = plain(4)[0], Recorder()
    assert_same(loop.run(step, state, FEED, num_steps=4, callbacks=[Callback(1, seen)]), state)
    assert seen.steps == []


def test_a_mesh_changes_nothing():
    with parallel.use(parallel.mesh(8)):
        final = loop.run(step, start(), FEED, num_steps=7, steps_per_call=3)
        assert final.numbers.sharding.is_fully_replicated and len(final.numbers.devices()) == 8
    assert_same(final[:3], plain(7)[0][:3])


def several(count):
    return loop.stack_states(
        jax.vmap(lambda i: start()._replace(key=jax.random.key(i)))(jnp.arange(count))
    )


@pytest.mark.parametrize('count', [1, 3, 5, 8, 10, 16])
@pytest.mark.parametrize('steps_per_call', [1, 3])
def test_runs_together_are_the_runs_alone_on_any_number_of_devices(count, steps_per_call):
    seen, whole = Recorder(), loop.broadcast_feed(FEED)
    with parallel.use(parallel.mesh(8)):
        found = loop.run(
            loop.vmap_step(step),
            several(count),
            whole,
            num_steps=4,
            steps_per_call=steps_per_call,
            callbacks=[Callback(4, seen)],
        )
        assert found.states.numbers.sharding.is_fully_replicated and int(found.step) == 4
    alone = [
        loop.run(step, start()._replace(key=jax.random.key(i)), FEED, num_steps=4)
        for i in range(count)
    ]
    assert_same(found.states.numbers, jnp.stack([one.numbers for one in alone]))
    np.testing.assert_allclose(
        found.states.value, jnp.stack([one.value for one in alone]), atol=1e-4
    )
    np.testing.assert_allclose(
        seen.metrics[-1]['loss/mean'][-1], np.mean([one.value for one in alone]), atol=1e-4
    )


def test_divided_runs_meet_after_the_loop_alone():
    many, feed, state = loop.vmap_step(step), loop.broadcast_feed(FEED), several(10)
    with parallel.use(parallel.mesh(8)):
        program = (
            loop.run_steps.lower(many, 50, parallel.replicate(state), feed, jnp.int32(50))
            .compile()
            .as_text()
        )
    inside, _, after = program.partition('\nENTRY')
    assert 'all-gather(' in after and not re.search(r' all-\w+\(|collective-permute\(', inside)
    loops = re.findall(r'= \((.*)\) while\(', program)
    assert (
        loops and all('u32[10,4]' not in carry for carry in loops) and 'u32[2,4]' in ''.join(loops)
    )


def test_the_feeds_key_is_not_the_steps():
    state = start()
    assert not np.array_equal(data(loop.feed_key(state)), data(state.key))
    assert_same(loop.feed_key(state), loop.feed_key(plain(3)[0]))


def test_with_data_on_the_devices_nothing_moves_unasked():
    """On a CPU the guard sees what moves to the devices."""
    looked = []

    def look(state, at, metrics):
        looked.append((at, state.value + np.ones(4, np.float32)))  # a callback may

    with loop.guarded('disallow'):
        loop.run(step, start(), FEED, num_steps=9, steps_per_call=2, callbacks=[Callback(3, look)])
    assert [at for at, _ in looked] == [3, 6, 9]


def test_what_moves_unasked_is_refused_after_the_first_dispatch():
    def inputs():  # of the host, and nobody has sent it
        while True:
            yield np.ones(4, np.uint32)

    assert int(loop.run(step, start(), inputs(), num_steps=3).step) == 3
    with loop.guarded('disallow'), pytest.raises(Exception, match='Disallowed host-to-device'):
        loop.run(step, start(), inputs(), num_steps=3)
