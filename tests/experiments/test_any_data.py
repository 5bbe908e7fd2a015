"""Any small data set through any method:
it runs, runs again to the same numbers, and is evaluated; or it is refused."""

import json
import random

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate
from jaxdd import parallel
from jaxdd.engine import loop

METHODS = ('dm', 'dc', 'dsa', 'idm', 'idc', 'sre2l', 'infer')
FAST = '--evaluation.num-seeds 1 --evaluation.epochs 1 --evaluation.width 4'


def drawn(rng):
    """A data set: images and labels of both halves, between 1 and 6 classes of 1 to 30 images."""
    classes, channels = rng.randint(1, 6), rng.choice([1, 3])
    height = rng.randint(8, 24)
    shape = (height, rng.choice([height, height, rng.randint(8, 24)]), channels)
    noise, arrays = np.random.default_rng(rng.randrange(2**32)), {}
    for half in ('train', 'test'):
        labels = np.repeat(np.arange(classes), [rng.randint(1, 30) for _ in range(classes)])
        arrays[f'{half}_images'] = (
            30 * labels[:, None, None, None] + noise.integers(0, 100, (len(labels), *shape))
        ).astype('uint8')
        arrays[f'{half}_labels'] = labels
    return arrays


def written(arrays, rng, tmp_path):
    """The data set as a file, with or without names of its classes, or as a folder."""
    kind = rng.choice(['file', 'named', 'folder'])
    names = [f'class {c}' for c in range(arrays['train_labels'].max() + 1)]
    if kind != 'folder':
        np.savez(
            tmp_path / 'mine.npz',
            **arrays,
            **({'class_names': np.array(names)} if kind == 'named' else {}),
        )
        return tmp_path / 'mine.npz'
    for half in ('train', 'test'):
        for i, (image, label) in enumerate(zip(arrays[f'{half}_images'], arrays[f'{half}_labels'])):
            path = tmp_path / 'mine' / half / names[label].replace(' ', '-') / f'{i:03}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(path)
    return tmp_path / 'mine'


def command(method, rng):
    """A random command, without its data set."""
    words = [
        method,
        '--smoke',
        FAST,
        f'--ipc {rng.choice([1, 2, 3])}',
        f'--data.per-class {rng.choice([1, 4, 64])}',
    ]
    plugins = [name for name in ('cc', 'cm', 'cmi') if rng.random() < 0.4]
    words += [f'--plugins {" ".join(plugins)}'] * bool(plugins)
    if method in ('sre2l', 'infer'):
        return [
            *words,
            '--teachers.networks convnet_bn --evaluation.networks convnet_bn --recover.part 3',
            rng.choice(['', '--evaluation.labels static', '--evaluation.labels hard']),
        ]
    words += [
        rng.choice(['', '--data.sampling representative', '--data.feed stream', '--init noise'])
    ]
    return [*words, '--training.every 2 --training.epochs 1'] if method in ('dc', 'dsa') else words


def accuracy(path):
    return json.loads(path.read_text())['accuracy']['distilled']


def check(seed, method, main, tmp_path, capsys, monkeypatch):
    rng, trained, run = random.Random(seed), [], loop.run
    monkeypatch.setattr(parallel, 'start', lambda: None)
    monkeypatch.setattr(
        loop, 'run', lambda *args, **options: trained.append(1) or run(*args, **options)
    )
    data = written(drawn(rng), rng, tmp_path)
    words, work = ' '.join((*command(method, rng), f'--dataset {data}')), tmp_path / 'work'
    code = main(words, work)
    printed = capsys.readouterr()
    assert 'Traceback' not in printed.err and code in (0, 2), words
    if code == 2:
        assert not trained and printed.err.startswith('error: '), (
            f'refused after training: {words}: {printed.err}'
        )
        return printed.err
    found = accuracy(work / 'results.json')
    assert main(words, work) == 0 and accuracy(work / 'results.json') == found, words
    (network,) = found
    code = evaluate.main(
        [str(work / 'distilled.npz'), '--num-devices', '1', '--evaluation.networks', network]
    )
    error = capsys.readouterr().err
    if code == 2:
        assert 'labels need the teachers' in error, (words, error)
    else:
        assert accuracy(work / 'evaluation.json') == found, words
    return 'done'


@pytest.mark.parametrize(
    'seed, method',
    [
        pytest.param(0, 'dm', marks=pytest.mark.long),
        pytest.param(1, 'sre2l', marks=pytest.mark.long),
    ],
)
def test_a_random_data_set(seed, method, main, tmp_path, capsys, monkeypatch):
    assert check(seed, method, main, tmp_path, capsys, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize('seed', range(2, 37))
def test_many_random_data_sets(seed, main, tmp_path, capsys, monkeypatch):
    assert check(seed, METHODS[seed % len(METHODS)], main, tmp_path, capsys, monkeypatch)
