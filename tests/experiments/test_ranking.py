"""A distilled set goes to another Python as files, and its percents come back as scores."""

import json
import os
import pathlib
import stat
import sys
import types

import numpy as np
import pytest

from experiments import ranking, ranking_worker
from experiments.stages import asking
from jaxdd import data
from jaxdd.storage import distilled_set
from jaxdd.types import SyntheticSet

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
# In the place of an environment: it has the package, and answers what the task's arrays say.
PYTHON = """#!{python}
import json, os, sys
import numpy as np
if sys.argv[2] == '-c':
    sys.exit({code})
assert os.path.isfile(sys.argv[2]), sys.argv
task = json.load(open(sys.argv[-1]))
images, labels = np.load(task['images']), np.load(task['labels'])
assert images.shape == (20, 3, 32, 32) and images.dtype == np.float32, images.shape
print('learning rate', task['learning_rate'], 'full', task['full'], task['ipc'])
if {fails}:
    sys.exit('RuntimeError: out of ideas')
row = {{'hlr': [task['full'] - 50, task['full'] - 40], 'ior': [10.0, float(labels.max())]}}
scored = dict.fromkeys(task['augmentations'], row)
json.dump({{'versions': {{'ddranking': '0.2.0'}}, 'scored': scored}}, open(task['output'], 'w'))
"""


def write(path, *, names=None, soft=False, rate=None, **config):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(10, 2, 32, 32, 3)).astype(np.float32)
    labels = np.tile(np.eye(10, dtype=np.float32)[:, None], (1, 2, 1))
    labels = np.full_like(labels, 0.1) if soft else labels
    made = {'method': 'dm', 'dataset': 'cifar10', 'ipc': 1, 'data': {}, **config}
    distilled_set.save_npz(
        path,
        SyntheticSet(images, labels, rate),
        mean=MEAN,
        std=STD,
        class_names=names or data.spec('cifar10').class_names,
        info={'config': made},
    )
    return path


@pytest.fixture
def call(tmp_path, capsys):
    """call(words, ...) -> (exit code, printed, errors), with a stand-in for the other Python."""

    def run(words='', *, code=0, fails=False, there=True, **made):
        path = write(tmp_path / 'distilled.npz', **made)
        python = tmp_path / 'python'
        python.write_text(PYTHON.format(python=sys.executable, code=code, fails=fails))
        python.chmod(python.stat().st_mode | stat.S_IEXEC)
        if there:
            (tmp_path / 'cifar-10-batches-py').mkdir(exist_ok=True)
        given = ['--python', str(python), '--data', str(tmp_path), '--evaluations', '2']
        found = ranking.main([str(path), *given, *words.split()])
        printed = capsys.readouterr()
        return found, printed.out, printed.err

    return run


def test_a_set_is_scored_in_fractions(call, tmp_path):
    code, printed, _ = call('--full-accuracy 0.8 --epochs 2')
    assert code == 0
    found = json.loads((tmp_path / 'ranking.json').read_text())
    assert found['accuracy']['dsa'] == {
        'best_of/distilled': pytest.approx([0.5, 0.4]),
        'best_of/random': pytest.approx([0.4, 0.31]),
    }
    assert found['ior'] == pytest.approx([0.1, 0.09]) and found['hlr'] == pytest.approx([0.3, 0.4])
    # a = 0.05 - 0.15 = -0.1: (0.904837 - 0.367879) / 2.350402
    assert found['lrs'][0] == pytest.approx(0.228454, abs=1e-6)
    # b = 0.1: (1.105171 - 0.367879) / 2.350402
    assert found['ars'][0] == pytest.approx(0.313688, abs=1e-6)
    assert (found['ipc'], found['images']) == (1, 20)
    assert 'NO NUMBER OF ITS BOARD: epochs 2 (the package: 300); evaluations 2' in printed
    assert 'learning rate None full 80.0 1' in (tmp_path / 'ranking.log').read_text()


@pytest.mark.parametrize(
    'called', ['bin/python', './bin/python', '~/bin/python', 'python-with-ddranking']
)
def test_a_python_may_be_called_as_a_shell_calls_it(call, tmp_path, monkeypatch, called):
    """It is started in another folder, through the link that makes it that environment's."""
    call()
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'python').symlink_to(tmp_path / 'python')
    (tmp_path / 'bin' / 'python-with-ddranking').symlink_to(tmp_path / 'python')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}')
    assert call(f'--python {called}')[0] == 0
    assert asking.interpreter(called) == str(tmp_path / 'bin' / pathlib.Path(called).name)


def test_a_workdir_stands_for_its_set(call, tmp_path):
    call()
    (tmp_path / 'ranking.json').unlink()
    given = ['--python', str(tmp_path / 'python'), '--data', str(tmp_path), '--evaluations', '2']
    assert ranking.main([str(tmp_path), *given]) == 0
    assert (tmp_path / 'ranking.json').exists()


def test_what_nobody_told_is_not_scored(call, tmp_path):
    code, printed, _ = call('--no-ars', rate=np.float32(0.25))
    found = json.loads((tmp_path / 'ranking.json').read_text())
    assert code == 0 and 'ior' in found and not {'hlr', 'lrs', 'ars'} & set(found)
    assert 'HLR' not in printed and found['learning_rate'] == 0.25
    assert list(found['accuracy']) == ['dsa']


