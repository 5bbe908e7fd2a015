"""The page of a release: its table, its terms, and code that runs as it stands."""

import re

import numpy as np
import pytest

from jaxdd.reporting import release
from jaxdd.reporting.release import Line
from jaxdd.storage import distilled_set
from jaxdd.types import SyntheticSet

ENTRY = {
    'dataset': 'cifar10',
    'method': 'dm',
    'plugins': ['cc'],
    'ipc': 10,
    'seed': 0,
    'steps': 20000,
    'bytes': {'images': 1228800, 'labels': 2000},
    'labels': 'hard',
    'protocol': 'dsa-1000 v1',
    'accuracy': {
        'network': 'convnet',
        'student': 'convnet, depth 3',
        'mean': 0.51234,
        'std': 0.004,
        'seeds': 5,
    },
    'commit': '1234567',
    'licence': 'none stated',
    'bibtex': ['@a{x}'],
}


def line(name='one', forms=('npz',), **changes):
    return Line(name, {**ENTRY, **changes}, 'abcdef012345' + '6' * 52, forms)


def test_a_line_per_set():
    printed = release.table([line(), line('two', ipc=10000)]).splitlines()
    assert len(printed) == 4  # header, rule, two sets
    assert len({line.index('abcdef012345') for line in printed[2:]}) == 1
    assert printed[2].split('  ')[0] == 'one' and 'DM + CC' in printed[2]
    for text in ('20,000', '1,228,800', '2,000', 'dsa-1000 v1', '51.23 ± 0.40', 'abcdef012345'):
        assert text in printed[2]
    assert '66' not in printed[2] and '10,000' in printed[3]


def test_the_page_names_terms_and_papers_once():
    page = release.page(
        [
            line(bibtex=['@a{x}', '@b{y}']),
            line('two', forms=('npz', 'hub', 'mtt'), bibtex=['@b{y}']),
            line('three', dataset='digits', licence='CC BY'),
        ]
    )
    assert page.count('- cifar10: none stated\n') == 1 and page.count('- digits: CC BY\n') == 1
    assert '```bibtex\n@a{x}\n\n@b{y}\n```' in page
    assert 'In other forms, too: two (hub, mtt).' in page
    assert "load_dataset('two/hub'" in page and "np.load('one/distilled.npz')" in page
    assert 'What to cite' not in release.page([line(bibtex=[])])


@pytest.mark.parametrize(
    'labels, words',
    [
        ('static', 'one, two learn from the logits in `labels.npz`'),
        ('replayed', 'one, two learn from the labels in `replay.npz`'),
        ('dynamic', "one, two ask the set's teachers"),
        ('stored', 'one, two read a store of labels'),
    ],
)
def test_the_page_says_which_sets_do_not_suffice(labels, words):
    page = release.page([line(labels=labels), line('two', labels=labels), line('three')])
    assert f'The students of {words}' in page
    assert 'The students of' not in release.page([line()])


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    pytest.importorskip('torch')
    pytest.importorskip('datasets')
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 1)).astype(np.float32)
    labels = np.repeat(np.eye(2, dtype=np.float32)[:, None], 3, axis=1)
    distilled_set.save_npz(
        tmp_path / 'one' / 'distilled.npz',
        SyntheticSet(images, labels),  # pyright: ignore
        mean=(0.5,),
        std=(0.2,),
        class_names=('cat', 'dog'),
        info={},
    )
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r'```python\n(.*?)```', release.page([line()]), re.DOTALL)
    found = []
    for block in blocks:
        found.append(names := {})
        exec(compile(block, 'README.md', 'exec'), names)
    in_torch, in_datasets, in_jaxdd = found
    image, label = in_torch['train'][4]
    np.testing.assert_array_equal(image.numpy(), images[1, 1].transpose(2, 0, 1))
    assert label.tolist() == [0, 1]
    train = in_datasets['train']
    levels = in_jaxdd['about']['images_uint8'].reshape(6, 4, 5, 1)
    assert train['label'][:] == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(np.asarray(train[4]['image']), levels[4])
    np.testing.assert_array_equal(in_jaxdd['synthetic'].images, images)
