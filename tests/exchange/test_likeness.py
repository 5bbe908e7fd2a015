"""What a path looks like is told by names alone, and never opened."""

import pytest

from jaxdd.exchange import likeness, registry


def put(folder, name):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'')
    return path


@pytest.mark.parametrize(
    'name, form, whole',
    [
        ('distilled.npz', 'npz', False),
        ('quantised.npz', 'quantised-8bit', False),
        ('images_best.pt', 'mtt', True),
        ('lr_best.pt', 'datm', True),
        ('images.pt', 'ddranking', True),
        ('res_DM_CIFAR10_ConvNet_10ipc.pt', 'dc', False),
        ('data.pt', 'idc', False),
        ('mine.pt', 'dc', False),
        ('train.parquet', 'hub', True),
        ('data/train-0.parquet', 'hub', True),
        ('dataset_info.json', 'tfds', True),
    ],
)
def test_a_file_looks_like_the_form_that_calls_it_so(tmp_path, name, form, whole):
    """Whoever gives one file of a folder that is read whole is led to the folder."""
    path = put(tmp_path, name)
    found, around = likeness.of(path), likeness.of(tmp_path)
    assert found is not None and found.forms[0] == form
    assert found.path == (tmp_path if whole else path)
    assert around == (tmp_path, found.forms)


@pytest.mark.parametrize(
    'name, form',
    [
        ('new003/class003_id000.jpg', 'sre2l'),
        ('00012/class00012_id00001.jpg', 'rded'),
        ('cat/00000.png', 'imagefolder'),
        ('cat/00000.jpg', 'imagefolder'),
    ],
)
def test_pictures_are_a_set_by_their_folder_and_alone_none(tmp_path, name, form):
    path = put(tmp_path, name)
    assert likeness.of(path) is None and likeness.of(tmp_path) == (tmp_path, (form,))


def test_a_folder_of_runs_is_none_of_pictures(tmp_path):
    for name in ('set-0/grid.png', 'set-0/distilled.npz', 'set-1/grid.png'):
        put(tmp_path, name)
    assert likeness.of(tmp_path) == (tmp_path, ('npz',))


def test_what_looks_like_nothing(tmp_path):
    nothing = [put(tmp_path, name) for name in ('results.json', 'mine.npz', 'checkpoints/5/a')]
    assert all(likeness.of(path) is None for path in (*nothing, tmp_path, tmp_path / 'nowhere.pt'))


def test_a_finished_run_looks_like_ours_whatever_lies_beside_it(tmp_path):
    for name in ('distilled.npz', 'grid.png', 'mtt/images_best.pt', 'images/a.png'):
        put(tmp_path, name)
    assert likeness.of(tmp_path) == (tmp_path, ('npz',))


def test_every_form_is_known():
    patterns = likeness.PATTERNS + likeness.PICTURES
    assert {form for _, forms in patterns for form in forms} == set(registry.FORMS)
    assert set(likeness.OF_FOLDERS) < set(registry.FORMS)
