"""Reading data sets into memory."""

import numpy as np
import pytest

from jaxdd import checks, data
from jaxdd.data import specs
from jaxdd.data.subsets import SUBSETS


def arrays(**changes):
    """The four arrays of a small valid .npz, some replaced, those that are None left out."""
    rng = np.random.default_rng(0)
    made = {}
    for half, count in (('train', 8), ('test', 4)):
        made[f'{half}_images'] = rng.integers(0, 256, (count, 5, 4, 3), dtype=np.uint8)
        made[f'{half}_labels'] = np.arange(count) % 3
    return {k: v for k, v in (made | changes).items() if v is not None}


@pytest.fixture
def npz(tmp_path):
    """Writes arrays to a file and returns its path."""

    def write(**named):
        np.savez(tmp_path / 'mine.npz', **named)
        return tmp_path / 'mine.npz'

    return write


# digits


def test_digits_split_is_stratified_and_covers_everything():
    from sklearn.datasets import load_digits

    digits, whole = data.load('digits'), load_digits()
    assert digits.train.images.shape == (1437, 8, 8, 1) and digits.test.images.shape == (
        360,
        8,
        8,
        1,
    )
    for source in digits[1:3]:
        checks.labelled_images(*source, 10, where='digits')
        assert source.labels.dtype == np.int32
        share = np.bincount(source.labels) * len(whole.target) / len(source.labels)
        assert np.abs(share - np.bincount(whole.target)).max() < 5
    both = np.concatenate([s.images.reshape(-1, 64) for s in digits[1:3]])
    expected = np.rint(whole.data * 255 / 16).astype(np.uint8)
    np.testing.assert_array_equal(
        np.sort(both.sum(1, dtype=int)), np.sort(expected.sum(1, dtype=int))
    )
    assert both.min() == 0 and both.max() == 255


def test_digits_seed_decides_the_split():
    first, again, other = data.load('digits'), data.load('digits'), data.load('digits', seed=1)
    np.testing.assert_array_equal(first.test.images, again.test.images)
    assert (first.test.images != other.test.images).any()


def test_digits_constants_are_those_of_its_training_images():
    digits = data.load('digits')
    measured = specs.for_arrays(digits.train.images, 10, 'digits')
    assert (digits.spec.mean, digits.spec.std) == (measured.mean, measured.std)
    assert digits.spec is data.spec('digits')


# .npz


def test_npz_reads_back_with_measured_constants(npz):
    made = arrays()
    read = data.load(npz(**made))
    assert read.spec == specs.for_arrays(made['train_images'], 3, 'mine')
    np.testing.assert_array_equal(read.train.images, made['train_images'])
    np.testing.assert_array_equal(read.test.labels, made['test_labels'])
    assert read.train.labels.dtype == read.test.labels.dtype == np.int32


def test_npz_may_name_its_classes_and_number_them_in_any_integers(npz):
    names = ('chat', 'zèbre', '猫')
    made = arrays(class_names=np.array(names), train_labels=np.arange(8, dtype=np.uint64) % 3)
    assert data.load(npz(**made)).spec == specs.for_arrays(
        made['train_images'], 3, 'mine'
    )._replace(class_names=names)


def test_every_damage_of_an_npz_is_refused_or_harmless(npz, damage):
    path = npz(**arrays(class_names=np.array(['a', 'b', 'c'])))
    assert (
        damage(
            path,
            lambda: [*data.load(path)[1:3], data.load(path).spec.class_names == ('a', 'b', 'c')],
        )
        > 100
    )


