"""Sets are packed once all is well with them, listed, and found again as they were packed."""

import dataclasses
import json
import pathlib
import re
import shutil
import signal
import subprocess
from typing import Any

import numpy as np
import pytest

from experiments import catalogue
from experiments.configs import presets
from experiments.configs.base import Evaluation
from experiments.stages import rescoring
from jaxdd import data, parallel
from jaxdd.exchange import catalogue as files
from jaxdd.exchange.catalogue import RECORD, SUMS, Catalogue
from jaxdd.storage import distilled_set, locks, records
from jaxdd.types import SyntheticSet

NAME = 'digits-dm-cc-cm-ipc2-seed0'
# pyright takes a decorator of another name for none
MADE: Any = Evaluation
EVALUATION: Any = presets.protocol('quick', MADE(networks=('mlp',), width=8))


def finished(workdir, seed=0, images=None, info={}, beside={}, lacks=(), **changes):
    """A workdir as a run leaves it, of made images; `info` is the set's alone, which `lacks` some,
    `beside` the results'."""
    spec = data.spec('digits')
    if images is None:
        images = np.random.default_rng(seed).normal(size=(10, 2, 8, 8, 1)).astype(np.float32)
    labels = np.repeat(np.eye(10, dtype=np.float32)[:, None], 2, axis=1)
    synthetic = SyntheticSet(images, labels)  # pyright: ignore
    evaluation = dataclasses.asdict(EVALUATION)
    told = {
        'method': 'dm',
        'plugins': ['cc', 'cm'],
        'ipc': 2,
        'seed': seed,
        'steps': 20,
        'config': {
            'method': 'dm',
            'dataset': 'digits',
            'ipc': 2,
            'data': {'data_dir': None},
            'evaluation': evaluation,
        },
        **changes,
    }
    about = {
        'name': 'digits',
        'classes': 10,
        'checksums': None,
        'licence': data.licence('digits'),
    }
    every = {**distilled_set.described(synthetic, dataset=about), **told, **info}
    distilled_set.save_npz(
        workdir / 'distilled.npz',
        synthetic,
        mean=spec.mean,
        std=spec.std,
        class_names=spec.class_names or (),
        info={name: value for name, value in every.items() if name not in lacks},
    )
    accuracy = {'mean': 0.5, 'std': 0.1, 'per_seed': [0.4, 0.6]}
    results = {
        **told,
        'dataset': 'digits',
        'protocol': {**presets.identified(EVALUATION), **evaluation},
        'accuracy': {'distilled': {'mlp': accuracy}, 'random': {}},
        'students': {'mlp': 'mlp of width 8'},
        'bytes': {'images': 5120, 'labels': 0},
        'commit': 'abc1234',
        'bibtex': ['@a{x}'],
        'seconds': {},
        **beside,
    }
    records.save(workdir / 'results.json', results)
    return workdir


@pytest.fixture
def call(monkeypatch, capsys):
    """`call(*words) -> (exit code, printed, errors)`, with devices and signals as they were."""
    monkeypatch.setattr(parallel, 'start', lambda: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*words):
        capsys.readouterr()
        code = catalogue.main([str(word) for word in words])
        return code, *capsys.readouterr()

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def packed(call, tmp_path):
    """A catalogue of two sets."""
    workdirs = [finished(tmp_path / f'run{seed}', seed) for seed in (0, 1)]
    assert call('pack', *workdirs, '--output', tmp_path / 'sets')[0] == 0
    return tmp_path / 'sets'


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def test_a_catalogue_holds_the_files_of_its_runs(call, packed, tmp_path):
    found = content(packed)
    names = [NAME, NAME.replace('seed0', 'seed1')]
    expected = {f'{name}/{file}' for name in names for file in ('distilled.npz', 'results.json')}
    assert found.keys() == {*expected, RECORD, SUMS, 'README.md'}
    for seed, name in enumerate(names):
        for file in ('distilled.npz', 'results.json'):
            assert found[f'{name}/{file}'] == (tmp_path / f'run{seed}' / file).read_bytes()
    page = found['README.md'].decode()
    assert all(text in page for text in (*names, 'CC BY 4.0', '@a{x}'))
    assert page.count('@a{x}') == 1
    assert '--output ../' in page  # inside, `check` would call the record one too many
    assert call('check', packed)[:2] == (0, '5 files, 2 sets, 0 wrong\n')
    if shutil.which('sha256sum'):
        words = ['sha256sum', '--check', '--strict', '--quiet', SUMS]
        assert subprocess.run(words, cwd=packed).returncode == 0


