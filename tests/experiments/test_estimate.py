"""What a run will need is told before it, and nothing of it is done."""

import re

import pytest

from experiments import run
from jaxdd import parallel

WORDS = '--dataset digits --ipc 2 --smoke --estimate here'.split()
RUNS = {
    'dm': (['dm', '--plugins', 'cc'], ('prepare: 1 proxies', 'distil: dm', 'evaluate: students')),
    'idm': (['idm'], ('distil: idm', 'evaluate: students')),
    'dsa': (
        ['dsa', '--training.every', '2', '--training.epochs', '1'],
        ('distil: dsa', 'evaluate: students'),
    ),
    'sre2l': (['sre2l'], ('prepare: teacher', 'distil: sre2l', 'evaluate: students')),
    'mtt': (['mtt'], ('prepare: 2 experts', 'distil: mtt', 'evaluate: students')),
}


@pytest.mark.parametrize(
    'name', [name if name == 'dm' else pytest.param(name, marks=pytest.mark.long) for name in RUNS]
)
def test_every_stage_is_told_and_nothing_is_written(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(parallel, 'start', lambda: None)  # this process has its devices
    words, heads = RUNS[name]
    folder = tmp_path / 'run'
    assert run.main([*words, *WORDS, '--workdir', str(folder), '--cache-dir', str(folder)]) == 0
    said = capsys.readouterr().out
    for head in heads:
        line = next(line for line in said.splitlines() if line.startswith(head))
        seconds = re.search(r' steps of (\S+) s, compiled in \d+ s: (\d+) s$', line)
        assert seconds and float(seconds[1]) > 0 and float(seconds[2]) >= 0
    assert said.count('MiB of temporaries') == len(heads)
    assert 'in all: ' in said
    assert not folder.exists()


def test_an_unknown_machine_is_refused(capsys):
    assert run.main(['dm', '--dataset', 'digits', '--estimate', 'v9:2x4']) == 2
    assert "unknown target 'v9:2x4'" in capsys.readouterr().err


def test_what_does_not_fit_is_said_with_the_options_that_take_less(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(parallel, 'start', lambda: None)
    monkeypatch.setattr(parallel, 'memory', lambda: 2**20)
    assert run.main(['dm', *WORDS, '--workdir', str(tmp_path / 'run')]) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith('distil: dm'))
    assert re.search(r'does not fit: [\d,]+ MiB on .*, which have 1; smaller with --', line)
    assert 'in all: no time' in said
