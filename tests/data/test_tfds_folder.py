"""A small labelled set as a folder of TensorFlow Datasets, there and back."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxdd.data import tfds_folder
from jaxdd.data.tfds_folder import Description, Examples


def png(level):
    content = io.BytesIO()
    Image.fromarray(np.full((2, 2, 3), level, np.uint8)).save(content, 'PNG')
    return content.getvalue()


EXAMPLES = Examples(
    [png(level) for level in (10, 20, 30)],
    np.array([0, 1, 1]),
    {'pixels': np.arange(36, dtype=np.float32).reshape(3, 2, 2, 3)},
)
DESCRIPTION = Description(['a b', 'ä'], {'recipe': {'x': 1}}, 'a text', '@a{b}')


def write(folder, description=DESCRIPTION):
    for name, content in tfds_folder.tfds_files(EXAMPLES, (2, 2, 3), description).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_everything_comes_back(tmp_path):
    examples, description = tfds_folder.read_tfds(write(tmp_path))
    assert list(examples.labels) == [0, 1, 1]
    assert [np.asarray(Image.open(io.BytesIO(one)))[0, 0, 0] for one in examples.pictures] == [
        10,
        20,
        30,
    ]
    np.testing.assert_array_equal(examples.tensors['pixels'], EXAMPLES.tensors['pixels'])
    assert list(description.class_names or ()) == ['a b', 'ä']
    assert description.metadata['recipe'] == {'x': 1}


def test_names_that_do_not_fit_on_a_line_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'a.nb' does not fit on one"):
        write(tmp_path, DESCRIPTION._replace(class_names=['a\nb', 'c']))


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        tfds_folder.read_tfds(tmp_path)