def test_the_list_has_a_line_per_set(call, packed):
    code, printed, _ = call('list', packed)
    header, _, first, second = printed.splitlines()
    assert code == 0 and second.startswith(NAME.replace('seed0', 'seed1'))
    expected = f'{NAME} digits 2 DM + CC + CM 20 hard 5,120 0 quick-100 v1 mlp of width 8'
    digest = files.digest(packed / NAME / 'distilled.npz')
    assert first.split() == f'{expected} 50.00 ± 10.00 2 abc1234 {digest[:12]}'.split()
    assert header.index('sha256') == first.index(digest[:12]) == second.rindex(' ') + 1
    rows = json.loads(call('list', packed, '--json')[1])
    assert [row['name'] for row in rows] == sorted(row['name'] for row in rows)
    assert (rows[0]['sha256'], rows[0]['forms']) == (digest, ['npz'])
    assert rows[0]['accuracy'] == {
        'network': 'mlp',
        'student': 'mlp of width 8',
        'mean': 0.5,
        'std': 0.1,
        'seeds': 2,
    }


def flip(folder):
    path = folder / NAME / 'distilled.npz'
    whole = bytearray(path.read_bytes())
    whole[1000] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize(
    'act, said',
    [
        (flip, [f'changed: {NAME}/distilled.npz']),
        (
            lambda folder: (folder / NAME / 'results.json').unlink(),
            [f'missing: {NAME}/results.json'],
        ),
        (lambda folder: (folder / NAME / 'more').write_text(''), [f'extra: {NAME}/more']),
        (
            lambda folder: (folder / NAME).rename(folder / 'other'),
            [
                f'missing: {NAME}/distilled.npz',
                f'missing: {NAME}/results.json',
                'extra: other/distilled.npz',
                'extra: other/results.json',
            ],
        ),
        (lambda folder: (folder / SUMS).write_text(''), [f'changed: {SUMS}']),
    ],
)
def test_what_is_not_as_it_was_is_named(call, packed, act, said):
    act(packed)
    code, printed, _ = call('check', packed, '--score')
    lines = [line.replace(f'{packed}/', '') for line in printed.splitlines()]
    assert code == 1 and sorted(lines[:-3]) == sorted(said)
    assert lines[-3] == f'5 files, 2 sets, {len(said)} wrong'
    assert 'copy the catalogue again' in lines[-2] and 'no student was trained' in lines[-1]


def sealed_again(folder, change):
    """The folder as somebody leaves it who changes its record and all digests with it."""
    found = files.load(folder)
    sets = change(folder, dict(found.sets))
    paths = files.present(folder) - {RECORD, SUMS}
    digests = {path: files.digest(folder / path) for path in paths}
    files.save(folder, Catalogue(sets, digests))


def renamed(folder, sets):
    (folder / NAME).rename(folder / NAME.replace('ipc2', 'ipc9'))
    return {name.replace(NAME, NAME.replace('ipc2', 'ipc9')): sets[name] for name in sets}


def swapped(folder, sets):
    name = NAME.replace('seed0', 'seed1')
    shutil.copy(folder / name / 'results.json', folder / NAME / 'results.json')
    return sets


def better(folder, sets):
    accuracy = {**sets[NAME]['accuracy'], 'mean': 0.9}
    return {**sets, NAME: {**sets[NAME], 'accuracy': accuracy}}


def broken(folder, sets):
    flip(folder)
    return sets


@pytest.mark.parametrize(
    'change, said',
    [
        (renamed, f'renamed: .*-ipc9-seed0 holds {NAME}'),
        (swapped, 'unreadable: .*results.json tells of another run .* seed 1, not 0'),
        (better, 'other: .* is not what catalogue.json says: accuracy.mean 0.5, not 0.9'),
        (broken, 'unreadable: .*distilled.npz'),
    ],
)
def test_a_set_that_is_not_what_its_record_says(call, packed, change, said):
    sealed_again(packed, change)
    code, printed, _ = call('check', packed)
    first, second, *_ = printed.splitlines()
    assert code == 1 and second == '5 files, 2 sets, 1 wrong'
    assert re.match(said, first), first


