"""Reading folders of images."""

import numpy as np
import pytest
from PIL import Image

from jaxdd import data


def flat(value, height=4, width=4):
    """One image of a single colour."""
    return np.full((height, width, 3), value, np.uint8)


def two_classes(held_out='test'):
    """Files of two classes, three training and two test images."""
    return {
        'train/b/1.png': flat(10),
        'train/a/2.png': flat(20),
        'train/a/1.PNG': flat(30),
        f'{held_out}/a/x.png': flat(40),
        f'{held_out}/b/x.png': flat(50),
    }


@pytest.mark.parametrize('held_out', ['test', 'val'])
def test_labels_follow_the_sorted_class_names(image_folder, held_out):
    read = data.read_folder(image_folder(two_classes(held_out)))
    assert read.class_names == ('a', 'b')
    np.testing.assert_array_equal(read.train.images[:, 0, 0, 0], [30, 20, 10])
    np.testing.assert_array_equal(read.train.labels, [0, 0, 1])
    np.testing.assert_array_equal(read.test.images[:, 0, 0, 0], [40, 50])
    assert read.train.images.shape == (3, 4, 4, 3) and read.train.images.dtype == np.uint8
    assert read.train.labels.dtype == np.int32


def test_other_files_and_hidden_folders_are_left_alone(image_folder):
    root = image_folder(
        two_classes() | {'train/.cache/1.png': flat(1), 'train/a/.hidden.png': flat(1)}
    )
    (root / 'train' / 'a' / 'notes.txt').write_text('not an image')
    assert data.read_folder(root).train.images.shape[0] == 3


def test_grey_and_palette_images_become_rgb(image_folder):
    root = image_folder(two_classes() | {'train/a/3.png': np.full((4, 4), 7, np.uint8)})
    Image.fromarray(flat(9)).convert('P').save(root / 'train' / 'a' / '4.png')
    images = data.read_folder(root).train.images
    np.testing.assert_array_equal(images[2], flat(7))
    assert images.shape == (5, 4, 4, 3)


def test_tiny_imagenet_layout(image_folder):
    files = {
        f'train/{name}/images/{name}_{i}.JPEG': flat(value + i)
        for value, name in ((10, 'n02'), (20, 'n01'))
        for i in (0, 1)
    }
    files |= {f'val/images/val_{i}.JPEG': flat(30 + i) for i in range(3)}
    root = image_folder(files)
    (root / 'val' / 'val_annotations.txt').write_text(
        'val_0.JPEG\tn02\t0\t0\t3\t3\nval_2.JPEG\tn02\t0\t0\t3\t3\nval_1.JPEG\tn01\t0\t0\t3\t3\n'
    )
    (root / 'test' / 'images').mkdir(parents=True)  # the archive's unlabelled test images
    read = data.read_folder(root)
    assert read.class_names == ('n01', 'n02')
    np.testing.assert_array_equal(read.train.images[:, 0, 0, 0], [20, 21, 10, 11])
    np.testing.assert_array_equal(read.test.images[:, 0, 0, 0], [30, 32, 31])
    np.testing.assert_array_equal(read.test.labels, [1, 1, 0])


def test_annotations_without_a_class_are_refused(image_folder):
    root = image_folder(two_classes('val'))
    (root / 'val' / 'val_annotations.txt').write_text('val_0.JPEG a\n')
    with pytest.raises(
        ValueError, match="annotations.txt: entry 1 is 'val_0.JPEG a'; expected a file name"
    ):
        data.read_folder(root)
    (root / 'val' / 'val_annotations.txt').write_bytes(b'val_0.JPEG\t\xff\n')
    with pytest.raises(ValueError, match='val_annotations.txt: cannot be read as text'):
        data.read_folder(root)


def test_annotated_file_that_is_missing_is_named(image_folder):
    root = image_folder(two_classes('val'))
    (root / 'val' / 'val_annotations.txt').write_text('v0.png\ta\nv1.png\tb\n')
    with pytest.raises(ValueError, match=r'val/images/v0.png: cannot be read'):
        data.read_folder(root)


def test_image_size_resizes_the_shorter_side_and_crops_the_centre(image_folder):
    wide = flat(0, 8, 16)
    wide[:, 4:12] = 200  # exactly the central square
    read = data.read_folder(image_folder(two_classes() | {'train/a/wide.png': wide}), image_size=4)
    assert read.train.images.shape == (4, 4, 4, 3)
    assert (read.train.images[2, :, 1:3] == 200).all() and read.train.images[2].min() > 150
    np.testing.assert_array_equal(read.train.images[0], flat(30))


@pytest.mark.parametrize('height,width', [(5, 7), (7, 5), (3, 100), (4, 4), (1, 1)])
def test_image_size_gives_squares_of_any_image(image_folder, height, width):
    root = image_folder(two_classes() | {'test/a/odd.png': flat(90, height, width)})
    images = data.read_folder(root, image_size=4).test.images
    assert images.shape == (3, 4, 4, 3) and (images[0] == 90).all()


def test_different_sizes_ask_for_image_size(image_folder):
    root = image_folder(two_classes() | {'test/b/y.png': flat(1, 5, 6)})
    with pytest.raises(
        ValueError, match=r'test/b/y.png is 6x5 pixels, but .* is 4x4; pass image_size'
    ):
        data.read_folder(root)


def test_image_size_below_one_is_refused(image_folder):
    with pytest.raises(ValueError, match='image_size must be at least 1 pixel, got 0'):
        data.read_folder(image_folder(two_classes()), image_size=0)


@pytest.mark.parametrize('content', [b'not an image', b''])
def test_unreadable_image_is_named(image_folder, content):
    root = image_folder(two_classes())
    (root / 'train' / 'a' / 'bad.jpg').write_bytes(content)
    with pytest.raises(ValueError, match=r'train/a/bad.jpg: cannot be read as an image'):
        data.read_folder(root)


def test_truncated_image_is_named(image_folder):
    root = image_folder(two_classes())
    file = root / 'train' / 'b' / '1.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        file
    )
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r'train/b/1.png: cannot be read as an image'):
        data.read_folder(root)


def test_sixteen_bit_image_is_refused_rather_than_clipped(image_folder):
    root = image_folder(two_classes())
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(root / 'train' / 'a' / 'deep.png')
    with pytest.raises(ValueError, match=r'deep.png: .*more than 8 bits per channel'):
        data.read_folder(root)


def test_other_test_classes_are_named(image_folder):
    root = image_folder(
        {
            'train/a/1.png': flat(1),
            'train/b/1.png': flat(1),
            'train/c/1.png': flat(1),
            'val/a/1.png': flat(1),
            'val/dog/1.png': flat(1),
        }
    )
    with pytest.raises(ValueError, match='missing: b, c; not in train: dog'):
        data.read_folder(root)


def test_empty_class_is_named(image_folder):
    root = image_folder(two_classes())
    (root / 'train' / 'c').mkdir()
    (root / 'test' / 'c').mkdir()
    with pytest.raises(ValueError, match="train/c: class 'c' has no images"):
        data.read_folder(root)


def test_a_folder_without_the_layout_says_what_is_expected(image_folder, tmp_path):
    with pytest.raises(ValueError, match='no folder named train; expected train/<class>'):
        data.read_folder(tmp_path)
    (tmp_path / 'train').mkdir()
    with pytest.raises(ValueError, match='train: no class folders; expected train/<class>'):
        data.read_folder(tmp_path)
    with pytest.raises(ValueError, match='no folder named test or val'):
        data.read_folder(image_folder({'train/a/1.png': flat(1)}))
