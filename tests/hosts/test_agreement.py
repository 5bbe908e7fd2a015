"""What processes decide alike, each of them played in turn."""

import pickle

import pytest

from jaxdd import hosts


def test_alone_everything_is_ones_own(tmp_path):
    assert (hosts.index(), hosts.count(), hosts.first()) == (0, 1, True)
    assert hosts.told(lambda: 7) == 7 and hosts.agreed('x') == ['x']
    hosts.require_alike('it', object())
    hosts.require_shared(tmp_path / 'not there', 'workdir')


def test_the_first_one_looks_and_the_others_hear(play):
    play(0)
    assert hosts.first() and hosts.told(lambda: {'steps': [3, 5]}) == {'steps': [3, 5]}
    play(1)
    assert not hosts.first()
    assert hosts.told(lambda: pytest.fail('it looked, too')) == {'steps': [3, 5]}


def test_what_the_first_one_raises_is_raised_in_all(play):
    def ask():
        raise ValueError('the folder is full')

    for i in range(3):
        play(i, 3)
        with pytest.raises(ValueError, match='the folder is full'):
            hosts.told(ask)


class Odd(OSError):
    """An error that cannot travel: it needs two words."""

    def __init__(self, one, other):
        super().__init__(f'{one} {other}')


def test_an_error_that_cannot_travel_arrives_as_its_nearest_kind(play):
    def ask():
        raise Odd('no', 'disk')

    play(0)
    with pytest.raises(Odd):
        hosts.told(ask)
    play(1)
    with pytest.raises(OSError, match='no disk') as found:
        hosts.told(ask)
    assert type(found.value) is OSError


def test_a_question_inside_another_is_the_first_ones_own(play):
    store = play(0)
    assert hosts.told(lambda: hosts.told(lambda: 4) + sum(hosts.agreed(1))) == 5
    assert len(store.kept) == 1


def test_all_say_what_they_have_and_a_difference_names_a_process(play):
    store = play(0, 3)
    for i, value in ((1, 'a'), (2, 'b')):
        store.key_value_set_bytes(f'jaxdd/agreed/0/{i}', pickle.dumps(value))
    with pytest.raises(ValueError, match='the seed must be the same in all 3 .* process 2 has b'):
        hosts.require_alike('the seed', 'a')
    play(0, 3)
    store.kept.pop('jaxdd/agreed/0/0')
    assert hosts.agreed('a') == ['a', 'a', 'b']


@pytest.mark.parametrize('sees', [True, False])
def test_a_folder_is_shared_where_all_see_what_the_first_one_wrote(play, tmp_path, sees):
    store = play(0)
    store.key_value_set_bytes('jaxdd/agreed/2/1', pickle.dumps(sees))  # after two that are told
    if sees:
        hosts.require_shared(tmp_path, 'workdir')
    else:
        with pytest.raises(ValueError, match='all hosts share, but process 1 cannot .*--workdir'):
            hosts.require_shared(tmp_path, 'workdir')
    assert list(tmp_path.iterdir()) == []


def test_who_does_not_see_the_file_says_so_after_its_patience(play, tmp_path):
    play(0)
    hosts.told(lambda: '.shared-1')
    hosts.told(lambda: None)
    store = play(1)
    store.key_value_set_bytes('jaxdd/agreed/2/0', pickle.dumps(True))
    with pytest.raises(ValueError, match='process 1 cannot see'):
        hosts.require_shared(tmp_path, 'cache_dir', patience=0.2)
