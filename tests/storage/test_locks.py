"""A lock that dies with its process, and the rests of killed ones."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from jaxdd.storage import locks

HOLDER = (
    'import sys, time\nfrom jaxdd.storage import locks\nwith locks.alone(sys.argv[1]):\n'
    '    print("in", flush=True)\n    time.sleep(60)'
)


@pytest.fixture
def holder(tmp_path):
    """Another process that has the folder."""
    child = subprocess.Popen(
        [sys.executable, '-c', HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == 'in\n'
    yield child
    child.kill()
    child.wait()


def test_the_second_process_is_refused_and_told_who_is_there(holder, tmp_path):
    with pytest.raises(
        locks.Taken, match=f'process {holder.pid} works in {tmp_path}; wait until it ends'
    ):
        with locks.alone(tmp_path):
            pass


def test_a_crash_leaves_no_lock_behind(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locks.alone(tmp_path):
        assert (tmp_path / locks.NAME).read_text() == str(os.getpid())


def test_one_process_cannot_take_it_twice_and_gives_it_back(tmp_path):
    with locks.alone(tmp_path):
        with pytest.raises(locks.Taken, match=f'process {os.getpid()} works'):
            with locks.alone(tmp_path):
                pass
        with locks.alone(tmp_path, name='.other'):
            pass
    with locks.alone(tmp_path):
        pass


def test_waiting_for_ones_turn(tmp_path):
    said, asked = [], threading.Event()

    def say(sentence):
        said.append(sentence)
        first.close()
        asked.set()

    first = locks.alone(tmp_path)
    first.__enter__()
    first.close = lambda: first.__exit__(None, None, None)
    with locks.in_turn(tmp_path, should_stop=lambda: False, say=say, pause=0.01) as mine:
        assert mine and asked.is_set()
    assert said == [f'waiting for process {os.getpid()}, which works in {tmp_path}']


def test_a_stop_ends_the_waiting(tmp_path):
    with locks.alone(tmp_path):
        looks = iter([False, False, True])
        with locks.in_turn(
            tmp_path, should_stop=lambda: next(looks), say=lambda _: None, pause=0
        ) as mine:
            assert not mine


def test_rests_are_swept_and_nothing_else(tmp_path):
    rests = ['.curves.png.28894', 'students/.ab.json.77', '.history.jsonl.1']
    stay = ['curves.png', '.lock', '.hidden', '.notes.txt.3', 'students/ab.json']
    for name in rests + stay:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('')
    for name in ('.0.new-25055', '.0.new-25055.orbax-checkpoint-tmp', '.1.old-3', '.2.old-3', '1'):
        (tmp_path / name / 'inside').mkdir(parents=True)
    locks.sweep(tmp_path)
    assert sorted(
        str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*') if p.is_file()
    ) == sorted(stay)
    # 2 has its place back
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ['1', '2', 'students']


def test_in_a_shared_folder_only_what_is_old_is_swept(tmp_path):
    (tmp_path / '.young.json.1').write_text('')
    (tmp_path / '.aged.json.2').write_text('')
    os.utime(tmp_path / '.aged.json.2', (1, 1))
    locks.sweep(tmp_path, older_than=3600)
    assert [p.name for p in tmp_path.iterdir()] == ['.young.json.1']
