import pytest

from jaxdd.storage.atomic import expanded, write_whole


def test_it_writes_and_replaces_and_makes_parents(tmp_path):
    path = tmp_path / 'deep' / 'file.txt'
    write_whole(path, b'one')
    write_whole(path, b'two')
    assert path.read_bytes() == b'two' and [p.name for p in path.parent.iterdir()] == ['file.txt']


def test_a_failure_leaves_the_older_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / 'file.txt'
    write_whole(path, b'one')
    monkeypatch.setattr(
        'jaxdd.storage.atomic.os.replace',
        lambda *_: (_ for _ in ()).throw(OSError(28, 'No space left')),
    )
    with pytest.raises(OSError, match=rf'No space left: .*{path.name}'):
        write_whole(path, b'two')
    assert path.read_bytes() == b'one' and [p.name for p in tmp_path.iterdir()] == ['file.txt']


def test_a_home_that_nobody_knows_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert expanded('~/runs') == tmp_path / 'runs' and str(expanded('runs/x')) == 'runs/x'
    with pytest.raises(
        ValueError, match='~no-such-user/runs: no home folder of that name is known'
    ):
        expanded('~no-such-user/runs')
