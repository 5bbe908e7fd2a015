"""One command writes a set for others, and makes theirs one that is scored here."""

import numpy as np
import pytest

from experiments import convert, evaluate
from jaxdd import parallel
from jaxdd.storage import distilled_set
from tests.experiments.test_evaluate import write

torch = pytest.importorskip('torch')


def run(*words):
    return convert.main([str(word) for word in words])


def test_a_set_of_dc_is_read_and_scored(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(parallel, 'start', lambda: None)  # this process has its devices
    rows = np.random.default_rng(0).normal(size=(20, 1, 8, 8)).astype(np.float32)
    labels = torch.arange(10).repeat_interleave(2)
    torch.save(
        {'data': [[torch.tensor(rows), labels]], 'accs_all_exps': {'ConvNet': [0.5]}},
        tmp_path / 'res.pt',
    )
    how = '--source dc --dataset digits --space normalised'.split()
    assert run(tmp_path / 'res.pt', *how, '--output', tmp_path / 'theirs') == 0
    assert '10 classes of 2 images of 8x8x1, hard labels' in capsys.readouterr().out
    synthetic, about = distilled_set.load_npz(tmp_path / 'theirs' / 'distilled.npz')
    np.testing.assert_array_equal(
        synthetic.images, rows.reshape(10, 2, 1, 8, 8).transpose(0, 1, 3, 4, 2)
    )
    assert about['info']['dataset']['name'] == 'digits' and about['info']['source'] == 'res.pt'
    words = '--evaluation.protocol quick --evaluation.epochs 1 --evaluation.networks mlp'.split()
    assert evaluate.main([str(tmp_path / 'theirs' / 'distilled.npz'), *words]) == 0
    assert 'mlp' in capsys.readouterr().out


def test_a_mosaic_goes_there_and_back(tmp_path):
    rows = np.random.default_rng(0).random((10, 1, 8, 8)).astype(np.float32)
    torch.save([torch.tensor(rows), torch.arange(10)], tmp_path / 'data.pt')
    how = '--source idc --dataset digits --space unit --factor 2'.split()
    assert run(tmp_path / 'data.pt', *how, '--output', tmp_path / 'theirs') == 0
    ours = tmp_path / 'theirs' / 'distilled.npz'
    assert distilled_set.load_npz(ours)[0].images.shape == (10, 4, 8, 8, 1)
    assert run(ours, '--to', 'idc', '--output', tmp_path / 'back') == 0
    images, labels = torch.load(tmp_path / 'back' / 'data.pt', weights_only=True)
    np.testing.assert_array_equal(images.numpy(), rows)
    assert labels.tolist() == list(range(10))


@pytest.mark.parametrize(
    'words, said',
    [
        ('--source dc', 'does not say dataset and space: give --dataset and --space'),
        ('--source dc --dataset digits', 'does not say space: give --space'),
        ('--source dc --dataset digits --space whitened --factor 2', 'mosaics of whitened'),
        ('--source dc --dataset digits --space unit', 'is more than tensors'),
    ],
)
def test_what_is_not_said_is_asked_for(words, said, tmp_path, capsys):
    (tmp_path / 'x.pt').write_bytes(b'no torch file')
    assert run(tmp_path / 'x.pt', *words.split(), '--output', tmp_path / 'out') == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_form_that_would_lose_mosaics_is_refused_and_decoded_is_not(tmp_path, capsys):
    ours = write(tmp_path / 'distilled.npz', dataset='digits')  # mosaics, by a run of before
    assert run(ours, '--to', 'dc', '--output', tmp_path / 'out') == 2
    assert '--decoded' in capsys.readouterr().err and not (tmp_path / 'out').exists()
    assert run(ours, '--to', 'dc', '--decoded', '--output', tmp_path / 'out') == 0
    found = torch.load(tmp_path / 'out' / 'res.pt', weights_only=True)['data'][0][0]
    assert found.shape == (40, 1, 8, 8)


def test_a_quantised_set_needs_nothing_told(tmp_path, capsys):
    ours = write(tmp_path / 'distilled.npz', dataset='digits')
    how = ['--to', 'quantised-4bit', '--decoded']
    assert run(ours, *how, '--output', tmp_path / 'small') == 0
    small = tmp_path / 'small' / 'quantised.npz'
    assert run(small, '--source', 'quantised-4bit', '--output', tmp_path / 'again') == 0
    assert 'hard labels' not in capsys.readouterr().err
    (before, _), (after, about) = (
        distilled_set.load_npz(path) for path in (ours, tmp_path / 'again' / 'distilled.npz')
    )
    wide = np.ptp(np.asarray(before.images), axis=(2, 3, 4), keepdims=True)
    assert (np.abs(before.images - after.images) <= 0.51 * wide / 15).all()
    assert about['info']['quantised']['bits'] == 4
    assert about['info']['config']['method'] == 'idm'  # as the run wrote it
    assert small.stat().st_size < ours.stat().st_size / 4


@pytest.mark.parametrize('form', ['quantised-8bit', 'hub', 'npz'])
def test_what_is_told_of_a_set_that_describes_itself_is_compared(form, tmp_path, capsys):
    pytest.importorskip('pyarrow' if form == 'hub' else 'numpy')
    ours = write(tmp_path / 'distilled.npz', dataset='digits')
    theirs = tmp_path / 'theirs'
    assert run(ours, '--to', form, '--decoded', '--output', theirs) == 0
    again = [theirs, '--source', form, '--output', tmp_path / 'again']
    true = '--dataset digits --space normalised'.split()
    for words, said in (
        (['--space', 'normalised'], 'give --dataset, too, or nothing'),
        ([*true[:3], 'unit'], "space was told to be 'unit', and the file says 'normalised'"),
        ([*true, '--factor', '2'], 'decode was told to be'),
    ):
        assert run(*again, *words) == 2
        assert said in capsys.readouterr().err and not (tmp_path / 'again').exists()
    assert run(*again, *true) == 0
    _, about = distilled_set.load_npz(tmp_path / 'again' / 'distilled.npz')
    assert about['info']['dataset']['name'] == 'digits'
    assert about['info']['config']['method'] == 'idm'


def test_pixels_that_are_clipped_are_told_in_a_sentence(tmp_path, capsys):
    ours = write(tmp_path / 'distilled.npz', dataset='digits')
    assert run(ours, '--to', 'idc', '--decoded', '--output', tmp_path / 'out') == 0
    printed = capsys.readouterr()
    assert 'note: ' in printed.out and 'are clipped, as IDC clips its own' in printed.out
    assert not printed.err


def test_logits_are_no_labels_of_students_that_learn_from_hard_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parallel, 'start', lambda: None)
    ours = write(tmp_path / 'distilled.npz', dataset='digits')
    synthetic, about = distilled_set.load_npz(ours)
    about = {name: value for name, value in about.items() if name != 'images_uint8'}
    logits = synthetic._replace(labels=5 * synthetic.labels - 2)
    distilled_set.save_npz(ours, logits, **about)
    words = '--evaluation.protocol quick --evaluation.epochs 1 --evaluation.networks mlp'.split()
    assert evaluate.main([str(ours), *words]) == 2
    assert "the set's labels are logits" in capsys.readouterr().err
