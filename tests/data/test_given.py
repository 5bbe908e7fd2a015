"""Images that a user gives."""

import numpy as np
import pytest
from PIL import Image

from jaxdd import data

SPEC = data.spec('cifar10')._replace(
    num_classes=2, class_names=('cat', 'dog'), image_shape=(4, 4, 3)
)


@pytest.fixture
def folder(tmp_path):
    def write(counts, size=(4, 4)):
        for level, (name, count) in enumerate(counts.items()):
            (tmp_path / 'mine' / name).mkdir(parents=True)
            for i in range(count):
                grey = np.full((*size, 3), 40 * level + 10 * i, np.uint8)
                Image.fromarray(grey).save(tmp_path / 'mine' / name / f'{i}.png')
        return tmp_path / 'mine'

    return write


def levels(found):
    return (data.denormalise(SPEC, found.images) * 255).round()[..., 0, 0, 0]


def test_the_first_images_of_every_class_in_the_order_of_their_names(folder):
    found = data.given_subset(folder({'dog': 3, 'cat': 2}, size=(8, 12)), SPEC, ipc=2)
    assert found.images.shape == (2, 2, 4, 4, 3)
    # cats, which were written second, come first: as the data set names them
    np.testing.assert_allclose(levels(found), [[40, 50], [0, 10]])
    np.testing.assert_array_equal(found.labels.argmax(-1), [[0, 0], [1, 1]])


def test_arrays(tmp_path):
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    np.savez(tmp_path / 'a.npz', images=images, labels=np.array([1, 0, 1, 0]))
    found = data.given_subset(tmp_path / 'a.npz', SPEC, ipc=2)
    np.testing.assert_allclose(levels(found), [[1, 3], [0, 2]])


@pytest.mark.parametrize(
    'counts, message',
    [
        ({'dog': 3, 'cat': 1}, '2 images per class are needed, and class cat has 1'),
        ({'dog': 3}, '1 classes, cifar10 has 2; missing: cat; more: none'),
        ({'dog': 3, 'cat': 2, 'emu': 1}, 'missing: none; more: emu'),
    ],
)
def test_folders_that_do_not_fit(folder, counts, message):
    with pytest.raises(ValueError, match=message):
        data.given_subset(folder(counts), SPEC, ipc=2)


def test_files_that_do_not_fit(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    np.savez(tmp_path / 'a.npz', images=images)
    with pytest.raises(ValueError, match='it lacks labels; give an .npz file with images'):
        data.given_subset(tmp_path / 'a.npz', SPEC, ipc=1)
    np.savez(tmp_path / 'b.npz', images=images[:, :2], labels=np.arange(2))
    with pytest.raises(ValueError, match=r'images are \(2, 4, 3\), those of cifar10 are \(4, 4, 3'):
        data.given_subset(tmp_path / 'b.npz', SPEC, ipc=1)
    with pytest.raises(ValueError, match='no such file or folder'):
        data.given_subset(tmp_path / 'nowhere', SPEC, ipc=1)
    (tmp_path / 'a.pt').write_bytes(b'')
    with pytest.raises(ValueError, match='a.pt: neither an .npz file nor a folder'):
        data.given_subset(tmp_path / 'a.pt', SPEC, ipc=1)
    np.savez(tmp_path / 'c.npz', images=images.astype(np.float32), labels=np.arange(2))
    with pytest.raises(ValueError, match='images must be uint8'):
        data.given_subset(tmp_path / 'c.npz', SPEC, ipc=1)
