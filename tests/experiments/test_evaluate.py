"""A distilled set scored on several architectures, by its own command."""
import dataclasses
import json
import shutil

import numpy as np
import pytest

from experiments import evaluate
from experiments.configs import presets
from jaxdd import export, parallel
from jaxdd.types import Accuracy, SyntheticSet

WORDS = '--evaluation.networks mlp lenet --evaluation.epochs 1 --evaluation.num-seeds 2 --evaluation.width 4'


@pytest.fixture
def call(monkeypatch, capsys):
    """call(words) -> (exit code, printed, errors) in this process, on one device."""
    monkeypatch.setattr(parallel, 'start', lambda: None)

    def run(path, words=''):
        code = evaluate.main([str(path), '--num-devices', '1', *words.split()])
        printed = capsys.readouterr()
        return code, printed.out, printed.err
    return run


def write(path, dataset='fake', mean=(0.3056,), std=(0.376,), num_classes=10, side=8):
    images = np.random.default_rng(0).normal(size=(num_classes, 4, side, side, 1)).astype(np.float32)
    labels = np.tile(np.eye(num_classes, dtype=np.float32)[:, None], (1, 4, 1))
    info = {'config': {'method': 'idm', 'plugins': ['cc'], 'dataset': 'digits', 'ipc': 1, 'data': {'data_dir': None},
                       'evaluation': dataclasses.asdict(presets.protocol('quick'))}}
    export.save_npz(path, SyntheticSet(images, labels), mean=mean, std=std, info=info, stored=images[:, :1],
                    class_names=list('0123456789')[:num_classes])
    return path


@pytest.fixture
def distilled(tmp_path):
    return write(tmp_path / 'distilled.npz')


@pytest.mark.long
def test_every_architecture_is_scored_and_the_largest_drop_is_named(call, tmp_path):
    path = write(tmp_path / 'distilled.npz')
    words = WORDS.replace('mlp lenet', 'mlp convnet') + ' --random'
    code, printed, _ = call(path, words)
    assert code == 0
    found = json.loads((tmp_path / 'evaluation.json').read_text())
    assert {kind: list(scores) for kind, scores in found['accuracy'].items()} == {
        'distilled': ['mlp', 'convnet'], 'random': ['mlp', 'convnet']}
    for scores in found['accuracy'].values():
        assert all(len(row['per_seed']) == 2 and 0 <= row['mean'] <= 1 for row in scores.values())
    assert found['protocol']['name'] == 'quick-1' and found['learning_rates'] == {'mlp': 0.01, 'convnet': 0.01}
    assert 'IDM + CC' in printed and 'largest drop from mlp: ' in printed

    stamp = (tmp_path / 'evaluation.json').read_text()
    assert call(path, words)[0] == 0    # nothing left to train
    assert (tmp_path / 'evaluation.json').read_text() == stamp


def test_the_protocol_of_the_set_is_the_default(distilled):
    options, synthetic, about = evaluate.parse([str(distilled)])
    assert (options.evaluation.protocol, options.evaluation.epochs) == ('quick', 100)
    assert options.evaluation.networks == evaluate.CROSS and options.dataset == 'digits'
    assert about['stored'].shape[1] == 1 and synthetic.images.shape[1] == 4
    assert evaluate.parse([str(distilled), '--evaluation.protocol', 'dc'])[0].evaluation.strategy == 'none'


def test_the_largest_drop():
    scores = {name: Accuracy(mean, 0.0, (mean,)) for name, mean in (('a', 0.5), ('b', 0.52), ('c', 0.411))}
    assert evaluate.drop(scores, ('a', 'b', 'c')) == 'largest drop from a: 8.90 points (c, 41.10 %)'
    assert evaluate.drop(scores, ('b',)).startswith('one architecture')


def test_another_protocol_does_not_overwrite_the_scores(call, distilled):
    shutil.copy(distilled, distilled.parent / 'copy.npz')
    (distilled.parent / 'evaluation.json').write_text(json.dumps({'identity': 'other', 'accuracy': {}}))
    code, _, error = call(distilled, WORDS.replace('mlp lenet', 'mlp'))
    assert code == 2 and 'holds another evaluation' in error and '--output' in error


@pytest.mark.parametrize('made, message', [
    ({'mean': (0.5,)}, 'normalised by mean'), ({'num_classes': 9}, '9 classes'), ({'side': 6}, r'(6, 6, 1)')])
def test_a_set_of_other_data_is_refused(call, tmp_path, made, message):
    code, _, error = call(write(tmp_path / 'distilled.npz', **made), WORDS.replace('mlp lenet', 'mlp'))
    assert code == 2 and message in error and '--dataset' in error


@pytest.mark.parametrize('words, message', [
    ('--evaluation.networks vgg11', 'VGG is too deep for images of side 8'),
    ('--evaluation.epochs -1', 'evaluation.epochs must be at least 0'),
    ('--evaluation.networks convnet convnet', 'names that differ'), ('--evaluation.networks vgg', "unknown")])
def test_wrong_input_is_refused_in_one_line(call, distilled, words, message):
    code, _, error = call(distilled, words)
    assert code == 2 and message in error and 'Traceback' not in error


def test_a_student_that_diverges_is_reported_in_one_line(call, distilled):
    words = WORDS.replace('mlp lenet', 'mlp').replace('epochs 1', 'epochs 5')
    code, _, error = call(distilled, f'{words} --evaluation.learning-rate 1e30')
    assert code == 2 and error.splitlines()[-1].startswith('error: ') and 'Traceback' not in error
    assert 'loss/train is nan at step' in error
    assert not (distilled.parent / 'evaluation.json').exists()


def test_a_missing_file(call, tmp_path):
    code, _, error = call(tmp_path / 'nothing.npz')
    assert code == 2 and 'does not exist' in error
    assert evaluate.main([]) == 2
