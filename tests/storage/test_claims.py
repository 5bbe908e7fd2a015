"""A folder of numbered results belongs to one configuration."""

import pytest

from jaxdd.storage import claims

CONFIG = {'method': 'dm', 'ipc': 2}


def test_an_empty_folder_is_anybodys_and_is_made(tmp_path):
    claims.claim(tmp_path / 'new', CONFIG)
    claims.claim(tmp_path / 'new', {**CONFIG, 'ipc': 3})
    assert claims.stored_steps(tmp_path / 'new') == []


def test_results_make_it_one_configurations(tmp_path):
    claims.claim(tmp_path, CONFIG)
    (tmp_path / '10').mkdir()
    claims.claim(tmp_path, dict(reversed(CONFIG.items())))
    with pytest.raises(ValueError, match='another configuration.*\n  ipc: stored 2, now 3'):
        claims.claim(tmp_path, {**CONFIG, 'ipc': 3})


def test_only_whole_results_are_counted(tmp_path):
    for name in ('10', '5', '7.orbax-checkpoint-tmp', 'unreadable-3', '.12.new-1'):
        (tmp_path / name).mkdir()
    assert sorted(claims.stored_steps(tmp_path)) == [5, 10]
    assert claims.stored_steps(tmp_path / 'not there') == []


def test_results_of_nobody_are_refused(tmp_path):
    (tmp_path / '10').mkdir()
    with pytest.raises(ValueError, match='checkpoints but no config.json'):
        claims.claim(tmp_path, CONFIG)


def test_a_damaged_name_is_set_aside_and_written_anew(tmp_path):
    claims.claim(tmp_path, CONFIG)
    (tmp_path / '10').mkdir()
    path = tmp_path / 'config.json'
    path.write_text(path.read_text().replace('"ipc": 2', '"ipc": 9'))
    with pytest.warns(UserWarning, match='config.json'):
        claims.claim(tmp_path, CONFIG)
    claims.claim(tmp_path, CONFIG)  # it is whole again
    assert (tmp_path / 'config.json.damaged').exists()
