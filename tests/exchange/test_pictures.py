"""Pictures of a set: grey levels, files, and rows in class order."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxdd.exchange import pictures
from tests.small_sets import MEAN, NAMES, STD, mosaics, plain, told


def test_levels_are_of_what_is_stored_clipped_and_rounded():
    one = mosaics()
    np.testing.assert_array_equal(
        pictures.levels(one), (one.about['stored'] * 255).round().astype(np.uint8)
    )
    outside = plain()
    pixels = outside.synthetic.images * np.float32(STD) + np.float32(MEAN)
    assert pixels.min() < 0 and pixels.max() > 1
    np.testing.assert_array_equal(
        pictures.levels(outside), np.clip(pixels * 255, 0, 255).round().astype(np.uint8)
    )


@pytest.mark.parametrize('channels', [1, 3])
def test_a_png_is_exact(channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, channels), np.uint8)
    content = pictures.encoded(images)
    own = told(mean=MEAN[:channels], std=STD[:channels])
    np.testing.assert_array_equal(pictures.decoded(content, own, 'x'), images)
    assert Image.open(io.BytesIO(content[0])).mode == ('L' if channels == 1 else 'RGB')


def test_colours_are_not_made_grey_silently():
    content = pictures.encoded(np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3))
    with pytest.raises(ValueError, match='x: picture 0.* has colours'):
        pictures.decoded(content, told(mean=MEAN[:1], std=STD[:1]), 'x')


def test_rows_are_put_in_class_order():
    found = pictures.class_rows([2, 0, 1, 0, 2, 1], NAMES, 'x')
    assert found.tolist() == [[1, 3], [2, 5], [0, 4]]
    with pytest.raises(ValueError, match="class 'größe' has 0 images"):
        pictures.class_rows([0, 1], NAMES, 'x')


def test_a_folder_holds_one_set(tmp_path):
    pictures.put(tmp_path / 'set', {'a/0.png': b'x'})
    assert (tmp_path / 'set' / 'a' / '0.png').read_bytes() == b'x'
    with pytest.raises(ValueError, match='holds 1 other files, e.g. a/0.png'):
        pictures.put(tmp_path / 'set', {'b/0.png': b'x'})
    assert not (tmp_path / 'set' / 'b').exists()
