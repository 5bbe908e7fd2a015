"""Pictures and pages of a run: the network that looks, and what happens where one fails."""

import jax
import numpy as np
import pytest

from experiments.methods import parse
from experiments.stages import drawing, jobs
from jaxdd.networks.teachers import Teacher
from jaxdd.types import Accuracy

SCORES = jobs.Scores({'convnet': Accuracy(0.5, 0.0, (0.5,))}, {}, {'distilled': 0})
BARE = jobs.Prepared([], [])
WORDS = '--encoder.width 4 --evaluation.width 4 --proxies.network.width 4 --data.per-class 4'


def load(words=''):
    return jobs.load(parse(f'dm --dataset digits --ipc 2 {WORDS} {words}'.split()))


@pytest.fixture(scope='module')
def job():
    return load('--plugins cmi')


@pytest.fixture(scope='module')
def proxies(job):
    model = job.models['proxy']
    return jobs.Prepared([model.init(jax.random.key(i)) for i in range(2)], [])


def distilled(job, **more):
    images = job.initial.images
    made = jobs.Distilled(
        job.initial, {}, images, images, ('a', 'b'), {}, {}, 0.0, 0.0, {}, [{'step': 1}]
    )
    return made._replace(**more)


def test_a_proxy_looks_first_then_a_teacher_then_the_first_student(job, proxies):
    student = jax.tree.map(np.asarray, proxies.proxies[0])
    teacher = Teacher('resnet18', job.models['proxy'], student, (), (), (), 10)
    scored = SCORES._replace(student=student)
    taught = jobs.Prepared([], [teacher])
    assert 'first of 2 proxies' in drawing.eye(job, proxies, scored).called
    assert drawing.eye(job, taught, scored).called.startswith('the teacher resnet18')
    found = drawing.eye(job, BARE, scored)
    assert (
        'the first student (convnet of width 4, depth 2)' in found.called
        and found.variables is student
    )
    with pytest.raises(drawing.LeftOut, match='were not kept'):
        drawing.eye(job, BARE, SCORES)


def test_features_are_the_networks_own(job, proxies):
    who = drawing.eye(job, proxies, SCORES)
    real, synthetic = drawing.features(job, who, job.initial.images)
    assert [part.shape for part in synthetic] == [(2, real[0].shape[1])] * 10
    assert [len(part) for part in real] == [60] * 10
    expected = who.model.apply(who.variables, job.initial.images[3]).features
    np.testing.assert_allclose(synthetic[3], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size, found', [(3, [0, 1, 2]), (1, [0])])
def test_few_images_are_all_shown(size, found):
    assert drawing._some(np.arange(size)).tolist() == found


def test_many_images_are_shown_evenly():
    some = drawing._some(np.arange(1000))
    assert len(set(some.tolist())) == 60 and (some[0], some[-1]) == (0, 999)


def test_every_picture_is_drawn(job, proxies, tmp_path):
    found = drawing.draw(job, proxies, distilled(job), SCORES, tmp_path)
    assert list(found['pictures'].values()) == ['grid.png', 'curves.png', 'embedding.png']
    assert found['left_out'] == {}
    assert all((tmp_path / file).stat().st_size > 1000 for file in found['pictures'].values())
    assert found['embedding']['real'] == 600 and found['embedding']['distilled'] == 20


def test_what_fails_is_named_and_the_rest_is_drawn(job, proxies, tmp_path, monkeypatch):
    def no_room(*arguments, **options):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(drawing.pictures, 'save_grid_png', no_room)
    broken = distilled(job)
    broken = broken._replace(
        synthetic=job.initial._replace(images=job.initial.images.at[0].set(np.nan))
    )
    found = drawing.draw(job, proxies, broken, SCORES, tmp_path)
    assert list(found['pictures'].values()) == ['curves.png'] and 'embedding' not in found
    assert found['left_out'][drawing.TITLES['grid.png']].startswith('OSError: [Errno 28]')
    assert 'needs finite features' in found['left_out'][drawing.TITLES['embedding.png']]


def test_a_page_that_fails_leaves_the_other(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise KeyError('odd')

    monkeypatch.setattr(drawing.html, 'page', fail)
    assert drawing.write_reports({}, tmp_path) == f'report: {tmp_path / "report.md"}'
    assert "report.html was not written, because KeyError: 'odd'" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ['report.md']


def test_pictures_that_are_gone_are_no_part_of_the_page(tmp_path):
    line = drawing.write_reports({'pictures': {'Gone': 'gone.png'}}, tmp_path)
    assert line == f'report: {tmp_path / "report.md"}, {tmp_path / "report.html"}'
    assert 'Gone' not in (tmp_path / 'report.html').read_text()


@pytest.mark.parametrize(
    'words, found',
    [
        ('--plugins cc cm cmi', {'cm': [[(5, 1.0)], [(10, 2.0)]], 'cmi': [[(5, 3.0)]]}),
        ('--plugins cc cm', {'cm': [[(5, 1.0)], [(10, 2.0)]]}),
        ('--plugins cm cmi --regularizers.cm.every 5', {'cmi': [[(5, 3.0)]]}),
        ('', {}),
    ],
)
def test_series_are_those_of_plugins_that_are_there_at_every_step(words, found):
    config = parse(f'dm --dataset digits --ipc 2 {words}'.split())
    history = [{'step': 5, 'loss/cm': 1.0, 'loss/cmi': 3.0}, {'step': 10, 'loss/cm': 2.0}]
    assert drawing.series(config, [history], {5: 'next'}) == found
