"""The folder of a catalogue: names, digests, what is not as it was, and copies that replace it."""

import hashlib
import shutil
import subprocess

import pytest

from jaxdd.exchange import catalogue
from jaxdd.exchange.catalogue import Catalogue
from jaxdd.storage import records

ENTRY = {
    'dataset': 'cifar10',
    'method': 'dm',
    'plugins': ['cc', 'cm'],
    'ipc': 10,
    'seed': 0,
    'steps': 20000,
    'bytes': {'images': 1228800, 'labels': 0},
    'labels': 'hard',
    'protocol': 'dsa-1000 v1',
    'accuracy': {'network': 'convnet', 'student': 'x', 'mean': 0.5, 'std': 0.0, 'seeds': 1},
    'commit': 'abc',
    'licence': 'none stated',
    'bibtex': [],
}
NAME = 'cifar10-dm-cc-cm-ipc10-seed0'


@pytest.fixture
def packed(tmp_path):
    """A catalogue of one set, and its content; the files are text."""
    folder = tmp_path / 'sets'
    texts = {f'{NAME}/distilled.npz': 'abc', f'{NAME}/results.json': '', 'README.md': 'page'}
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    files = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in texts.items()}
    content = Catalogue({NAME: ENTRY}, files)
    catalogue.save(folder, content)
    return folder, content


@pytest.mark.parametrize(
    'changes, name',
    [
        ({}, NAME),
        ({'plugins': []}, 'cifar10-dm-ipc10-seed0'),
        ({'dataset': '../my set', 'ipc': 1, 'seed': 12}, '_my_set-dm-cc-cm-ipc1-seed12'),
        ({'dataset': 'größe', 'plugins': []}, 'gr_e-dm-ipc10-seed0'),
        ({'dataset': '..', 'plugins': []}, '_-dm-ipc10-seed0'),
    ],
)
def test_names(changes, name):
    assert catalogue.name_of({**ENTRY, **changes}) == name
    assert '/' not in name and not name.startswith('.')


def test_a_label_ends_a_name_and_another_seed_is_none():
    assert catalogue.fits(NAME, ENTRY) and catalogue.fits(f'{NAME}-long', ENTRY)
    assert not catalogue.fits(f'{NAME}1', ENTRY) and not catalogue.fits('cifar10-dm', ENTRY)


def test_what_is_saved_is_loaded(packed):
    folder, content = packed
    assert catalogue.load(folder) == content and catalogue.faults(folder, content) == {}
    assert catalogue.forms_of(content, NAME) == ('npz',)
    more = {f'{NAME}/{path}': '' for path in ('mtt/a.pt', 'hub/data/x', 'hub/y', 'labels.npz')}
    other = {f'{NAME}-b/rded/x': ''}
    found = content._replace(files={**content.files, **more, **other})
    assert catalogue.forms_of(found, NAME) == ('npz', 'hub', 'mtt')


def test_the_digest_of_three_letters(packed):
    # of 'abc', from the standard FIPS 180-2
    known = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    assert catalogue.digest(packed[0] / NAME / 'distilled.npz') == known
    assert f'{known}  {NAME}/distilled.npz\n' in (packed[0] / 'SHA256SUMS').read_text()


@pytest.mark.skipif(not shutil.which('sha256sum'), reason='needs sha256sum')
def test_sha256sum_reads_the_sums_of_any_name(tmp_path):
    names = ('plain', 'back\\slash', 'line\nbreak', 'two  spaces')
    for name in names:
        (tmp_path / name).write_text(name)
    files = {name: catalogue.digest(tmp_path / name) for name in names}
    catalogue.save(tmp_path, Catalogue({}, files))
    words = ['sha256sum', '--check', '--strict', '--quiet', 'SHA256SUMS']
    assert subprocess.run(words, cwd=tmp_path).returncode == 0
    (tmp_path / names[2]).write_text('other')
    assert subprocess.run(words, cwd=tmp_path, capture_output=True).returncode == 1


def spoil_a_byte(folder):
    (folder / NAME / 'distilled.npz').write_text('abd')


def rename(folder):
    (folder / NAME).rename(folder / 'other')


