"""The ledger page is what its records say: now and after a change. Damaged ones are refused."""

import json
import re
import shutil

import pytest

from experiments.reproduction import ledger, page, tasks
from experiments.reproduction.ledger import Ledger
from jaxdd.storage import records

FOLDER = page.PAGE.parent
TEXT = page.PAGE.read_text()
CELL = 'cifar10-dm-10-reduced.json'
RUN = 'cifar10-ipc10-dm.json'
EMPTY = '**No cell was run at its published budget yet.**'
ACCURACY = re.compile(r'\d+\.\d+ ± \d+\.\d+')


@pytest.fixture
def folder(tmp_path):
    """A copy of the committed page and records."""
    shutil.copytree(FOLDER / 'results', tmp_path / 'results')
    shutil.copy(page.PAGE, tmp_path)
    return tmp_path


def content(path):
    found = json.loads(path.read_text())
    found.pop('checksum', None)
    return found


def lines(text):
    return set(text.splitlines())


def accuracies(record):
    return record['ours'] if 'ours' in record else record['accuracy']['distilled']['convnet']


def seal(path, record):
    """Saves a record; one whose checksum was kept apart brings its own now."""
    records.save(path, record)
    apart = content(path.parent / page.UNSEALED)['checksums']
    apart.pop(path.name, None)
    records.save(path.parent / page.UNSEALED, {'checksums': apart})


def test_the_committed_page_is_what_the_records_say():
    assert page.written(TEXT, FOLDER) == TEXT, 'run `python -m experiments.reproduction.page`'


def test_tables_are_made_of_the_records_alone():
    bare = page.TABLE.sub(rf'\1{page.END}', TEXT)
    assert len(lines(TEXT) - lines(bare)) > 40 and '± 0.' in TEXT
    assert page.written(bare, FOLDER) == TEXT


@pytest.mark.parametrize(
    'name, row, old, new', [(CELL, 'cifar10/dm/10', '38.4', '38.9'), (RUN, 'DM', '45.64', '38.90')]
)
def test_a_changed_record_changes_its_row_alone(name, row, old, new, folder):
    changed = content(folder / 'results' / name)
    accuracies(changed)['mean'] = 0.389
    seal(folder / 'results' / name, changed)
    text = page.written(TEXT, folder)
    [before], [after] = lines(TEXT) - lines(text), lines(text) - lines(TEXT)
    assert before.startswith(f'| [{row}](results/{name})') and f'| {old} ±' in before
    assert after == before.replace(f'| {old} ±', f'| {new} ±')


@pytest.mark.parametrize('name', [CELL, RUN, 'cifar10-proxies-reduced.json', page.UNSEALED])
def test_a_changed_digit_is_refused_and_the_file_stays(name, folder):
    path = folder / 'results' / name
    damaged = re.sub(r'\d(?=\D*$)', lambda digit: str((int(digit[0]) + 1) % 10), path.read_text())
    path.write_text(damaged)
    with pytest.raises(records.Damaged, match=name):
        page.written(TEXT, folder)
    assert path.read_text() == damaged


def test_a_run_without_any_checksum_is_refused(folder):
    records.save(folder / 'results' / page.UNSEALED, {'checksums': {}})
    with pytest.raises(records.Damaged, match='carries no checksum'):
        page.written(TEXT, folder)


def test_a_finished_cell_appears_by_itself(folder):
    [task] = tasks.choose(['cifar10/dm/50'], 'published')
    record = {
        **content(folder / 'results' / CELL),
        'cell': task.name,
        'budget': 'published',
        'seconds': 9000,
        'command': ' '.join(('python -m experiments.run', *task.words)),
    }
    where = Ledger(folder, 'published')
    for other in tasks.tasks('published').values():
        ledger.path(where, other).unlink(missing_ok=True)
    empty, path = page.written(TEXT, folder), ledger.path(where, task)
    records.save(path, record)
    text = page.written(TEXT, folder)
    assert EMPTY in empty and EMPTY not in text and '1 of 229 cells in 2.5 h.' in text
    start = f'| [cifar10/dm/50](results/{path.name})'
    [row] = [line for line in text.splitlines() if line.startswith(start)]
    assert '| 63.0 ± 0.4 | 38.4 ± 0.4 | 26.5 ± 0.1 | 100 |' in row and row.endswith('| 2.5 h |')


@pytest.mark.parametrize('name', ['cifar10-dm-10.json', 'cifar10-dm-50-reduced.json'])
def test_a_record_under_the_name_of_another_is_refused(name, folder):
    shutil.copy(folder / 'results' / CELL, folder / 'results' / name)
    with pytest.raises(records.Damaged, match=name):
        page.written(TEXT, folder)


def test_every_record_stands_on_the_page():
    kept = {path.name for path in (FOLDER / 'results').glob('*.json')}
    speed = {name for name in kept if name.startswith('benchmark-')}
    linked = set(re.findall(r'\]\(results/([^)]+\.json)\)', TEXT))
    assert linked == kept - speed - {page.UNSEALED}


@pytest.mark.parametrize('path', sorted((FOLDER / 'results').glob('*.json')), ids=lambda p: p.name)
def test_no_record_names_a_folder_of_its_machine(path):
    assert page.machine_folders(path.read_text()) == []


