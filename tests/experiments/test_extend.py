"""A method of one's own is a file on each side and a row; a regularizer is a file and a row.

Both run as the others do.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
METHOD = '''
"""Matches the mean images of classes."""
from jaxdd.networks import fresh
from jaxdd.parametrizations import pixels
from jaxdd.terms import named
from jaxdd.types import Method, Model, Read, Term


def mean_images(model: Model, *, augment) -> Method:
    """Squared distance of the class means of pixels."""
    reads = Read('', 'real'), Read('', 'synthetic')

    def loss(observation, key):
        real, synthetic = (observation.images[read.data, read.view] for read in reads)
        return ((real.mean(1) - synthetic.mean(1)) ** 2).sum(), {}
    return Method(pixels(), named('mean_images', Term(frozenset(reads), loss)), fresh(model), {'encoder': model},
                  augment)
'''  # noqa: E501
COMMAND = '''
"""Matches the mean images of classes."""
from experiments.configs import base, plugins, presets
from experiments.configs.entry import Entry
from experiments.configs.rules import Amount
from experiments.stages import build, matching
from jaxdd.methods.mean_images import mean_images


@base.frozen
class MeanImages(base.Matched):
    """Matches the mean images of classes."""
    boldness: Amount = 0.5
    """A knob of its own."""


def published(dataset='cifar10', ipc=10, names=()):
    made = MeanImages(method='mean_images', dataset=dataset, ipc=ipc, plugins=names, num_steps=60,
                      regularizers=plugins.published('mean_images', dataset, ipc, names))
    return presets.digits(made) if dataset == 'digits' else made


def method(config, dataset):
    return mean_images(build.model(config.encoder, dataset.spec), augment=build.siamese(config.augmentation,
                                                                                       dataset.spec))


ENTRY = MeanImages.entry = Entry(MeanImages, published, build.matched(method), matching.STAGE, build.feed)
'''  # noqa: E501
REGULARIZER = '''
"""Keeps features apart."""
from jaxdd.types import Read, Term


def spread(read=Read('proxy', 'synthetic', 'raw')):
    """The negative variance of features within a class."""
    def loss(observation, key):
        return -observation.outputs[read].features.var(1).mean(), {}
    return Term(frozenset({read}), loss)
'''
WORDS = (
    '--dataset digits --ipc 2 --smoke --num-devices 1 --steps-per-call 1 --evaluation.num-seeds 1 '
    '--plugins spread'
).split()
OWN = [
    'mean_images',
    *WORDS,
    '--num-steps',
    '40',
    '--checkpoint-every',
    '5',
    '--boldness',
    '0.25',
    '--regularizers.spread.weight',
    '3',
]


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """A copy of the tree with a method and a regularizer more."""
    tree = tmp_path_factory.mktemp('tree')
    for name in ('jaxdd', 'experiments'):
        shutil.copytree(
            ROOT / name, tree / name, ignore=shutil.ignore_patterns('__pycache__', 'results')
        )
    (tree / 'jaxdd' / 'methods' / 'mean_images.py').write_text(METHOD)
    (tree / 'experiments' / 'methods' / 'mean_images.py').write_text(COMMAND)
    (tree / 'jaxdd' / 'regularizers' / 'spread.py').write_text(REGULARIZER)
    row(
        tree / 'experiments' / 'methods' / '__init__.py',
        'METHODS: dict[str, Entry] = {',
        'from experiments.methods import mean_images\n',
        "'mean_images': mean_images.ENTRY, ",
    )
    row(
        tree / 'experiments' / 'configs' / 'plugins.py',
        'PLUGINS = {',
        'from jaxdd.regularizers.spread import spread\n',
        "\n    'spread': Plugin(spread, 'Keeps features apart.'),",
    )
    return tree


def row(path, table, imported, added):
    """Adds a row to a table."""
    text = path.read_text()
    assert text.count(table) == 1
    path.write_text(text.replace(table, f'{imported}{table}{added}'))


def start(tree, words):
    environment = {
        **os.environ,
        'JAX_PLATFORMS': 'cpu',
        'PYTHONUNBUFFERED': '1',
        'PYTHONPATH': str(tree),
    }
    return subprocess.Popen(
        [sys.executable, '-m', 'experiments.run', *words, '--cache-dir', str(tree / 'cache')],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, code=0):
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == code, printed
    return printed


def test_both_run_are_stopped_and_continued_and_a_users_weight_is_the_users(tree):
    words = [*OWN, '--workdir', 'stopped']
    process = start(tree, words)
    deadline = time.monotonic() + 240
    while not (tree / 'stopped' / 'checkpoints' / '5').exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 'continuing at step' in finish(start(tree, words))
    results = json.loads((tree / 'stopped' / 'results.json').read_text())
    assert results['weights'] == {'spread': {'value': 3.0, 'source': 'set by the user'}}
    assert results['config']['boldness'] == 0.25 and results['method'] == 'mean_images'
    assert np.isfinite(np.load(tree / 'stopped' / 'distilled.npz')['images']).all()


@pytest.mark.long
def test_the_regularizer_goes_with_every_method(tree):
    for method in ('dm', 'sre2l'):
        finish(start(tree, [method, *WORDS, '--workdir', method]))
        results = json.loads((tree / method / 'results.json').read_text())
        assert results['weights']['spread']['source'] == 'not published: automatic scale'


@pytest.mark.long
def test_continued_it_ends_as_if_it_had_never_been_killed(tree):
    finish(start(tree, [*OWN, '--workdir', 'half', '--num-steps', '20']))
    for name in ('half', 'whole'):
        finish(start(tree, [*OWN, '--workdir', name]))
    np.testing.assert_array_equal(
        *(np.load(tree / name / 'distilled.npz')['images'] for name in ('half', 'whole'))
    )
