"""t-SNE of features: the same plane again, classes apart, and a picture of it."""

import numpy as np
import pytest
from PIL import Image

from jaxdd.reporting import embedding

RNG = np.random.default_rng(0)
REAL = [20 * k + RNG.normal(size=(12, 5)) for k in range(2)]
SYNTHETIC = [20 * k + RNG.normal(size=(n, 5)) for k, n in enumerate((2, 3))]


@pytest.fixture(scope='module')
def plane():
    return embedding.embed(REAL, SYNTHETIC)


def test_every_image_has_a_place_of_its_class(plane):
    real, synthetic = plane
    assert [part.shape for part in real] == [(12, 2), (12, 2)]
    assert [part.shape for part in synthetic] == [(2, 2), (3, 2)]
    centres = np.array([part.mean(axis=0) for part in real])
    for number, part in enumerate(synthetic):  # clusters that lie far apart stay apart
        distances = np.linalg.norm(part[:, None] - centres[None], axis=-1)
        assert (distances.argmin(axis=1) == number).all()


def test_the_same_features_give_the_same_plane(plane):
    again = embedding.embed(REAL, SYNTHETIC)
    for first, second in zip(sum(plane, []), sum(again, [])):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    'real, synthetic, message',
    [
        ([np.zeros((2, 3))], [np.zeros((1, 3))], 'at least 4 images, got 3'),
        ([np.full((4, 3), np.nan)], [np.zeros((1, 3))], 'finite features'),
    ],
)
def test_what_cannot_be_laid_out_is_refused(real, synthetic, message):
    with pytest.raises(ValueError, match=message):
        embedding.embed(real, synthetic)


def test_the_picture_has_clear_ground_and_every_colour(plane, tmp_path):
    path = tmp_path / 'embedding.png'
    embedding.embedding_png(path, *plane, class_names=['$a$', '猫'])
    with Image.open(path) as image:
        pixels = np.asarray(image.convert('RGBA'))
    assert pixels[0, 0, 3] == 0 and min(pixels.shape[:2]) > 300
    seen = {tuple(pixel) for pixel in pixels[pixels[..., 3] == 255][:, :3].tolist()}
    for colour in embedding._COLOURS[:2]:
        assert tuple(bytes.fromhex(colour[1:])) in seen


@pytest.mark.parametrize('name, shown', [('cat', 'cat'), ('$x$', r'\$x\$'), ('猫', '3')])
def test_names_are_written_where_letters_are_there(name, shown):
    assert embedding._name(name, 3) == shown