@pytest.mark.parametrize(
    'act, expected',
    [
        (spoil_a_byte, {f'{NAME}/distilled.npz': 'changed'}),
        (lambda f: (f / NAME / 'results.json').unlink(), {f'{NAME}/results.json': 'missing'}),
        (lambda f: (f / 'x').write_text(''), {'x': 'extra'}),
        (lambda f: (f / 'x').symlink_to('nowhere'), {'x': 'extra'}),
        (lambda f: (f / 'SHA256SUMS').write_text(''), {'SHA256SUMS': 'changed'}),
        (lambda f: (f / 'SHA256SUMS').unlink(), {'SHA256SUMS': 'missing'}),
        (lambda f: (f / 'README.md').write_text('mine'), {'README.md': 'changed'}),
        (
            rename,
            {
                f'{NAME}/distilled.npz': 'missing',
                f'{NAME}/results.json': 'missing',
                'other/distilled.npz': 'extra',
                'other/results.json': 'extra',
            },
        ),
        (lambda f: (f / '.git').mkdir() or (f / '.git' / 'HEAD').write_text(''), {}),
        (lambda f: (f / 'empty').mkdir(), {}),
    ],
)
def test_what_is_not_as_it_was(packed, act, expected):
    act(packed[0])
    assert catalogue.faults(*packed) == expected


def test_a_folder_that_is_no_catalogue_is_refused(packed, tmp_path):
    folder, content = packed
    with pytest.raises(ValueError, match='nowhere is no folder'):
        catalogue.load(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match='catalogue.json is not there'):
        catalogue.load(tmp_path)
    text = (folder / 'catalogue.json').read_text()
    (folder / 'catalogue.json').write_text(text.replace('"ipc": 10', '"ipc": 50'))
    with pytest.raises(records.Damaged, match='catalogue.json is damaged'):
        catalogue.load(folder)
    for changes, words in (
        ({'sets': {NAME: {**ENTRY, 'ipc': 0}}}, 'ipc'),
        ({'files': {'README.md': 'abc'}}, 'files.README.md'),
        ({'files': {}}, f'the set {NAME} without its distilled.npz'),
    ):
        catalogue.save(folder, content._replace(**changes))
        with pytest.raises(records.Damaged, match=words):
            catalogue.load(folder)


def test_a_copy_takes_the_place_of_a_folder_only_if_all_goes_well(tmp_path):
    folder = tmp_path / 'sets'
    with catalogue.replacing(folder) as copy:
        (copy / 'a').write_text('1')
        assert not folder.exists()
    with pytest.raises(KeyError), catalogue.replacing(folder) as copy:
        (copy / 'a').write_text('2')
        raise KeyError
    assert (folder / 'a').read_text() == '1'
    with catalogue.replacing(folder) as copy:
        assert (copy / 'a').read_text() == '1'
        (copy / 'a').write_text('3')
        assert (folder / 'a').read_text() == '1'
    assert (folder / 'a').read_text() == '3' and [p.name for p in tmp_path.iterdir()] == ['sets']


def test_a_killed_replacement_is_undone(tmp_path):
    folder = tmp_path / 'sets'
    for name in ('.sets.old', '.sets.new'):  # between the two renames
        (tmp_path / name).mkdir()
        (tmp_path / name / 'a').write_text(name)
    catalogue.restore(folder)
    assert (folder / 'a').read_text() == '.sets.old'
    assert [path.name for path in tmp_path.iterdir()] == ['sets']


def test_a_folder_that_cannot_be_put_in_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    folder = tmp_path / 'sets'
    folder.mkdir()
    (folder / 'a').write_text('1')
    plain = catalogue.os.replace

    def full(source, target):
        if source.name == '.sets.new':
            raise OSError(28, 'no space left')
        plain(source, target)

    monkeypatch.setattr(catalogue.os, 'replace', full)
    with pytest.raises(OSError, match='no space'), catalogue.replacing(folder) as copy:
        (copy / 'a').write_text('2')
    assert (folder / 'a').read_text() == '1' and [p.name for p in tmp_path.iterdir()] == ['sets']
