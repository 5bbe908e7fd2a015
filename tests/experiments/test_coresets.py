"""Core-sets as rows beside every score, and as starts: chosen by what the run has trained."""

import json

import numpy as np
import pytest

from experiments import evaluate
from experiments.methods import parse
from experiments.stages import choosing, identity, jobs, messages, preparing
from experiments.stages.jobs import Prepared

SMOKE = 'dm --dataset digits --ipc 2 --smoke --evaluation.coresets herding k-means --init k-center'


def results(workdir):
    return json.loads((workdir / 'results.json').read_text())


@pytest.fixture(scope='module')
def done(main, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('coresets') / 'work'
    assert main(SMOKE, workdir) == 0
    return workdir


def test_rows_stand_beside_the_score(done):
    found = results(done)
    assert set(found['accuracy']) == {'distilled', 'random', 'herding', 'k-means'}
    assert all(len(row['convnet']['per_seed']) == 2 for row in found['accuracy'].values())
    assert found['bytes']['herding images'] == found['bytes']['random images'] == 2 * 10 * 64
    page = (done / 'report.md').read_text()
    assert '| herding core-set | convnet' in page and '| k-means core-set | convnet' in page


def test_the_run_starts_from_the_core_set(main, done, tmp_path):
    job = jobs.load(parse([*SMOKE.split(), '--cache-dir', str(done.parent / 'cache')]))
    prepared = preparing.prepare(job, lambda: False)
    first = choosing.started(job, prepared).initial.images
    assert not np.array_equal(first, job.initial.images)
    for c, images in enumerate(np.asarray(first)):
        real = np.asarray(job.dataset.train.images)[np.asarray(job.dataset.train.labels) == c]
        pixels = np.round(255 * (images * job.spec.std + job.spec.mean)).astype(np.uint8)
        assert all((real == image).all((1, 2, 3)).any() for image in pixels)


def test_known_rows_are_not_measured_again(main, done, tmp_path, capsys):
    assert main(SMOKE, done) == 0
    printed = capsys.readouterr().out
    for row in ('random real images', 'herding core-set', 'k-means core-set'):
        assert f'{row}: the accuracies of an earlier run' in printed


def test_a_core_set_is_known_by_who_chose_it():
    job = jobs.load(parse(SMOKE.split()))
    made = [
        Prepared([], [], chooser=jobs.Chooser(None, {'kernel': np.full(2, value)}))
        for value in (1.0, 2.0)
    ]
    assert identity.of_real(job, made[0], 'herding') != identity.of_real(job, made[1], 'herding')
    assert identity.of_real(job, made[0], 'herding') != identity.of_real(job, made[0], 'k-means')
    assert identity.of_real(job, made[0]) == identity.of_real(job, made[1])


def test_the_start_is_a_part_of_the_run_but_rows_are_not():
    job, other, more = (
        jobs.load(parse(words.split()))
        for words in (SMOKE, SMOKE.replace('k-center', 'real'), f'{SMOKE} --proxies.epochs 1')
    )
    rows = job._replace(config=parse(SMOKE.replace(' herding k-means', ' herding').split()))
    assert identity.of_run(rows) == identity.of_run(job)
    assert identity.of_run(other) != identity.of_run(job)
    assert identity.of_run(more) != identity.of_run(job)  # another network chooses


def test_of_a_start_that_a_teacher_chose_the_teacher_is_a_part():
    words = f'{SMOKE} --teachers.networks convnet_bn'
    first, other, unread = (
        identity.of_run(jobs.load(parse(f'{words} {more}'.split())))
        for more in ('', '--teachers.seed 1', '--proxies.epochs 1')
    )
    assert other != first and unread == first


def test_one_proxy_is_enough_and_a_teacher_chooses_where_there_is_one():
    assert messages.prepare(jobs.load(parse(SMOKE.split()))).startswith('1 proxy (convnet)')
    words = 'sre2l --dataset digits --ipc 2 --smoke --teachers.networks convnet_bn --init herding'
    job = jobs.load(parse(words.split()))
    assert not jobs.trains_proxies(job.config) and 'prox' not in messages.prepare(job)


@pytest.mark.parametrize(
    'words, message',
    [
        ('--evaluation.coresets hurding', "Did you mean 'herding'"),
        ('--evaluation.coresets herding herding', 'evaluation.coresets must be names that differ'),
        ('--init kmeans', "Did you mean 'k-means'"),
    ],
)
def test_what_cannot_be_is_refused(refused, words, message):
    assert message in refused(f'dm --dataset digits --smoke {words}')


def test_another_evaluation_of_the_set_says_where_core_sets_are_scored(done, capsys):
    path = str(done / 'distilled.npz')
    assert evaluate.main([path, '--evaluation.coresets', 'herding']) == 2
    assert 'experiments.run scores core-sets' in capsys.readouterr().err
