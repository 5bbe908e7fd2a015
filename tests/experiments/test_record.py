"""What a run leaves behind, where it may, and by which commit."""
import pathlib
import subprocess

import pytest

from experiments import record


def test_a_folder_is_made_and_left_empty(tmp_path):
    record.require_writable(tmp_path / 'a' / 'b', 'workdir')
    assert list((tmp_path / 'a' / 'b').iterdir()) == []


def test_a_folder_under_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match=r'the workdir .*file/work cannot be written \(Not a directory\)'):
        record.require_writable(tmp_path / 'file' / 'work', 'workdir')


def test_a_folder_that_refuses_files(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, 'Permission denied', str(dir))
    monkeypatch.setattr(record.tempfile, 'TemporaryFile', refuse)
    with pytest.raises(ValueError, match=r'cannot be written \(Permission denied\); give another with --cache-dir'):
        record.require_writable(tmp_path, 'cache_dir')


def test_the_commit_names_changes(monkeypatch, tmp_path):
    def git(*words):
        subprocess.run(('git', '-c', 'user.name=a', '-c', 'user.email=a@b', *words), cwd=tmp_path, check=True,
                       capture_output=True)
    monkeypatch.setattr(record, '__file__', str(tmp_path / 'record.py'))
    tracked = pathlib.Path(tmp_path / 'tracked')
    tracked.write_text('one')
    git('init')
    git('add', 'tracked')
    git('commit', '-m', 'first')
    clean = record.commit()
    assert len(clean) >= 7 and int(clean, 16) >= 0
    pathlib.Path(tmp_path / 'a-log-beside-it').write_text('')
    assert record.commit() == clean
    tracked.write_text('two')
    assert record.commit() == f'{clean}+changes'


def test_outside_a_checkout_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(record, '__file__', str(tmp_path / 'record.py'))
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    assert record.commit() == 'unknown'