def exported(tmp_path, name, classes, **changes):
    """A file that stands for a data set of the table, with two 32x32 images per class in either
    half."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(classes), 2)
    images = rng.integers(0, 256, (2 * classes, 32, 32, 3), dtype=np.uint8)
    made = {
        'train_images': images,
        'train_labels': labels,
        'test_images': images[::-1],
        'test_labels': labels[::-1],
    }
    np.savez(tmp_path / f'{name}.npz', **made | changes)
    return images


def test_npz_in_place_of_a_named_data_set_keeps_its_row(tmp_path, no_network):
    images = exported(tmp_path, 'cifar10', 10)
    read = data.load('cifar10', data_dir=tmp_path)
    assert read.spec == data.spec('cifar10') and no_network == []
    np.testing.assert_array_equal(read.train.images, images)
    np.testing.assert_array_equal(read.test.images, images[::-1])


def test_npz_brings_the_class_names_that_the_row_has_not(tmp_path):
    names = tuple(f'class {i}' for i in range(100))
    exported(tmp_path, 'cifar100', 100, class_names=np.array(names))
    assert data.load('cifar100', data_dir=tmp_path).spec == data.spec('cifar100')._replace(
        class_names=names
    )


@pytest.mark.parametrize('changes, message', [
    ({'train_images': np.zeros((20, 16, 16, 3), np.uint8)},
     r'cifar10 .train.: images are \(16, 16, 3\), expected'),
    ({'train_labels': np.arange(20)}, r'cifar10 .train.: labels must lie in 0..9, got 0..19'),
    ({'class_names': np.array(specs.CIFAR10[::-1])},
     "cifar10.npz: class 0 is called 'truck', expected 'airplane'"),
    ({'class_names': np.array(specs.CIFAR10[:9])},
     'cifar10.npz: class_names must be 10 texts, .* got 9'),
])  # fmt: skip
def test_npz_that_is_not_the_named_data_set_is_refused(changes, message, tmp_path):
    exported(tmp_path, 'cifar10', 10, **changes)
    with pytest.raises(ValueError, match=message):
        data.load('cifar10', data_dir=tmp_path)


def test_saved_as_one_file_it_is_the_same_data_set(tiny_cifar10, tmp_path):
    data.save_npz(tmp_path / 'deeper' / 'cifar10.npz', 'cifar10', tiny_cifar10[0])
    (tmp_path / 'deeper' / 'cifar10').mkdir()
    read, whole = (
        data.load('cifar10', data_dir=folder) for folder in (tmp_path / 'deeper', tiny_cifar10[0])
    )
    assert read.spec == whole.spec
    for one, other in zip((*read.train, *read.test), (*whole.train, *whole.test), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    own = data.load(tmp_path / 'deeper' / 'cifar10.npz')
    np.testing.assert_array_equal(own.train.images, whole.train.images)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'test_sizes': np.full(10, 7)}, 'test_encoded cannot be read'),
        ({'train_labels': None}, 'no array named train_labels; found: class_names'),
        ({'train_encoded': np.zeros(3)}, 'train_encoded cannot be read .train_sizes must sum'),
        ({'test_sizes': np.array(['a'] * 10)}, 'test_encoded cannot be read'),
    ],
)
def test_a_damaged_saved_file_names_the_array(change, message, tiny_cifar10, tmp_path):
    path = tmp_path / 'cifar10.npz'
    data.save_npz(path, 'cifar10', tiny_cifar10[0])
    with np.load(path) as file:
        made = dict(file) | change
    np.savez(path, **{name: array for name, array in made.items() if array is not None})
    with pytest.raises(ValueError, match=f'{path}: {message}'):
        data.load('cifar10', data_dir=tmp_path)


def test_npz_without_a_channel_axis_gets_one(npz):
    made = arrays()
    made |= {k: made[k][..., 0] for k in ('train_images', 'test_images')}
    assert data.load(str(npz(**made))).test.images.shape == (4, 5, 4, 1)


IMAGES = arrays()['train_images']


@pytest.mark.parametrize('changes,message', [
    ({'test_labels': None, 'x_test': np.arange(3)},
     'no array named test_labels; found: train_images, train_labels, test_images, x_test; '
     'expected: train'),
    ({'train_images': IMAGES / 255}, r'\(train\): images must be uint8 in 0..255, got float64'),
    ({'test_images': IMAGES[:4].astype(int)},
     r'\(test\): images must be uint8 in 0..255, got int64'),
    ({'train_images': IMAGES[..., 0, 0]}, r'\(train\): images must be .* got shape \(8, 5\)'),
    ({'train_images': IMAGES[..., :2]},
     r'images must be \[N, height, width, 1 or 3\], got .*4, 2\)'),
    ({'train_labels': np.arange(7) % 3},
     r'labels must be one integer per image, \[8\], got shape \(7,\)'),
    ({'train_labels': np.arange(8) / 2}, 'labels must be integers, got float64'),
    ({'train_labels': np.arange(8) % 3 - 1}, r'labels must lie in 0..1, got -1..1'),
    ({'train_labels': np.arange(8) % 2 * 2}, r'\(train\): class 1 has no images'),
    ({'train_labels': np.arange(8) * 10 ** 9},
     'largest label is 7000000000, but there are only 8 images'),
    ({'test_labels': np.array([0, 1, 0, 1])}, r'\(test\): class 2 has no images'),
    ({'test_labels': np.array([0, 1, 2, 3])}, r'\(test\): labels must lie in 0..2, got 0..3'),
    ({'test_images': IMAGES[:4, :4]}, r'\(test\): images are \(4, 4, 3\), expected \(5, 4, 3\)'),
    ({'train_images': IMAGES[:, :0]}, r'images must be .* got shape \(8, 0, 4, 3\)'),
    ({'train_images': IMAGES[:0], 'train_labels': np.zeros(0, int)},
     r'\(train\): class 0 has no images'),
    ({'train_labels': np.array([0, 1, 'two'] * 2 + [0, 1], object)},
     'train_labels cannot be read .it holds Python'),
    ({'class_names': np.array(['a', 'b'])}, 'class_names must be 3 texts, one per class, got 2'),
    ({'class_names': np.array(['a', 'b', 'a'])}, "class_names must differ, got 'a' more than once"),
    ({'class_names': np.arange(3)},
     r'class_names must be texts, one per class, got int64 of shape \(3,\)'),
])  # fmt: skip
def test_npz_that_is_wrong_says_how(npz, changes, message):
    path = npz(**arrays(**changes))
    with pytest.raises(ValueError, match=message) as error:
        data.load(path)
    assert str(error.value).startswith(str(path))


def test_npz_that_is_none(tmp_path):
    with pytest.raises(ValueError, match='nowhere.npz: no such file'):
        data.load(tmp_path / 'nowhere.npz')
    (tmp_path / 'text.npz').write_text('no zip')
    with pytest.raises(
        ValueError, match='text.npz cannot be read as npz .*; write it with numpy.savez, arrays: tr'
    ):
        data.load(tmp_path / 'text.npz')


def test_damaged_npz_names_the_array(npz):
    path = npz(**arrays())
    content = bytearray(path.read_bytes())
    content[300:310] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(ValueError, match='mine.npz: train_images cannot be read'):
        data.load(path)


# folders and names


def classes(*names):
    """Files of one training and one test image for each class."""
    image = np.full((4, 4, 3), 99, np.uint8)
    return {f'{half}/{name}/1.png': image for name in names for half in ('train', 'val')}


def test_folder_path(image_folder):
    read = data.load(image_folder(classes('cat', 'dog')))
    assert read.spec.name == 'images' and read.spec.class_names == ('cat', 'dog')
    assert read.spec.image_shape == (4, 4, 3) and read.spec.num_classes == 2
    assert data.load(image_folder({}), image_size=2).spec.image_shape == (2, 2, 3)


def test_imagenet_subset_gets_the_size_of_its_row(image_folder):
    root = image_folder({f'imagewoof/{k}': v for k, v in classes(*'abcdefghij').items()})
    read = data.load('imagewoof', data_dir=root)
    assert read.train.images.shape == (10, 128, 128, 3) and read.spec.class_names == tuple(
        'abcdefghij'
    )
    assert read.spec.mean == (0.485, 0.456, 0.406)
    assert data.load('imagewoof', data_dir=root, image_size=8).spec.image_shape == (8, 8, 3)


def test_imagenet_subset_with_another_number_of_classes_is_refused(image_folder):
    root = image_folder({f'tiny_imagenet/{k}': v for k, v in classes('a', 'b').items()})
    with pytest.raises(ValueError, match='tiny_imagenet: 2 classes, but tiny_imagenet has 200'):
        data.load('tiny_imagenet', data_dir=root)


def test_imagenet_subset_that_is_not_there_says_where_to_put_it(tmp_path):
    with pytest.raises(
        ValueError, match=f'imagenette is not there: {tmp_path}/imagenette is .*unpack'
    ):
        data.load('imagenette', data_dir=tmp_path)


def test_image_size_is_refused_where_it_has_no_meaning(npz):
    for name in ('digits', 'cifar10', npz(**arrays())):
        with pytest.raises(ValueError, match='image_size is for image folders'):
            data.load(name, image_size=16)


@pytest.mark.parametrize(
    'name, message',
    [
        (
            'data/mine',
            (
                'data/mine: no such file or folder; a data set is a name of .*, an .npz file with '
                'train_im'
            ),
        ),
        ('mine.npz', 'mine.npz: no such file or folder'),
        ('mine.csv', 'mine.csv: no such file'),
        ('~/x', '~/x: no such file'),
        ('~nobody-here/x', '~nobody-here/x: no such file'),
        ('mine/', 'mine/: no such file'),
        ('there.csv', 'there.csv is a file, but neither an .npz file nor a folder; a data set is'),
        ('there', 'there is a file, but neither'),
        ('mine', "unknown data set 'mine'"),
    ],
)
def test_a_mistyped_path_is_not_called_a_name(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ('there', 'there.csv'):
        (tmp_path / file).write_text('1,2')
    with pytest.raises(ValueError, match=f'^{message}'):
        data.load(name)


def test_unknown_name_offers_the_nearest_and_the_paths():
    message = (
        "unknown data set 'cifar1O'; valid: cifar10, .*tiny_imagenet. Did you mean 'cifar10.?'.*"
        'Or a path to an .npz file or an image folder'
    )
    with pytest.raises(ValueError, match=message):
        data.load('cifar1O')


def test_a_subset_without_a_folder_of_its_own_is_read_from_imagenet(image_folder, tmp_path):
    wanted = SUBSETS['imagefruit']
    root = image_folder(
        {f'imagenet/{k}': v for k, v in classes(*wanted, 'n99999999', 'n00000000').items()}
    )
    read = data.load('imagefruit', data_dir=root, image_size=8)
    assert read.spec.class_names == tuple(sorted(wanted)) and read.spec.num_classes == 10
    assert len(read.train.images) == 10 and read.spec.image_shape == (8, 8, 3)
    np.testing.assert_array_equal(read.train.labels, np.arange(10))
    with pytest.raises(ValueError, match='10 of 10 classes are not there: n015'):
        data.load('imagesquawk', data_dir=root)
    with pytest.raises(
        ValueError, match='imagefruit is not there: .* all of ImageNet in .*/imagen'
    ):
        data.load('imagefruit', data_dir=tmp_path / 'elsewhere')