@pytest.fixture
def run_elsewhere(tmp_path):
    """A results.json as a run leaves it, on a machine of its own."""
    record = content(FOLDER / 'results' / 'cifar10-ipc1-mtt.json')
    record['config'] |= {'workdir': '/home/me/mtt', 'cache_dir': '/scratch/cache'}
    record['config']['data']['data_dir'] = '/data/sets'
    record['command'] = 'run mtt --workdir /home/me/mtt --data.data-dir=/data/sets'
    records.save(tmp_path / 'results.json', record)
    return tmp_path / 'results.json'


def test_a_run_is_taken_in_without_its_folders(run_elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(page, 'PAGE', tmp_path / 'README.md')
    before = json.loads(run_elsewhere.read_text())
    assert len(page.machine_folders(run_elsewhere.read_text())) == 5
    page.add(run_elsewhere, 'mine')
    kept = records.load(tmp_path / 'results' / 'mine.json', page.RUN)
    assert kept['command'] == 'run mtt --workdir runs/mine --data.data-dir=DATA_DIR'
    assert kept['config']['cache_dir'] == '~/.cache/jaxdd'
    assert kept['accuracy'] == before['accuracy'] and kept['bibtex'] == before['bibtex']


def test_a_run_that_names_another_folder_is_refused(run_elsewhere, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(page, 'PAGE', tmp_path / 'README.md')
    record = content(run_elsewhere)
    record['config']['experts']['folder'] = '/home/me/experts'
    records.save(run_elsewhere, record)
    assert page.main(['--add', str(run_elsewhere), 'mine']) == 2
    assert 'names /home/me/experts, a folder of the machine' in capsys.readouterr().err
    assert not (tmp_path / 'results').exists()


def test_the_first_pages_numbers_stand_on_the_ledger_too():
    first = (FOLDER.parent / 'README.md').read_text()
    results = first.partition('## Results')[2].partition('\n## ')[0]
    found = set(ACCURACY.findall(results))
    assert len(found) > 10 and found <= set(ACCURACY.findall(TEXT))


def test_rows_have_as_many_entries_as_their_headers():
    tables = re.findall(r'(?:^\|.*\|\n)+', TEXT, re.MULTILINE)
    assert len(tables) >= 5
    for table in tables:
        assert len({row.count('|') for row in table.splitlines()}) == 1


@pytest.mark.parametrize(
    'text, message',
    [
        ('<!-- cells reduced -->\n', 'needs one <!-- end -->'),
        ('<!-- cells reduced -->\n<!-- runs\na B\n-->\n<!-- end -->', 'needs one <!-- end -->'),
        ('<!-- end -->', 'needs one <!-- end -->'),
        (
            '<!-- cells small -->\n<!-- end -->',
            '`cells small` must name a budget: published, reduced',
        ),
        ('<!-- runs -->\n<!-- end -->', 'names no record'),
        ('<!-- runs\nmissing DM\n-->\n<!-- end -->', 'missing.json'),
        (f'<!-- runs\n{CELL[:-5]} DM\n-->\n<!-- end -->', "'method' is a required property"),
    ],
)
def test_wrong_markers_are_refused(text, message):
    with pytest.raises((ValueError, OSError), match=message):
        page.written(text, FOLDER)


def test_the_command_writes_the_page(folder, monkeypatch, capsys):
    monkeypatch.setattr(page, 'PAGE', folder / 'README.md')
    page.PAGE.write_text(TEXT.replace('38.4 ± 0.4', '48.9 ± 0.4'))
    assert page.main([]) == 0 and page.PAGE.read_text() == TEXT
    (folder / 'results' / RUN).write_text('{}')
    assert page.main([]) == 2 and page.PAGE.read_text() == TEXT
    assert capsys.readouterr().err.startswith(f'error: {folder / "results" / RUN} is damaged')


CURVES = {
    'method': 'dm',
    'plugins': [],
    'dataset': 'digits',
    'ipc': 2,
    'hardware': '2 x cpu',
    'protocol': {'name': 'dsa-60'},
    'seen': [5, 10],
    'orders': [[0], [1]],
    'config': {'workdir': '/home/me/c', 'cache_dir': '/c', 'data': {'data_dir': None}},
    'command': 'continual dm --workdir /home/me/c',
    'accuracy': {
        'distilled': [[[0.5], [0.4]], [[0.7], [0.6]]],
        'random': [[[0.25], [0.25]], [[0.25], [0.25]]],
    },
}


def test_curves_are_a_row_per_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(page, 'PAGE', tmp_path / 'README.md')
    records.save(tmp_path / 'results.json', CURVES)
    page.add(tmp_path / 'results.json', 'mine')
    found = page.written(f'<!-- curves\nmine DM\n-->\n{page.END}', tmp_path)
    assert (
        '| [DM](results/mine.json) | 60.00 ± 10.00 | 50.00 ± 10.00 | 2 x 1 | dsa-60 | 2 x cpu |'
        in found
    )
    assert '| random real images | 25.00 ± 0.00 | 25.00 ± 0.00 |' in found
    assert '/home' not in (tmp_path / 'results' / 'mine.json').read_text()
    with pytest.raises(ValueError, match='other.json, which is not there'):
        page.written(f'<!-- curves\nother DM\n-->\n{page.END}', tmp_path)
