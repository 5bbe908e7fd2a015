"""Several commands at once leave what each alone would have left, wherever they were stopped."""

import json
import shutil

import numpy as np
import pytest

from experiments import run, together

TINY = (
    'dm --dataset digits --num-steps 8 --steps-per-call 2 --checkpoint-every 2 --encoder.width 8 '
    '--data.per-class 4 --evaluation.epochs 0 --evaluation.num-seeds 1 --evaluation.width 8 '
    '--num-devices 1'
)
WORDS = {
    'two': '--ipc 2',
    'one': '--ipc 1 --optimizer.learning-rate 0.5',
    'cm': '--ipc 2 --plugins cm',
}


@pytest.fixture(scope='module')
def call(tmp_path_factory):
    """call(folder, stop): runs the three commands in workdirs of a folder."""
    cache = tmp_path_factory.mktemp('cache')

    def run_all(folder, stop=lambda: False, watched=False):
        lines = [
            f'{TINY} {words} --workdir {folder / name} --cache-dir {cache}'
            f'{" --profile 2 --tensorboard" if name == "cm" and watched else ""}'
            for name, words in WORDS.items()
        ]
        return together.run_all(together.parse(lines), stop)

    return run_all


@pytest.fixture(scope='module')
def whole(call, tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    assert call(folder, watched=True) == 0
    return folder


def rows(workdir):
    return [json.loads(line) for line in (workdir / 'history.jsonl').read_text().splitlines()]


@pytest.mark.parametrize('name', WORDS)
def test_each_is_what_its_command_alone_makes(whole, main, images, tmp_path, name):
    assert main(f'{TINY} {WORDS[name]}', tmp_path / 'alone') == 0
    found, alone = images(whole / name), images(tmp_path / 'alone')
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(rows(whole / name), rows(tmp_path / 'alone'), strict=True):
        assert ours['step'] == theirs['step']
        assert ours['loss/dm'] == pytest.approx(theirs['loss/dm'], rel=1e-4)
        assert ours['loss/total'] == pytest.approx(theirs['loss/total'], rel=1e-4)
    assert ('loss/cm' in rows(whole / name)[0]) == (name == 'cm')


IDM = (
    'idm --dataset digits --num-steps 3 --steps-per-call 1 --encoder.width 4 --data.per-class 4 '
    '--training.queue-size 3 --training.every 2 --training.num-batches 1 --training.batch-size 8 '
    '--evaluation.epochs 0 --evaluation.num-seeds 1 --evaluation.width 4 --num-devices 1'
)
PROXIES = (
    f'{TINY} --ipc 2 --proxies.count 2 --proxies.network.name convnet --proxies.network.width 4 '
    '--proxies.epochs 1 --proxies.weight-decay 1e-3'
)


@pytest.mark.long
@pytest.mark.parametrize(
    'lines',
    [
        [f'{IDM} --ipc 2', f'{IDM} --ipc 1'],
        [f'{PROXIES} --plugins cc', f'{PROXIES} --plugins cmi', PROXIES],
    ],
    ids=['networks in training on real images', 'one pool of proxies'],
)
def test_what_else_runs_share(lines, main, images, tmp_path):
    words = [
        f'{line} --workdir {tmp_path / str(i)} --cache-dir {tmp_path / "cache"}'
        for i, line in enumerate(lines)
    ]
    assert together.run_all(together.parse(words), lambda: False) == 0
    for i, line in enumerate(lines):
        assert main(line, tmp_path / 'alone' / str(i)) == 0
        ours, theirs = images(tmp_path / str(i)), images(tmp_path / 'alone' / str(i))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert not any(
        np.array_equal(images(tmp_path / '0'), images(tmp_path / str(i)))
        for i in range(1, len(lines))
    )


def test_every_workdir_holds_its_results(whole):
    for name in WORDS:
        results = json.loads((whole / name / 'results.json').read_text())
        assert results['steps'] == 8 and results['plugins'] == (['cm'] if name == 'cm' else [])
        assert results['seconds']['distil'] > 0


@pytest.mark.parametrize('written', ['profile/**/*.xplane.pb', '**/events.out.tfevents.*'])
def test_the_one_that_asks_to_be_watched_is(written, whole):
    assert [path.name for path in whole.iterdir() if list(path.glob(written))] == ['cm']


def stands(workdir):
    return sorted(int(p.name) for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit())


@pytest.fixture(scope='module')
def half(call, tmp_path_factory):
    """Workdirs of commands that were asked to stop on their way."""
    folder = tmp_path_factory.mktemp('half')
    history = folder / 'cm' / 'history.jsonl'
    assert call(folder, lambda: history.exists() and len(rows(folder / 'cm')) > 1) == run.STOPPED
    assert len({tuple(stands(folder / name)) for name in WORDS}) == 1
    assert stands(folder / 'one') == [2, 4]
    return folder


def require_whole(folder, whole, images):
    for name in WORDS:
        np.testing.assert_array_equal(images(folder / name), images(whole / name))
        assert rows(folder / name) == rows(whole / name)


def test_what_was_stopped_goes_on(call, half, whole, images, tmp_path):
    folder = shutil.copytree(half, tmp_path / 'again')
    assert call(folder) == 0
    require_whole(folder, whole, images)


def test_a_kill_between_two_saves_loses_the_newer_one(call, half, whole, images, tmp_path):
    folder = shutil.copytree(half, tmp_path / 'again')
    last = stands(folder / 'cm')[-1]
    shutil.rmtree(folder / 'cm' / 'checkpoints' / str(last))
    assert call(folder) == 0
    require_whole(folder, whole, images)


def test_runs_that_no_step_joins_are_refused(call, half, tmp_path):
    folder = shutil.copytree(half, tmp_path / 'again')
    shutil.rmtree(folder / 'one')
    at = stands(half / 'two')[-1]
    with pytest.raises(ValueError, match=rf'two at {at}, .*one at 0, .*cm at {at}\. Go on with'):
        call(folder)


@pytest.mark.parametrize(
    'lines, message',
    [
        ([TINY], 'two command lines .* got 1'),
        ([f'{TINY} --workdir a', f'{TINY} --workdir ./a'], 'a --workdir of its own'),
        (
            [f'{TINY} --workdir a', f'{TINY} --workdir b --seed 1 --data.per-class 5'],
            'data.per_class: first 4, number 2 5\n  seed: first 0, number 2 1',
        ),
        (['dsa --workdir a', 'dsa --workdir b'], 'run together: dm, idm; got dsa'),
        (['dm --workdir a', 'idm --workdir b'], 'method: first "dm", number 2 "idm"'),
        (
            ['dm --workdir a --estimate here', 'dm --workdir b --estimate here'],
            'estimate must be left out: experiments.run takes it, with one command alone, got here',
        ),
        (
            ['dm --workdir a --num-sets 2', 'dm --workdir b --num-sets 2'],
            'num_sets must be 1: experiments.run takes it, with one command alone, got 2',
        ),
        (
            ['dm --workdir a --profile 1', 'dm --workdir b --profile 2'],
            'profile must be of one run: a step is of all of them, got a and b',
        ),
    ],
)
def test_what_cannot_go_together_is_refused_before_anything(lines, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        together.parse(lines)
    assert list(tmp_path.iterdir()) == []


def test_two_pools_of_proxies_are_refused_before_one_is_trained(tmp_path, monkeypatch):
    def train(*arguments):
        raise AssertionError('trained')

    monkeypatch.setattr(together.preparing, 'prepare', train)
    lines = [
        f'{TINY} --ipc 1 --workdir {tmp_path / name} --cache-dir {tmp_path / "cache"} '
        f'--plugins {name}'
        for name in ('cc', 'cmi')
    ]
    with pytest.raises(ValueError, match='one pool of proxies, and these would need 2: give all'):
        together.run_all(together.parse(lines), lambda: False)
    alike = [f'{line} --proxies.weight-decay 1e-3' for line in lines]
    with pytest.raises(AssertionError, match='trained'):
        together.run_all(together.parse(alike), lambda: False)


def test_help_says_what_it_does(capsys):
    with pytest.raises(SystemExit):
        together.parse(['--help'])
    assert 'same real images' in capsys.readouterr().out