def test_a_changed_record_is_not_as_it_was_and_no_catalogue_is_wrong_input(call, packed, tmp_path):
    path = packed / RECORD
    path.write_text(path.read_text().replace('0.5', '0.6'))
    code, printed, _ = call('check', packed)
    assert code == 1 and printed.startswith('changed: ') and str(path) in printed
    assert call('list', packed)[0] == 2
    path.unlink()
    for act in ('check', 'list'):
        code, _, error = call(act, packed)
        assert code == 2 and error.startswith(f'error: {path} is not there')
        assert call(act, tmp_path / 'nowhere')[0] == 2
    with pytest.raises(SystemExit, match='2'):
        catalogue.main(['unpack'])


def test_a_catalogue_is_extended_and_equal_sets_are_recognised(call, packed, tmp_path):
    before = content(packed)
    new = finished(tmp_path / 'run2', 2)
    # the same set, whose run was asked again: only what a catalogue does not say is another
    again = finished(tmp_path / 'again', 0, beside={'seconds': {'distil': 1.0}})
    code, printed, _ = call('pack', again, new, '--output', packed)
    assert code == 0 and printed == f'{packed}: 1 sets added, 1 were there, 3 in all\n'
    after = content(packed)
    for name in before.keys() - {RECORD, SUMS, 'README.md'}:
        assert after[name] == before[name]
    assert len(after) == len(before) + 2 and call('check', packed)[0] == 0
    assert call('pack', new, new, '--output', packed)[1].endswith(
        '0 sets added, 1 were there, 3 in all\n'
    )
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith('.')}
    assert left == {'.sets.lock'}


def test_what_is_not_the_catalogues_is_not_made_a_part_of_it(call, packed, tmp_path):
    (packed / NAME / 'more').write_text('')
    (packed / '.git').mkdir()
    (packed / '.git' / 'HEAD').write_text('main')
    flip(packed)
    assert call('pack', finished(tmp_path / 'run2', 2), '--output', packed)[0] == 0
    assert (packed / '.git' / 'HEAD').read_text() == 'main'
    printed = call('check', packed)[1]
    assert f'extra: {packed / NAME}/more\n' in printed and '7 files, 3 sets, 2 wrong' in printed
    assert f'changed: {packed / NAME}/distilled.npz\n' in printed


@pytest.mark.parametrize(
    'changes, differ',
    [
        ({'steps': 40}, 'steps 40, not 20'),
        ({'images': np.zeros((10, 2, 8, 8, 1), np.float32)}, 'other images or labels'),
        ({'beside': {'commit': 'def'}}, 'commit "def", not "abc1234"'),
    ],
)
@pytest.mark.parametrize('together', [False, True])
def test_two_different_sets_of_one_name(call, tmp_path, changes, differ, together):
    one, other = finished(tmp_path / 'one'), finished(tmp_path / 'other', **changes)
    output = tmp_path / 'sets'
    if not together:
        assert call('pack', one, '--output', output)[0] == 0
    before = content(output)
    words = (one, other) if together else (other,)
    code, _, error = call('pack', *words, '--output', output)
    assert code == 2 and differ in error and NAME in error and '--label' in error
    assert str(other) in error and content(output) == before
    if not together:
        assert call('pack', other, '--output', output, '--label', 'other')[0] == 0
        assert set(files.load(output).sets) == {NAME, f'{NAME}-other'}
        assert call('check', output)[0] == 0


def remove(name):
    return lambda workdir: (workdir / name).unlink()


def of_another_run(workdir):
    other = finished(workdir.with_name('other'), 1)
    shutil.copy(other / 'results.json', workdir / 'results.json')


def several(workdir):
    for name in ('set-0', 'set-1'):
        finished(workdir / name)
    (workdir / 'distilled.npz').unlink()


def damage(workdir):
    path = workdir / 'results.json'
    path.write_text(path.read_text().replace('0.5', '0.6'))


