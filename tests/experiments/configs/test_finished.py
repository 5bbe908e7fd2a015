"""A set is found where a user points to, and what is none says how it becomes one."""

import pathlib

import pytest

from experiments import convert
from experiments.configs import finished


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'')
    return folder


def test_a_workdir_stands_for_its_set(tmp_path, monkeypatch):
    put(tmp_path, 'dm/distilled.npz', 'other.npz')
    monkeypatch.setenv('HOME', str(tmp_path))
    whole = str(tmp_path / 'dm' / 'distilled.npz')
    for path in (str(tmp_path / 'dm'), whole, '~/dm', '~/dm/distilled.npz'):
        assert finished.distilled(path) == whole
    for path in (tmp_path / 'other.npz', tmp_path / 'nowhere.npz'):
        assert finished.distilled(str(path)) == str(path)


@pytest.mark.parametrize(
    'names, path, said',
    [
        (['res_DM.pt'], 'res_DM.pt', 'convert {}/res_DM.pt --source dc --dataset NAME --space'),
        (['images_best.pt'], 'images_best.pt', 'convert {} --source mtt --dataset NAME --space'),
        (['data/train-0.parquet'], '.', 'convert {} --source hub --output FOLDER'),
        (['quantised.npz'], 'quantised.npz', 'quantised-8bit or quantised-4bit or quantised-2bit'),
        (['checkpoints/5/x'], '.', 'distilled.npz is not there; a run writes it when it ends'),
        (
            [f'set-{i}/{name}' for i in range(5) for name in ('distilled.npz', 'grid.png')],
            '.',
            'not in {0} but in its folders: give {0}/set-0 {0}/set-1 {0}/set-2 ...',
        ),
    ],
)
def test_what_is_no_set_of_ours_says_how_it_becomes_one(tmp_path, names, path, said):
    put(tmp_path, *names)
    with pytest.raises(ValueError) as error:
        finished.distilled(str(tmp_path / path))
    assert said.format(tmp_path) in str(error.value)


def test_a_form_that_nobody_named_is_no_damage(tmp_path, capsys):
    put(tmp_path, 'images_best.pt', 'labels_best.pt')
    words = [str(tmp_path / 'images_best.pt'), '--output', str(tmp_path / 'new')]
    assert convert.main(words) == 2
    assert f'experiments.convert {tmp_path} --source mtt' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_a_file_is_no_workdir(tmp_path):
    put(tmp_path, 'results.json')
    with pytest.raises(ValueError, match='results.json is no folder: give the workdir'):
        finished.require(pathlib.Path(tmp_path / 'results.json'), ('results.json',))
    finished.require(tmp_path, ('results.json',))
