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
        ('train.parquet', 'hub', False),
        ('new003/class003_id000.jpg', 'sre2l', False),
        ('00012/class00012_id00001.jpg', 'rded', False),
        ('cat/00000.png', 'imagefolder', False),
    ],
)
def test_a_file_looks_like_the_form_that_calls_it_so(tmp_path, name, form, whole):
    """Whoever gives one file of a folder that is read whole is led to the folder."""
    path = put(tmp_path, name)
    found, around = likeness.of(path), likeness.of(tmp_path)
    assert found is not None and found.forms[0] == form
    assert found.path == (tmp_path if whole else path)
    assert around == (tmp_path, found.forms)


def test_what_looks_like_nothing(tmp_path):
    nothing = [put(tmp_path, name) for name in ('results.json', 'mine.npz', 'checkpoints/5/a')]
    assert all(likeness.of(path) is None for path in (*nothing, tmp_path, tmp_path / 'nowhere.pt'))


def test_a_finished_run_looks_like_ours_whatever_lies_beside_it(tmp_path):
    for name in ('distilled.npz', 'grid.png', 'mtt/images_best.pt', 'images/a.png'):
        put(tmp_path, name)
    assert likeness.of(tmp_path) == (tmp_path, ('npz',))


def test_every_form_is_known():
    assert {form for _, forms in likeness.PATTERNS for form in forms} == set(registry.FORMS)
    assert set(likeness.OF_FOLDERS) < set(registry.FORMS)