@pytest.mark.parametrize(
    'act, said',
    [
        (remove('distilled.npz'), 'distilled.npz is not there'),
        (remove('results.json'), 'results.json is not there'),
        (of_another_run, 'results.json tells of another run .* seed 1, not 0'),
        (several, 'distilled.npz is not in .* but in its folders: give .*set-0 .*set-1'),
        (damage, 'results.json is damaged'),
        (lambda w: (w / 'distilled.npz').write_bytes(b'x'), 'distilled.npz'),
        (shutil.rmtree, 'is no folder: give the workdir of a finished run'),
        (lambda w: finished(w, info={'method': 'idm'}), 'another run .* method "dm", not "idm"'),
        (lambda w: finished(w, beside={'dataset': 'mnist'}), 'dataset "mnist", not "digits"'),
        (lambda w: finished(w, beside={'ipc': 3, 'plugins': []}), r'ipc 3, not 2; plugins \[\]'),
        (
            lambda w: finished(w, beside={'config': {'data': {}}}),
            'another run .* and [0-9]+ more. Copy',
        ),
        (lambda w: finished(w, lacks=('seed', 'format')), 'does not say its seed, format'),
        (
            lambda w: finished(w, beside={'protocol': {'name': 'infer', 'labels': 'static'}}),
            'labels.npz is not there, and students need its static labels',
        ),
    ],
)
def test_a_run_that_is_not_whole_is_refused_and_nothing_is_written(call, tmp_path, act, said):
    workdir = finished(tmp_path / 'run')
    act(workdir)
    code, _, error = call(
        'pack', finished(tmp_path / 'good', 7), workdir, '--output', tmp_path / 'x'
    )
    assert code == 2 and error.startswith('error: ')
    assert re.search(said, error), error
    assert not list(tmp_path.glob('*x*'))


def test_soft_labels_that_students_need_go_along(call, tmp_path):
    workdir = finished(tmp_path / 'run', beside={'protocol': {'name': 'i', 'labels': 'static'}})
    (workdir / 'labels.npz').write_bytes(b'logits')
    assert call('pack', workdir, '--output', tmp_path / 'sets')[0] == 0
    assert (tmp_path / 'sets' / NAME / 'labels.npz').read_bytes() == b'logits'
    assert call('check', tmp_path / 'sets')[0] == 0


def test_a_folder_of_something_else_is_left_alone(call, tmp_path):
    workdir = finished(tmp_path / 'run')
    before = content(tmp_path)
    for output in (workdir, workdir / 'results.json'):
        code, _, error = call('pack', workdir, '--output', output)
        assert code == 2 and str(output) in error
    assert {**before, '.run.lock': b''}.keys() >= content(tmp_path).keys() - {
        '.run.lock', 'run/.results.json.lock'
    }  # fmt: skip
    (tmp_path / 'empty').mkdir()
    assert call('pack', workdir, '--output', tmp_path / 'empty')[0] == 0
    shutil.move(tmp_path / 'empty' / NAME, tmp_path / 'away')
    other = finished(tmp_path / 'other', 1)
    name = NAME.replace('seed0', 'seed1')
    (tmp_path / 'empty' / name).mkdir()
    code, _, error = call('pack', other, '--output', tmp_path / 'empty')
    assert code == 2 and f'{name} is there' in error and 'move it away' in error


def test_one_process_at_a_time_packs(call, tmp_path):
    workdir = finished(tmp_path / 'run')
    with locks.alone(tmp_path, name='.sets.lock'):
        code, _, error = call('pack', workdir, '--output', tmp_path / 'sets')
    assert code == 2 and 'works in' in error and not (tmp_path / 'sets').exists()


@pytest.mark.parametrize(
    'words, said',
    [
        ('--label a/b', 'label must be letters, digits'),
        ('--epochs 0 --score', 'epochs must be at least 1, got 0'),
        ('--seeds 0 --score', 'seeds must be at least 1, got 0'),
    ],
)
def test_wrong_options_are_refused(call, tmp_path, words, said):
    workdir = finished(tmp_path / 'run')
    code, _, error = call('pack', workdir, '--output', tmp_path / 'sets', *words.split())
    assert code == 2 and said in error and not (tmp_path / 'sets').exists()


def test_further_forms_are_written_and_added(call, packed, tmp_path):
    code, *_ = call('pack', tmp_path / 'run0', '--output', packed, '--form', 'npz', 'imagefolder')
    assert code == 0 and len(list((packed / NAME / 'imagefolder').glob('*/*.png'))) == 20
    rows = json.loads(call('list', packed, '--json')[1])
    assert [row['forms'] for row in rows] == [['npz', 'imagefolder'], ['npz']]
    assert f'In other forms, too: {NAME} (imagefolder).' in (packed / 'README.md').read_text()
    assert call('check', packed)[0] == 0
    before = content(packed)
    assert call('pack', tmp_path / 'run0', '--output', packed, '--form', 'imagefolder')[0] == 0
    assert content(packed) == before
    flipped = next((packed / NAME / 'imagefolder').glob('*/*.png'))
    flipped.write_bytes(flipped.read_bytes()[:-1])
    code, printed, _ = call('check', packed)
    assert code == 1 and f'changed: {flipped}' in printed


