"""How several processes end; their ends themselves are in tests/experiments/test_hosts.py."""

import time

import pytest

from jaxdd import hosts
from jaxdd.hosts import ending


class Left(Exception):
    """In place of the end of the process."""


@pytest.fixture
def left(monkeypatch):
    found = []

    def leave(code, sentence=None):
        found.append((code, sentence))
        raise Left

    monkeypatch.setattr(ending, 'leave', leave)
    return found


@pytest.fixture
def watched(play, monkeypatch):
    store = play(1, 3)
    watch = ending._Watch(0.5)
    monkeypatch.setattr(ending, '_watch', watch)
    return store, watch


def test_alone_a_command_returns_its_code_and_says_its_error(capsys):
    assert hosts.together(lambda words: len(words), ['a', 'b']) == 2
    assert hosts.failed(ValueError('no such data')) == ending.FAILED
    assert capsys.readouterr().err == 'error: no such data\n'
    with pytest.raises(ZeroDivisionError):
        hosts.together(lambda words: 1 // 0, [])


def interrupted(words):
    raise KeyboardInterrupt


def test_who_will_not_wait_reads_one_sentence_and_no_traceback(capsys):
    assert hosts.together(interrupted, []) == 130
    assert capsys.readouterr().err == (
        'interrupted; the same command goes on from what was saved, if anything was\n'
    )


def test_an_interrupt_ends_the_others_too(watched, left, monkeypatch):
    store, _ = watched
    monkeypatch.setattr(ending, '_FAREWELL', 0.0)
    with pytest.raises(Left):
        hosts.together(interrupted, [])
    assert left == [(130, None)] and store.kept['jaxdd/failed/1'] == 'it ended with code 130'


def test_who_gives_no_sign_of_life_is_gone(watched):
    _, watch = watched
    for sign in range(8):
        time.sleep(0.1)
        watch._note({0: str(sign), 1: str(sign), 2: 'one'}, {})
    assert watch.gone() == [2]


def test_where_nobody_answers_process_0_is_gone(watched):
    _, watch = watched
    watch._note({i: 'one' for i in range(3)}, {})
    assert watch.gone() == []
    time.sleep(0.6)
    assert watch.gone() == [0]


def test_a_process_that_is_gone_ends_this_one_with_a_sentence(watched, left):
    _, watch = watched
    hosts.continues(lambda: 'continues from step 40')
    watch._note({0: 'one', 2: 'one'}, {})
    time.sleep(0.6)
    watch._note({0: 'two', 2: 'one'}, {})
    with pytest.raises(Left):
        watch._judge()
    assert left == [
        (
            ending.GONE,
            'process 2 is gone; the same command, also with fewer processes, continues from step '
            '40',
        )
    ]


def test_a_process_that_failed_ends_this_one_with_its_words(watched, left):
    store, watch = watched
    watch._note({}, {1: 'this one', 2: 'the disk is full'})
    with pytest.raises(Left):
        watch._judge()
    assert left == [(ending.FAILED, 'error: process 2: the disk is full')]
    assert store.kept['jaxdd/left/1'] == ''


def test_a_failure_is_told_to_the_others(watched, left, monkeypatch, capsys):
    store, _ = watched
    monkeypatch.setattr(ending, '_FAREWELL', 0.0)
    with pytest.raises(Left):
        hosts.together(lambda words: hosts.failed(ValueError('no such data')), [])
    assert left == [(ending.FAILED, None)]
    assert store.kept['jaxdd/failed/1'] == 'no such data'
    assert 'error: no such data' in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_ends_all_too(watched, left, monkeypatch, capsys):
    store, _ = watched
    monkeypatch.setattr(ending, '_FAREWELL', 0.0)
    with pytest.raises(Left):
        hosts.together(lambda words: 1 // 0, [])
    assert left == [(1, None)] and 'nobody foresaw' in store.kept['jaxdd/failed/1']
    assert 'ZeroDivisionError' in capsys.readouterr().err
