"""ZCA as an option of a run: the way through distillation, the file, pictures and evaluation."""

import json

import numpy as np
import pytest

from experiments import evaluate
from experiments.configs import scoring
from experiments.methods import parse
from experiments.stages import existing, identity, jobs
from jaxdd import data, whitening
from jaxdd.reporting import pictures
from jaxdd.storage import distilled_set

SMOKE = 'dm --dataset digits --ipc 1 --smoke --steps-per-call 1'
ZCA = f'{SMOKE} --data.zca'


@pytest.fixture(scope='module')
def done(main, tmp_path_factory):
    """The workdir of a finished run, with a plug-in that reads a proxy."""
    workdir = tmp_path_factory.mktemp('zca') / 'work'
    assert main(f'{ZCA} --plugins cc', workdir) == 0
    return workdir


def test_the_file_brings_the_way_back(done):
    synthetic, about = distilled_set.load_npz(done / 'distilled.npz')
    digits = data.load('digits')
    how = about['whitening']
    assert how.vectors.shape == (64, 64) and how.eps == np.float32(0.1)
    np.testing.assert_allclose(
        whitening.whiten(how, digits.test.images / 255),
        data.whitened(digits, whitening.fit(digits.train.images)).test.images,
        atol=1e-4,
    )
    pixels = whitening.unwhiten(how, np.asarray(synthetic.images))
    np.testing.assert_allclose(about['images_uint8'] / 255, np.clip(pixels, 0, 1), atol=0.003)


def test_the_report_says_so(done):
    assert 'The images are ZCA-whitened' in (done / 'report.md').read_text()


def test_the_picture_shows_pixels(main, done, monkeypatch):
    shown = []
    monkeypatch.setattr(
        pictures, 'save_grid_png', lambda path, *both, **options: shown.extend(both)
    )
    assert main(f'{ZCA} --plugins cc', done) == 0
    before, after = (np.asarray(half) for half in shown)
    real = data.load('digits').train.images.reshape(-1, 64) / 255
    for image in before.reshape(-1, 64):  # what distillation starts from are real digits
        assert np.abs(real - image).max(1).min() < 1e-4
    assert after.min() >= 0 and after.max() <= 1
    stored = distilled_set.load_npz(done / 'distilled.npz')[1]['images_uint8']
    np.testing.assert_allclose(after, stored / 255, atol=0.003)


def test_the_set_is_evaluated_by_its_own_whitening(done, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate.parallel, 'start', lambda: None)
    out = tmp_path / 'evaluation.json'
    words = f'{done}/distilled.npz --evaluation.networks convnet --num-devices 1 --output {out}'
    assert evaluate.main(words.split()) == 0
    scored = json.loads(out.read_text())['accuracy']['distilled']['convnet']
    ours = json.loads((done / 'results.json').read_text())['accuracy']['distilled']['convnet']
    assert scored['per_seed'] == pytest.approx(ours['per_seed'], abs=0.05)


def test_it_is_fitted_once_and_its_proxies_are_its_own(main, done, capsys):
    capsys.readouterr()
    assert main(f'{ZCA} --plugins cc', done) == 0
    assert 'covariance' not in capsys.readouterr().out
    plain, white = (jobs.load(parse(f'{words} --plugins cc'.split())) for words in (SMOKE, ZCA))
    pools = [identity.of_pool(job) for job in (plain, white)]
    assert (
        'zca' not in pools[0] and pools[1]['zca'] and pools[0]['checksum'] == pools[1]['checksum']
    )
    assert 'zca' not in identity.of_run(plain)['data'] and identity.of_run(white)['data']['zca']


def test_an_evaluation_is_known_by_the_whitening_of_its_set(done):
    options, given = scoring.parse([str(done / 'distilled.npz')])
    how = given.about['whitening']
    other = how._replace(vectors=-how.vectors)
    changed = given._replace(about={**given.about, 'whitening': other})
    found = [
        evaluate._identity(options, existing.read(options, one), one) for one in (given, changed)
    ]
    assert found[0]['whitening'] != found[1]['whitening']
    assert found[0]['zca'] == found[1]['zca'] == whitening.identity(how)


def test_networks_are_those_of_the_training_half(done):
    job = jobs.load(parse(ZCA.split()))
    dataset = data.load('digits')
    other = dataset._replace(test=dataset.test._replace(images=255 - dataset.test.images))
    white = data.whitened(other, job.dataset.whitening)
    changed = job._replace(dataset=white, spec=white.spec)
    assert identity.of_data(changed) == identity.of_data(job)
    assert identity.of_real(changed) != identity.of_real(job)


@pytest.mark.parametrize(
    'words, said',
    [
        (f'{ZCA} --data.mean 0.5', 'data.mean must be left alone: --data.zca whitens instead'),
        (f'{ZCA} --data.feed stream', "data.feed must be 'device': whitened images lie in memory"),
        (f'{ZCA} --data.lazy True', 'data.lazy must be left alone'),
        (f'{ZCA} --evaluation.strategy padded-crop-flip', 'pads with black'),
        (
            f'{ZCA} --teachers.networks convnet_bn --teachers.weights x.pth',
            'teachers.weights must be left alone: such networks were trained on images that are '
            'not whitened',
        ),
        (
            'idc --dataset digits --ipc 1 --smoke --data.zca',
            'data.zca must be left alone: idc keeps pixels within [0, 1]',
        ),
        ('sre2l --dataset digits --ipc 1 --smoke --data.zca', 'sre2l keeps pixels within [0, 1]'),
    ],
)
def test_what_does_not_go_with_it_is_refused(refused, words, said):
    assert said in refused(words)