def test_a_form_that_cannot_hold_a_set_is_refused_or_skipped(call, tmp_path):
    soft = np.full((10, 2, 10), 0.1, np.float32)
    workdir = finished(tmp_path / 'run')
    synthetic, about = distilled_set.load_npz(workdir / 'distilled.npz')
    info = {**about['info'], 'labels': {**about['info']['labels'], 'kind': 'probabilities'}}
    info['bytes'] = {'images': 5120, 'labels': 800}
    how = {name: about[name] for name in ('mean', 'std', 'class_names')}
    path = workdir / 'distilled.npz'
    distilled_set.save_npz(path, synthetic._replace(labels=soft), info=info, **how)
    words = ('pack', workdir, '--output', tmp_path / 'sets', '--form', 'imagefolder')
    code, _, error = call(*words)
    assert code == 2 and 'imagefolder cannot hold this set' in error and '--skip' in error
    assert not list(tmp_path.glob('*sets')) and not list(tmp_path.glob('.sets.new'))
    code, printed, _ = call(*words, '--skip')
    assert code == 0 and printed.startswith(f'skipped: {NAME} as imagefolder: ')
    found = files.load(tmp_path / 'sets')
    assert files.forms_of(found, NAME) == ('npz',)
    assert found.sets[NAME]['labels'] == 'probabilities'
    assert call('check', tmp_path / 'sets')[0] == 0


def scored(folder, per_seed=(0.5,), **changes):
    """Notes in a catalogue what students had when it was packed."""

    def change(_, sets):
        smoke = {
            'epochs': 60,
            'network': 'mlp',
            'protocol': 'quick',
            'precision': 'f32',
            'hardware': '1 x cpu',
            'per_seed': list(per_seed),
        }
        return {**sets, NAME: {**sets[NAME], 'smoke': {**smoke, **changes}}}

    sealed_again(folder, change)


@pytest.fixture
def trained(monkeypatch):
    """What students were asked for; they have an accuracy of 0.5 without training."""
    asked = []

    def score(budget, path, network, precision, stop):
        asked.append((path.parent.name, network, precision, budget.epochs, budget.seeds))
        return {'network': network, 'protocol': 'quick', 'precision': precision or 'f32',
                'epochs': budget.epochs, 'hardware': '2 x cpu',
                'per_seed': [0.5] * budget.seeds}  # fmt: skip

    monkeypatch.setattr(rescoring, 'score', score)
    return asked


@pytest.mark.parametrize(
    'then, code, said', [(0.51, 0, '-1.00 points, within 2.00'), (0.6, 1, 'OUTSIDE 2.00')]
)
def test_scores_are_compared_with_those_of_packing(call, packed, trained, then, code, said):
    scored(packed, [then])
    found, printed, _ = call('check', packed, '--score')
    assert found == code and said in printed and trained == [(NAME, 'mlp', 'f32', 60, 1)]
    other = NAME.replace('seed0', 'seed1')
    assert f'{other}: not compared, it was packed without --score' in printed
    assert f'mlp, quick, f32: 50.00 % of 1 students on 2 x cpu, {100 * then:.2f} % of 1' in printed


def test_scores_that_cannot_be_compared_are_wrong_input(call, packed, trained, monkeypatch):
    code, _, error = call('check', packed, '--score')
    assert code == 2 and 'pack it with --score' in error
    scored(packed, epochs=5)
    code, _, error = call('check', packed, '--score')
    assert code == 2 and f'epochs must be 5, as {NAME} was scored with, got 60' in error
    assert not trained and call('check', packed, '--score', '--epochs', 5)[0] == 0

    def fail(*_):
        raise ValueError('the data set is not there')

    monkeypatch.setattr(rescoring, 'score', fail)
    code, _, error = call('check', packed, '--score', '--epochs', 5)
    assert code == 2 and f'{NAME} was not compared: the data set is not there' in error


def test_pack_keeps_a_score_of_the_same_budget(call, packed, trained, tmp_path):
    words = ('pack', tmp_path / 'run0', '--output', packed)
    for more, asked in (((), 0), (('--score',), 1), (('--score',), 1), (('--seeds', 2), 1),
                        (('--score', '--seeds', 2), 2)):  # fmt: skip
        assert call(*words, *more)[0] == 0 and len(trained) == asked
    assert trained[1] == (NAME, 'mlp', None, 60, 2)
    assert files.load(packed).sets[NAME]['smoke']['per_seed'] == [0.5, 0.5]
    assert call('check', packed)[0] == 0


