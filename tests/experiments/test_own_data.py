"""Data of one's own with classes of 20 and 2 images and no names:
squeezed, recovered, reported, and run again."""

import json

import numpy as np
import pytest

from experiments.methods import parse
from experiments.stages import identity, jobs, messages, teaching
from experiments.stages.jobs import Prepared
from jaxdd.storage import records

TEACHER = '--teachers.networks convnet_bn'
WORDS = f'--ipc 3 --smoke {TEACHER} --evaluation.networks convnet_bn --evaluation.num-seeds 1'


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """The path of the data."""
    path, rng = tmp_path_factory.mktemp('own') / 'mine.npz', np.random.default_rng(0)
    labels = np.repeat([0, 1], [20, 2])
    images = (100 * labels[:, None, None, None] + rng.integers(0, 100, (22, 8, 8, 1))).astype(
        'uint8'
    )
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return path


@pytest.fixture(scope='module')
def done(main, dataset):
    """The workdir of a finished run."""
    workdir = dataset.parent / 'work'
    assert main(f'sre2l --dataset {dataset} {WORDS}', workdir) == 0
    return workdir


def results(workdir):
    return json.loads((workdir / 'results.json').read_text())


def test_what_is_finished_is_reported_though_random_images_are_too_few(done):
    found = results(done)
    assert (
        found['accuracy']['random'] == {}
        and 0 <= found['accuracy']['distilled']['convnet_bn']['mean'] <= 1
    )
    assert found['missing'] == {'random': '3 images per class are more than class 1 has (2)'}
    report = (done / 'report.md').read_text()
    assert (
        'No row for random real images: 3 images per class are more than class 1 has (2).' in report
    )


def test_the_missing_row_is_told_before_anything_trains(dataset):
    job = jobs.load(parse(f'sre2l --dataset {dataset} {WORDS}'.split()))
    assert messages.evaluate(job).endswith('and none on random real images')
    assert (
        jobs.no_baseline(job._replace(config=parse(f'sre2l --dataset {dataset} --ipc 2'.split())))
        is None
    )


def test_the_same_command_again_continues(done, dataset, main, capsys):
    before = results(done)
    assert main(f'sre2l --dataset {dataset} {WORDS}', done) == 0
    assert results(done)['accuracy'] == before['accuracy']
    assert 'of 4 training images' in capsys.readouterr().out  # two of each class


def test_its_teacher_is_taken_by_another_run(done, dataset, main):
    (folder,) = (dataset.parent / 'cache' / 'teachers').iterdir()
    assert records.load(folder / 'card.json', records.ANYTHING)['num_classes'] == 2
    assert (
        main(
            f'sre2l --dataset {dataset} {WORDS} --teachers.weights {folder} --evaluation.epochs 0',
            done.parent / 'other',
        )
        == 0
    )


def test_a_teacher_whose_card_is_damaged_is_tried_again_and_not_squeezed_again(
    done, dataset, capsys, monkeypatch
):
    (folder,) = (dataset.parent / 'cache' / 'teachers').iterdir()
    card = folder / 'card.json'
    before = card.read_text()
    card.write_text(before.replace('"num_classes": 2', '"num_classes": 7'))
    monkeypatch.setattr(
        'jaxdd.engine.loop.run', lambda *args, **options: pytest.fail('it was squeezed again')
    )
    words = f'sre2l --dataset {dataset} {WORDS} --cache-dir {dataset.parent / "cache"}'
    (teacher,) = teaching.prepare(jobs.load(parse(words.split())), lambda: False)
    assert teacher.num_classes == 2 and card.read_text() == before
    assert 'renamed to card.json.damaged' in capsys.readouterr().out


@pytest.fixture
def job(dataset):
    return jobs.load(parse(f'dm --dataset {dataset} --ipc 1 --smoke'.split()))


@pytest.mark.parametrize(
    'change',
    [
        lambda test: test._replace(labels=1 - test.labels),
        lambda test: test._replace(images=255 - test.images),
    ],
)
def test_accuracies_of_other_test_images_or_labels_have_another_name(job, change):
    other = job._replace(dataset=job.dataset._replace(test=change(job.dataset.test)))
    assert identity.of_real(other) != identity.of_real(job)
    # the networks trained on it are the same
    assert identity.of_data(other) == identity.of_data(job)


@pytest.mark.parametrize('change', ['flip', 'program', 'teachers', 'seed', 'depth'])
def test_accuracies_are_known_by_everything_that_they_depend_on(job, change, monkeypatch):
    before = identity.of_real(job)
    config = job.config
    if change == 'flip':
        job = job._replace(dataset=job.dataset._replace(spec=job.spec._replace(flip=True)))
    elif change == 'program':
        monkeypatch.setattr(identity, 'CODE', 'another')
    else:
        words = {
            'teachers': (
                '--teachers.networks convnet_bn --evaluation.labels static '
                '--evaluation.temperature 4'
            ),
            'seed': '--seed 1',
            'depth': '--encoder.depth 1',
        }[change]
        config = parse(f'dm --dataset {config.dataset} --ipc 1 --smoke {words}'.split())
        job = job._replace(config=config)
    if change == 'teachers':
        made = [
            teaching._card(job, 'convnet_bn', {'kernel': np.full(2, value)}) for value in (1.0, 2.0)
        ]
        assert identity.of_real(job, Prepared([], made[:1])) != identity.of_real(
            job, Prepared([], made[1:])
        )
    assert identity.of_real(job) != before
