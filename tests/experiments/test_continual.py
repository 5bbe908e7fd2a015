"""Continual learning from the command: curves of every memory, resumed where it stopped."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import continual
from experiments.stages import incremental
from jaxdd import parallel

WORDS = 'dm --dataset digits --ipc 2 --smoke --tasks 2 --orders 1 --evaluation.num-seeds 1'


@pytest.fixture(scope='module')
def call(tmp_path_factory):
    """call(words, workdir, stop): runs the command here, on one device."""
    cache = tmp_path_factory.mktemp('cache')

    def run(words, workdir, stop=lambda: False):
        argv = f'{words} --workdir {workdir} --cache-dir {cache} --num-devices 1'.split()
        return continual.run(*continual.parse(argv), argv, stop)

    return run


@pytest.fixture(scope='module')
def done(call, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('continual')
    assert call(WORDS, workdir) == 0
    return workdir


@pytest.fixture(scope='module')
def results(done):
    return json.loads((done / 'results.json').read_text())


def test_every_memory_has_a_value_per_order_task_and_student(results):
    assert set(results['accuracy']) == {'random', 'distilled'}
    for found in results['accuracy'].values():
        assert np.shape(found) == (1, 2, 1)
        assert np.all((np.array(found) >= 0) & (np.array(found) <= 1))
    assert results['seen'] == [5, 10]
    assert [sorted(order) for order in results['orders']] == [list(range(10))]


def test_the_page_shows_the_curves(done):
    page = (done / 'report.md').read_text()
    assert page.startswith('# DM in 2 tasks on digits, 2 images per class in memory')
    for words in (
        'random real images',
        '5 classes, %',
        'curves.png',
        'Orders of the classes: 1',
    ):
        assert words in page
    html = (done / 'report.html').read_text()
    assert 'DM in 2 tasks on digits' in html and 'Dataset Condensation with Dist' in html
    with Image.open(done / 'curves.png') as image:
        assert image.format == 'PNG' and min(image.size) > 100


def test_a_task_is_distilled_from_its_own_classes(done, results):
    for number, classes in enumerate(np.split(np.array(results['orders'][0]), 2)):
        with np.load(done / 'order-0' / f'task-{number}' / 'distilled.npz') as file:
            assert file['class_names'].tolist() == [str(c) for c in classes]
            assert file['images'].shape == (5, 2, 8, 8, 1)


def test_stopped_and_continued_gives_the_same(call, results, tmp_path, monkeypatch):
    tested = []
    score = incremental.score

    def counted(own, dataset, memory, task, *others):
        tested.append(len(task.seen))
        assert set(np.argmax(memory.labels, -1).ravel().tolist()) == set(task.seen)
        return score(own, dataset, memory, task, *others)

    monkeypatch.setattr(incremental, 'score', counted)
    words = f'{WORDS} --evaluation.coresets herding'
    assert call(words, tmp_path, stop=lambda: len(tested) >= 4) == continual.STOPPED
    assert tested == [5, 5, 5, 10, 10, 10] and not (tmp_path / 'results.json').exists()
    assert call(words, tmp_path) == 0
    again = json.loads((tmp_path / 'results.json').read_text())
    assert set(again['accuracy']) == {'random', 'herding', 'distilled'}
    assert {kind: again['accuracy'][kind] for kind in results['accuracy']} == results['accuracy']


@pytest.mark.parametrize(
    'words, message',
    [
        (
            '--tasks 3',
            'tasks must divide 10 classes into equal groups of two or more: 1, 2, 5; got 3',
        ),
        ('--orders 0', 'orders must be at least 1, got 0'),
        (
            '--ipc 200',
            'the size of the smallest class (class 8 has 139 images), got 200',
        ),
        ('--evaluation.networks convnet mlp', 'evaluation.networks must be one architecture'),
        ('--data.classes 1 2', 'data.classes must be left alone'),
        ('--evaluation.every 1', 'evaluation.every must be 0'),
        ('--data.zca', 'data.zca must be False'),
        ('--num-sets 2', 'num_sets must be 1: --orders repeats, got 2'),
        ('--estimate here', 'estimate must be left out: experiments.run takes it'),
    ],
)
def test_what_cannot_be_is_refused_before_anything_trains(
    words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(parallel, 'start', lambda: None)
    monkeypatch.setattr(incremental, 'distilled', None)
    assert continual.main([*WORDS.split(), *words.split(), '--workdir', str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_soft_labels_are_refused_with_the_way_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parallel, 'start', lambda: None)
    words = f'sre2l --dataset cifar10 --workdir {tmp_path}'.split()
    assert continual.main(words) == 2
    assert '--evaluation.protocol dsa' in capsys.readouterr().err


@pytest.mark.long
def test_students_may_go_on_from_the_task_before(call, results, tmp_path):
    words = f'{WORDS} --distillation 1 --temperature 2'
    assert call(words, tmp_path) == 0
    found = json.loads((tmp_path / 'results.json').read_text())
    assert found['distillation'] == {'beta': 1.0, 'temperature': 2.0}
    assert 'goes on from the task before' in (tmp_path / 'report.md').read_text()
    students = sorted(tmp_path.glob('order-0/task-*/remembering/*'))
    assert [path.name for path in students] == ['distilled-0', 'random-0'] * 2
    times = [path.stat().st_mtime_ns for path in students]
    assert call(words, tmp_path) == 0  # nothing is trained again
    assert [path.stat().st_mtime_ns for path in students] == times
    again = json.loads((tmp_path / 'results.json').read_text())
    assert again['accuracy'] == found['accuracy']


@pytest.mark.parametrize('option', ['--distillation -1', '--distillation nan', '--temperature 0'])
def test_a_distillation_that_cannot_be_is_refused(option):
    with pytest.raises(ValueError, match='(distillation must be at least|temperature must be abo)'):
        continual.parse(f'{WORDS} {option}'.split())