def test_a_stopped_pack_leaves_what_was_there(call, packed, tmp_path, monkeypatch):
    def stop(*_):
        raise rescoring.Stopped

    monkeypatch.setattr(rescoring, 'score', stop)
    before, new = content(packed), finished(tmp_path / 'run2', 2)
    code, printed, _ = call('pack', new, '--output', packed, '--score')
    assert code == 3 and 'the same command begins again' in printed and content(packed) == before


def test_a_set_that_needs_its_teachers_has_no_score(call, tmp_path):
    evaluation = {**dataclasses.asdict(EVALUATION), 'labels': 'dynamic', 'temperature': 30.0}
    config = {'dataset': 'digits', 'ipc': 2, 'data': {}, 'evaluation': evaluation}
    protocol = {'name': 'sre2l', 'labels': 'dynamic'}
    workdir = finished(tmp_path / 'run', config=config, beside={'protocol': protocol})
    words = ('pack', workdir, '--output', tmp_path / 'sets', '--score')
    code, _, error = call(*words)
    assert code == 2 and f'{NAME} cannot be scored: dynamic labels need the teachers' in error
    assert not (tmp_path / 'sets').exists()
    code, printed, _ = call(*words, '--skip')
    assert code == 0 and f'skipped: no score of {NAME}' in printed
    assert 'smoke' not in files.load(tmp_path / 'sets').sets[NAME]


@pytest.fixture(scope='module')
def run_of_digits(main, tmp_path_factory):
    """A finished run, as small as can be."""
    workdir = tmp_path_factory.mktemp('catalogue') / 'work'
    assert main('dm --dataset digits --ipc 2 --smoke', workdir) == 0
    return workdir


def test_a_finished_run_is_packed_and_its_commands_again_change_nothing(
    call, main, run_of_digits, tmp_path
):
    output = tmp_path / 'sets'
    assert call('pack', run_of_digits, '--output', output)[0] == 0
    (row,) = json.loads(call('list', output, '--json')[1])
    results = json.loads((run_of_digits / 'results.json').read_text())
    accuracy = results['accuracy']['distilled']['convnet']
    assert row['name'] == 'digits-dm-ipc2-seed0' and row['steps'] == 2
    assert row['bytes'] == {'images': 4 * 10 * 2 * 64, 'labels': 0}
    assert (row['accuracy']['mean'], row['accuracy']['seeds']) == (accuracy['mean'], 2)
    assert row['protocol'] == 'quick-100 v1, changed: num_seeds 2, epochs 1'
    assert row['commit'] == results['commit'] and row['bibtex'] == results['bibtex'] != []
    assert main('dm --dataset digits --ipc 2 --smoke', run_of_digits) == 0
    code, printed, _ = call('pack', run_of_digits, '--output', output)
    assert code == 0 and '0 sets added, 1 were there' in printed
    assert call('check', output)[0] == 0


@pytest.mark.long
def test_students_are_trained_again_and_compared(call, run_of_digits, tmp_path):
    output = tmp_path / 'sets'
    words = ('--score', '--num-devices', 1)
    assert call('pack', run_of_digits, '--output', output, *words)[0] == 0
    (entry,) = files.load(output).sets.values()
    (accuracy,) = entry['smoke']['per_seed']
    assert entry['smoke']['network'] == 'convnet' and accuracy > 0.3
    moved = pathlib.Path(shutil.move(output, tmp_path / 'elsewhere'))
    code, printed, _ = call('check', moved, *words)
    assert code == 0 and 'difference +0.00 points, within 2.00' in printed
    assert 'quick-100 v1, changed: num_seeds 1, epochs 60' in printed
    code, printed, _ = call('check', moved, *words, '--seeds', 2)
    assert code in (0, 1) and 'of 2 students' in printed
    change = lambda _, sets: {  # an accuracy that no student of this set has
        name: {**one, 'smoke': {**one['smoke'], 'per_seed': [0.999]}} for name, one in sets.items()
    }
    sealed_again(moved, change)
    code, printed, _ = call('check', moved, *words)
    assert code == 1 and 'OUTSIDE' in printed
