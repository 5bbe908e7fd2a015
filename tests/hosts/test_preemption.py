"""One question at which all processes stop."""

import random
import threading

import pytest

from jaxdd import hosts
from jaxdd.hosts import ending


@pytest.fixture
def several(monkeypatch):
    monkeypatch.setattr(ending, '_works', [])
    return [hosts.Preemption() for _ in range(4)]


@pytest.mark.parametrize('seed', range(20))
def test_all_stop_at_the_first_question_that_nobody_had_put(several, play, seed):
    rng, stopped, put = random.Random(seed), {}, [0] * 4
    asked = rng.randrange(4)
    for turn in range(400):
        i = rng.randrange(4)
        play(i, 4)
        one = several[i]
        if turn == 40:
            several[asked].request()
        if rng.random() < 0.3:
            one._look()
        # who has told waits for the others; they never wait for it
        if i not in stopped and (not one._told or one._decided.is_set()):
            put[i] += 1
            if one():
                stopped[i] = put[i]
    assert len(stopped) == 4 and len(set(stopped.values())) == 1, stopped
    assert min(stopped.values()) > 1


def test_nobody_stops_unasked(several, play):
    for turn in range(20):
        play(turn % 4, 4)
        several[turn % 4]._look()
        assert not several[turn % 4]()


def test_every_later_question_says_stop_too(several, play):
    one = several[0]
    play(0, 1)
    one.request()
    one._look()
    assert one() and one()


def test_a_question_that_waits_does_not_move_what_was_told(several, play):
    first, second = several[:2]
    play(1, 2)
    second.request()
    second._look()
    found = []
    waiting = threading.Thread(target=lambda: found.append(second()))
    waiting.start()
    while second._asked == 0:  # it is put now, and waits for process 0
        pass
    second._look()
    play(0, 2)
    first._look()
    play(1, 2)
    second._look()
    waiting.join(timeout=20)
    # nobody had put question 1 when they told: both stop there
    assert found == [True] and first()
