"""Several distilled sets in one command: their students are counted together."""

import json

import numpy as np
import pytest

SMOKE = 'dm --dataset digits --ipc 1 --smoke --seed 4'


def results(folder):
    return json.loads((folder / 'results.json').read_text())


@pytest.fixture(scope='module')
def done(main, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('several') / 'work'
    assert main(f'{SMOKE} --num-sets 2', workdir) == 0
    return workdir


@pytest.mark.parametrize('kind', ['distilled', 'random'])
def test_mean_and_std_are_over_the_students_of_all_sets(done, kind):
    every = [results(done / f'set-{i}')['accuracy'][kind]['convnet']['per_seed'] for i in (0, 1)]
    found = results(done)['accuracy'][kind]['convnet']
    assert found['per_seed'] == every[0] + every[1] and len(found['per_seed']) == 4
    assert found['mean'] == pytest.approx(np.mean(every))
    assert found['std'] == pytest.approx(np.std(every))


def test_the_page_says_how_many_sets(done):
    page = (done / 'report.md').read_text()
    assert 'Distilled sets, whose students are counted together: 2.' in page
    assert 'set-0/grid.png' in page and results(done)['seeds'] == [4, 5]
    assert results(done)['config']['num_sets'] == 2


def test_classes_are_counted_over_all_sets(done):
    found, every = results(done), [results(done / f'set-{i}') for i in (0, 1)]
    counts = np.sum([each['confusion']['counts'] for each in every], axis=0)
    assert found['confusion']['counts'] == counts.tolist() and found['confusion']['seeds'] == 4
    assert 'mean of 4 students' in (done / 'report.html').read_text()


def test_a_set_is_the_run_of_its_seed(main, done, tmp_path, images):
    assert main(SMOKE.replace('--seed 4', '--seed 5'), tmp_path / 'work') == 0
    np.testing.assert_array_equal(images(tmp_path / 'work'), images(done / 'set-1'))


def test_again_does_nothing_again(main, done, capsys):
    before = results(done)['accuracy']
    assert main(f'{SMOKE} --num-sets 2', done) == 0
    assert results(done)['accuracy'] == before
    assert capsys.readouterr().out.count('continuing at step 2') == 2
