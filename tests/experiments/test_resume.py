"""Real processes, ended in the ways in which processes end:
what is continued is what was never stopped."""

import json
import random
import shutil
import signal
import time

import numpy as np
import pytest


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory, launch):
    """The workdir of a run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp('whole') / 'work'
    code, log = launch(workdir, keep_compiled=True).end()
    assert code == 0, log
    return workdir


@pytest.fixture(scope='module')
def stopped(tmp_path_factory, launch):
    """(workdir, exit code, printed) of a run that SIGTERM stopped half-way."""
    workdir = tmp_path_factory.mktemp('stopped') / 'work'
    process = launch(workdir)
    process.until(lambda: rows(workdir) >= 17)
    return workdir, *process.end(signal.SIGTERM)


@pytest.fixture
def half(stopped, tmp_path):
    """A copy of the stopped run's workdir."""
    return shutil.copytree(stopped[0], tmp_path / 'work')


def rows(workdir):
    history = workdir / 'history.jsonl'
    return history.read_text().count('\n') if history.exists() else 0


def steps_told(workdir):
    return [
        json.loads(line)['step'] for line in (workdir / 'history.jsonl').read_text().splitlines()
    ]


def require_same(workdir, whole, images):
    assert np.array_equal(images(workdir), images(whole))
    assert (workdir / 'history.jsonl').read_text() == (whole / 'history.jsonl').read_text()


def killed_twice(seed, workdir, launch, steps):
    """Kills a run at two random moments, the second time further on,
    and lets the third process finish."""
    rng, last = random.Random(seed), 0
    for least, most in ((5, 25), (30, 45)):
        process, wanted = launch(workdir), rng.randint(least, most)
        process.until(lambda: max(steps(workdir), default=0) >= wanted)
        time.sleep(rng.uniform(0, 0.03))
        code, log = process.end(signal.SIGKILL)
        assert code == -signal.SIGKILL, log
        assert last == 0 or f'continuing at step {last}' in log
        last = max(steps(workdir))
    return (last, *launch(workdir).end())


# by default a run is killed in test_extend, and SIGTERM ends with the same bits below
@pytest.mark.long
def test_killed_at_random_moments_and_continued(uninterrupted, tmp_path, launch, steps, images):
    last, code, log = killed_twice(0, tmp_path / 'work', launch, steps)
    assert code == 0, log
    assert f'continuing at step {last}' in log and last >= 30
    require_same(tmp_path / 'work', uninterrupted, images)


@pytest.mark.long
@pytest.mark.parametrize('seed', range(1, 5))
def test_killed_at_other_random_moments(seed, uninterrupted, tmp_path, launch, steps, images):
    assert killed_twice(seed, tmp_path / 'work', launch, steps)[1] == 0
    require_same(tmp_path / 'work', uninterrupted, images)


def test_sigterm_saves_the_current_step_and_says_how_to_go_on(stopped, steps):
    workdir, code, log = stopped
    assert code == 3
    assert (
        'stopping: saving where the run stands' in log
        and 'stopped; the same command continues' in log
    )
    assert 17 <= max(steps(workdir)) < 60
    assert steps_told(workdir) == list(range(1, max(steps(workdir)) + 1))
    assert not (workdir / 'results.json').exists() and 'Traceback' not in log


def test_continued_after_sigterm(half, uninterrupted, launch, steps, images):
    at = max(steps(half))
    code, log = launch(half).end()
    assert code == 0 and f'continuing at step {at}' in log
    require_same(half, uninterrupted, images)


@pytest.mark.long
def test_a_corrupt_checkpoint_costs_its_steps_only(half, uninterrupted, launch, steps, images):
    before, newest = steps(half)[-2:]
    files = [
        file
        for file in (half / 'checkpoints' / str(newest) / 'arrays').rglob('*')
        if file.is_file()
    ]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(np.random.default_rng(0).bytes(largest.stat().st_size))
    code, log = launch(half).end()
    assert code == 0, log
    assert (
        f'the checkpoint of step {newest} is unreadable' in log
        and f'continuing from step {before}' in log
    )
    require_same(half, uninterrupted, images)


@pytest.mark.parametrize(
    'size, refused',
    [  # a checkpoint is written beside the run: its history may end first
        pytest.param(4096, ('could not save a checkpoint in', 'history.jsonl'), id='checkpoint'),
        pytest.param(700, ('history.jsonl',), id='history', marks=pytest.mark.long),
    ],
)
def test_a_full_disk_ends_the_run_and_keeps_the_last_whole_checkpoint(
    size, refused, half, launch, steps
):
    before = max(steps(half))
    code, log = launch(half, ['--num-steps', '80'], largest_file=size).end()
    assert code == 2
    (said,) = [line for line in log.splitlines() if line.startswith('error: ')]
    assert any(name in said for name in refused) and 'File too large' in said, log
    assert 'Traceback' not in log, log
    whole = max(steps(half))  # a checkpoint or two may still have found room
    assert whole >= before
    code, log = launch(half, ['--num-steps', str(whole + 2)]).end()
    assert code == 0 and f'continuing at step {whole}' in log, log
