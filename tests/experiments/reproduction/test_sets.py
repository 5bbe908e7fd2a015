"""The sets that come with the library are as they were packed, and the ledger tells of them."""

import json
import pathlib

import pytest

from experiments import catalogue
from experiments.reproduction import page
from jaxdd import parallel
from jaxdd.exchange import catalogue as files
from jaxdd.storage import distilled_set

FOLDER = page.PAGE.parent / 'sets'
RECORDS = page.PAGE.parent / 'results'
NAMES = tuple(files.load(FOLDER).sets)


def texts(value):
    """Every text in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


def results(name):
    return json.loads((FOLDER / name / 'results.json').read_text())


def test_every_file_is_as_it_was_packed(monkeypatch, capsys):
    monkeypatch.setattr(parallel, 'start', lambda: None)
    assert catalogue.main(['check', str(FOLDER)]) == 0
    assert f'{len(NAMES)} sets, 0 wrong' in capsys.readouterr().out


@pytest.mark.parametrize('name', NAMES)
def test_a_set_has_the_accuracies_that_the_ledger_shows(name):
    own = results(name)
    of = '-'.join((own['method'], *own['plugins']))
    shown = json.loads(
        (RECORDS / f'{own["dataset"]}-ipc{own["ipc"]}-{of}-coresets.json').read_text()
    )
    assert own['accuracy'] == shown['accuracy'] and own['steps'] == shown['steps']


@pytest.mark.parametrize('name', NAMES)
def test_a_set_names_no_folder_of_the_machine_that_made_it(name):
    made = distilled_set.load_npz(FOLDER / name / 'distilled.npz')[1]['info']
    told = texts(made) + texts(results(name))
    assert told and not [text for text in told if pathlib.Path(text).is_absolute()]