def test_of_the_whole_set_nothing_is_known_and_accuracies_are():
    # the worker's HLR is then 0 - accuracy
    found = ranking.combined({'cutmix': {'hlr': [-45.0], 'ior': [-5.0]}}, 'cutmix', None)
    assert found == {
        'accuracy': {
            'cutmix': {
                'best_of/distilled': [pytest.approx(0.45)],
                'best_of/random': [pytest.approx(0.5)],
            }
        },
        'ior': [pytest.approx(-0.05)],
    }


def test_images_are_normalised_by_the_packages_constants(tmp_path):
    path = write(tmp_path / 'a.npz')
    found = asking.read(str(path)).images
    own = distilled_set.load_npz(path)[0].images
    assert found.shape == (own.shape[0] * own.shape[1], 3, *own.shape[2:4])
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # by the package's source
    pixels = found * np.float32(std)[:, None, None] + np.float32(mean)[:, None, None]
    expected = (own * np.float32(STD) + np.float32(MEAN)).reshape(-1, *own.shape[2:])
    np.testing.assert_allclose(pixels, expected.transpose(0, 3, 1, 2), atol=1e-6)


def test_classes_come_in_the_data_sets_order(tmp_path):
    plain = asking.read(str(write(tmp_path / 'a.npz')))
    names = data.spec('cifar10').class_names[::-1]
    turned = asking.read(str(write(tmp_path / 'b.npz', names=names)))
    np.testing.assert_array_equal(plain.labels, np.repeat(np.arange(10), 2))
    np.testing.assert_array_equal(
        turned.images, plain.images.reshape(10, 2, -1)[::-1].reshape(plain.images.shape)
    )


@pytest.mark.parametrize(
    'words, made, message',
    [
        ('', {'dataset': 'digits'}, 'dataset must be cifar10 or cifar100'),
        ('', {'data': {'classes': [1, 2]}}, 'data.classes must be left alone'),
        ('', {'data': 3}, 'info.config is not the configuration of a run (info.config.data: '),
        ('', {'dataset': ['cifar10']}, 'info.config.dataset: '),
        ('', {'soft': True}, 'labels must be hard'),
        ('', {'code': 1}, 'has no ddranking: make an environment of its own'),
        ('', {'there': False}, 'cifar-10-batches-py does not exist'),
        ('', {'fails': True}, 'ends with\nlearning rate None full 0.0 1\nRuntimeError: out of'),
        ('--full-accuracy 85', {}, 'full_accuracy must be a fraction'),
        ('--epochs 0', {}, 'epochs must be at least 1'),
        ('--learning-rate -1', {}, 'learning_rate must be above 0'),
        ('--python nowhere/python', {}, 'nowhere/python cannot be run'),
        ('--evaluations 3', {}, 'must give 3 finite numbers for hlr (dsa)'),
    ],
)
def test_wrong_input_is_refused_in_words(call, tmp_path, words, made, message):
    code, _, error = call(words, **made)
    assert code == 2 and message in error and 'Traceback' not in error
    assert not (tmp_path / 'ranking.json').exists()


def test_the_budget_of_the_board():
    words = ['set.npz', '--python', 'python', '--data', 'folder']
    assert ranking.reduced(ranking.parse(words)) == []
    smoke = ranking.parse([*words, '--epochs', '3', '--evaluations', '1', '--unverified-data'])
    assert len(ranking.reduced(smoke)) == 3


def test_the_packages_saver_and_cache_are_replaced(monkeypatch, tmp_path):
    """A package of the same names, whose saver dies as that of 0.2.0 does."""
    asked = {}
    fake = types.ModuleType('ddranking.metrics.hard_label')

    class Evaluator:
        test_interval = 10

        def __init__(self, **options):
            asked.update(options)

        def compute_metrics(self, image_tensor, hard_labels, syn_lr):
            asked.update(images=image_tensor, rate=syn_lr, interval=self.test_interval)
            full = fake.REAL_DATA_ACC_CACHE['CIFAR10-ConvNet-3']
            row = {'hard_label_recovery': [full - 50], 'improvement_over_random': [np.float64(2)]}
            fake.save_results({**row, 'lrs': [1, 1]}, 'nowhere/scores.csv')

    fake.LabelRobustScoreHard, fake.REAL_DATA_ACC_CACHE, fake.save_results = Evaluator, {}, None
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(ranking_worker.importlib, 'import_module', sys.modules.__getitem__)
    task = {
        **{'dataset': 'CIFAR10', 'data': 'folder', 'model': 'ConvNet-3', 'ipc': 1, 'epochs': 3},
        **{'evaluations': 1, 'learning_rate': 0.1, 'full': 80.0, 'device': 'cpu'},
    }
    found = ranking_worker._score(task, 'dsa', 'images', 'labels')
    assert found == {'hlr': [30.0], 'ior': [2.0]}
    assert (asked['images'], asked['rate'], asked['interval']) == ('images', 0.1, 3)
    assert asked['aug_params']['crop'] == 0.125 and asked['step_size'] == 1
