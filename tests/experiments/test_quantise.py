"""A set at fewer bits: what it costs, counted and scored by one command."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import quantise
from experiments.configs import presets
from jaxdd import data, parallel, whitening
from jaxdd.exchange import forms
from jaxdd.exchange.forms import Artifact, Decode, Told
from jaxdd.storage import distilled_set
from jaxdd.types import Accuracy
from tests.small_sets import KINDS, mosaics, plain, whitened

QUICK = '--evaluation.networks mlp --epochs 1 --seeds 2'


def write(folder, ipc=2):
    """Real digits as a distilled set, float32 of grey levels."""
    digits = data.load('digits')
    spec = digits.spec
    chosen = data.real_subset(jax.random.key(0), digits.train, spec, ipc=ipc)
    path = folder / 'distilled.npz'
    info = {
        'config': {
            'dataset': 'digits',
            'evaluation': dataclasses.asdict(presets.protocol('quick')),
        }
    }
    names = spec.class_names or [*'0123456789']
    distilled_set.save_npz(path, chosen, mean=spec.mean, std=spec.std, class_names=names, info=info)
    return path


@pytest.fixture
def call(monkeypatch, capsys):
    """call(path, words) -> (exit code, printed, errors) in this process, on one device."""
    monkeypatch.setattr(parallel, 'start', lambda: None)

    def run(path, words=''):
        code = quantise.main([str(path), '--num-devices', '1', *str(words).split()])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_the_table_has_every_setting_and_its_bytes(call, tmp_path):
    words = f'{QUICK} --bits 2 8 --patch 4 8 --figure {tmp_path}/x.png --json {tmp_path}/x.json'
    code, printed, _ = call(write(tmp_path), words)
    assert code == 0
    assert 'quick-100 v1, changed: num_seeds 2, epochs 1; digits, 2 x mlp' in printed
    kept = json.loads((tmp_path / 'x.json').read_text())
    rows = kept['rows']
    assert kept['student'] == 'mlp'
    # 20 images of 64 values; a patch of 4 makes 4 of an image, one of 8 makes 1, 4 bytes each
    sizes = {(row['bits'], row['patch']): row['images'] for row in rows}
    assert sizes == {
        (32, None): 20 * 64 * 4,
        (8, None): 20 * 64,
        (2, 4): 20 * (16 + 16),
        (8, 4): 20 * (64 + 16),
        (2, 8): 20 * (16 + 4),
        (8, 8): 20 * (64 + 4),
    }
    found = {(row['bits'], row['patch']): row for row in rows}
    assert found[32, None]['largest'] == 0 and found[8, None]['largest'] < 0.01
    assert found[2, 8]['largest'] > 20 > found[2, 4]['mean'] > found[8, 4]['mean'] > 0
    # digits of 17 grey levels lose nothing at 256: the students are the same
    assert found[8, None]['accuracy']['mean'] == pytest.approx(
        found[32, None]['accuracy']['mean'], abs=0.02
    )
    assert all(len(row['accuracy']['per_seed']) == 2 and row['labels'] == 0 for row in rows)
    assert Image.open(tmp_path / 'x.png').format == 'PNG'


@pytest.mark.parametrize(
    'words, said',
    [
        ('--bits 1', 'bits must be an integer from 2 to 8, got 1'),
        ('--bits 4 9', 'bits must be an integer from 2 to 8, got 9'),
        ('--patch 0', 'patch must be an integer from 1'),
        ('--evaluation.networks mlp lenet', 'evaluation.networks must be one network, got mlp'),
        ('--seeds 0', 'evaluation.num_seeds must be at least 1'),
        ('--figure /proc/nothing/x.png', 'the figure /proc/nothing cannot be written'),
    ],
)
def test_what_cannot_be_is_refused_before_anything_trains(words, said, call, tmp_path):
    code, printed, errors = call(write(tmp_path), words)
    assert code == 2 and said in errors and 'students' not in printed


def test_mosaics_that_do_not_say_how_they_are_cut_need_decoded(call, tmp_path):
    path = write(tmp_path, ipc=4)
    synthetic, about = distilled_set.load_npz(path)
    about = {name: value for name, value in about.items() if name != 'images_uint8'}
    kept = np.asarray(synthetic.images)[:, :1]
    distilled_set.save_npz(path, synthetic, **{**about, 'stored': kept})
    code, _, errors = call(path, QUICK)
    assert code == 2 and 'write its decoded images (--decoded)' in errors
    own, _, given = quantise.parse([str(path), '--decoded'])
    whole = forms.decoded(Artifact(given.synthetic, given.about))
    assert own.decoded and next(quantise.ways(whole, [])).num_bytes == 4 * synthetic.images.size


def test_one_network_is_the_default(tmp_path):
    own, options, _ = quantise.parse([str(write(tmp_path)), '--epochs', '3'])
    assert options.evaluation.networks == ('convnet',) and options.evaluation.epochs == 3
    assert options.evaluation.num_seeds == presets.protocol('quick').num_seeds
    assert quantise.settings(own) == [(2, 8), (3, 8), (4, 8), (6, 8), (8, 8)]
    own.bits, own.patch = [4, 4, 2], [8, 4]
    assert quantise.settings(own) == [(4, 8), (2, 8), (4, 4), (2, 4)]


@pytest.mark.parametrize('kind', KINDS)
def test_grey_levels_are_those_of_the_stored_pixels(kind):
    one = KINDS[kind][0]()
    found = quantise.grey(one)
    before, after = (forms.stored_pixels(each)[0] for each in (one, found))
    apart = 255 * np.abs(before.clip(0, 1) - after)
    assert 0 < apart.max() <= 0.5 + 0.01
    np.testing.assert_array_equal(found.synthetic.labels, one.synthetic.labels)
    assert found.synthetic.learning_rate == one.synthetic.learning_rate
    assert ('stored' in found.about) == ('stored' in one.about)


def test_grey_levels_of_whitened_images_are_whitened_again():
    how = whitened().about['whitening']
    found = np.asarray(quantise.grey(whitened()).synthetic.images)
    pixels = 255 * whitening.unwhiten(how, found)
    np.testing.assert_allclose(pixels, pixels.round(), atol=0.01)


@pytest.mark.parametrize('make, values', [(plain, 3 * 2 * 48), (mosaics, 3 * 48)])
def test_what_is_stored_is_counted(make, values):
    found = list(quantise.ways(make(), [(2, 4), (3, 2)]))
    assert [(way.bits, way.patch, way.num_bytes) for way in found] == [
        (32, None, 4 * values),
        (8, None, values),
        (2, 4, values // 4 + 4 * values // 16),
        (3, 2, 3 * values // 8 + 4 * values // 4),
    ]
    assert [way.make().synthetic.images.shape for way in found] == [
        make().synthetic.images.shape
    ] * 4


def test_ratios_are_of_all_bytes():
    score = Accuracy(0.5, 0.01, (0.49, 0.51))
    rows = [
        quantise.Row('float32', 32, None, 800, 200, 0.0, 0.0, score),
        quantise.Row('quantised', 2, 8, 50, 200, 40.123, 9.0, score),
    ]
    lines = quantise.table(rows).splitlines()
    assert lines[3].split() == (
        ['quantised', '2', '8', '50', '200', '250', '4.00x', '40.12', '9.00', '50.00', '±', '1.00']
    )


def test_the_whitening_is_told_beside_the_rows():
    values = whitened().synthetic.images[0, 0].size
    size = 4 * (values * values + 2 * values + 1)  # vectors; mean and variances; eps
    assert quantise.whitening_bytes(whitened()) == size and quantise.whitening_bytes(plain()) == 0
    row = quantise.Row('float32', 32, None, 800, 0, 0.0, 0.0, Accuracy(0.5, 0.01, (0.5,)))
    assert f'counts the whitening: {size:,} bytes' in quantise.table([row], size)
    assert 'whitening' not in quantise.table([row])


def test_the_whitening_of_a_set_reaches_what_is_written(monkeypatch):
    monkeypatch.setattr(quantise.presets, 'identified', lambda e: {})
    options = quantise.Options(distilled='x', dataset='unit')
    assert quantise.record(options, 'convnet', [], 7)['whitening'] == 7
    assert quantise.record(options, 'convnet', [])['whitening'] == 0


def test_soft_labels_are_counted():
    told = Told('unit', ('a', 'b'), (0.5,), (0.5,), Decode(2, 'row', 'unit'))
    one = forms.assemble(np.full((2, 1, 4, 4, 1), 0.5, np.float32), None, told)
    soft = np.full((2, 4, 2), 0.5, np.float32)
    labelled = quantise.labelling.Labelled(
        one.synthetic._replace(labels=soft),  # pyright: ignore
        lambda *_: None,  # pyright: ignore
        7,
    )
    hard = presets.protocol('quick')
    bytes_of = {
        labels: quantise.label_bytes(dataclasses.replace(hard, labels=labels), labelled)
        for labels in ('hard', 'static', 'stored')
    }
    # 16 numbers: 4 bytes each in the set, 2 as float16 logits, or what a store says
    assert bytes_of == {'hard': 64, 'static': 32, 'stored': 7}
