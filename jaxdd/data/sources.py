"""Reads labelled images, as uint8:
embedded, TensorFlow Datasets, .npz, or a folder, which may stay on disk."""

import io
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from jaxdd import checks
from jaxdd.data import prepared, specs
from jaxdd.data.arrays import KEYS, decoded, read_arrays, require_names
from jaxdd.data.folder import read_folder
from jaxdd.data.image_files import FolderImages
from jaxdd.data.subsets import SUBSETS
from jaxdd.storage.atomic import write_whole
from jaxdd.types import Source
from jaxdd.whitening import Whitening

DATA_DIR = '~/tensorflow_datasets'
ACCEPTED = (
    f'a data set is a name of the table (cifar10, ...), an .npz file with {", ".join(KEYS)}, or an '
    'image folder with train/<class>/* and test/<class>/*'
)
MEASURED = 1000  # images that mean and std are measured on where the set stays on disk
# the view on which published teachers' accuracies are measured
TEST_RESIZE = {'imagenet': 'margin'}


class Dataset(NamedTuple):
    """A data set: images `[N, H, W, C]` uint8, an array or `FolderImages`; labels `[N]` int32.

    Of a whitened set images are float32.
    """

    spec: specs.Spec
    train: Source
    test: Source
    whitening: Whitening | None = None  # what the images went through (`data.whitened`)
    raw: tuple[int, int] | None = None  # checksums of both halves before that


def load(
    name: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    seed: int = 0,
    image_size: int | None = None,
    lazy: bool | None = None,
    resize: str = 'square',
    test_resize: str | None = None,
) -> Dataset:
    """Reads a data set, into memory unless it is a large folder.

    It never downloads or needs TensorFlow.

    Args:
        name: a name that `specs.spec` knows, or a path: to an .npz file with the arrays
            train_images, train_labels, test_images and test_labels (uint8 `[N, H, W, C]` or `[N, H,
            W]`; integers `[N]`; and, if it likes, class_names, Y different texts in label order),
            or to an image folder (see `read_folder`).
        data_dir: where prepared data sets lie; None is ~/tensorflow_datasets. tiny_imagenet and the
            ImageNet subsets are image folders `<data_dir>/<name>`; a subset that has no folder of
            its own is read from `<data_dir>/imagenet`, by `subsets.SUBSETS`. For the others a file
            `<data_dir>/<name>.npz` (see `save_npz`) is read before anything else there; its
            class_names, where it has them, must be those of the table.
        seed: decides which 360 of the 1,797 digits are the test set; nothing else.
        image_size: pixels, for image folders only; None keeps the images as they are, except that a
            named subset gets the size in its row.
        lazy: for image folders only: whether the images stay on disk and are decoded whenever they
            are looked at, to the same pixels. None: only where both halves would take more than 4
            GiB decoded, a size that host and accelerator usually hold with room for the training,
            while decoding at every look costs several milliseconds per image and core.
        resize: for image folders brought to an `image_size`: how, see `FolderImages`.
        test_resize: the same for the test images; None = `resize`, but 'margin' for imagenet.

    Returns:
        The spec and both halves. Mean and std of a user's own images are measured on the training
        half, or on 1,000 random images of it where it stays on disk.

    Raises:
        ValueError: an unknown name, data that is not there (names the command that prepares it) or
            that cannot be read, arrays that are not labelled images, or `image_size` or `lazy`
            where it has no meaning.
    """
    name = os.fspath(name)
    data_dir, path = (pathlib.Path(os.path.expanduser(p)) for p in (data_dir or DATA_DIR, name))
    row = specs.TABLE.get(name)
    if row is None:
        _require_data(name, path)
    how = {
        'image_size': image_size,
        'lazy': lazy,
        'resize': resize,
        'test_resize': test_resize or TEST_RESIZE.get(name),
    }
    if row is None and path.is_dir():
        dataset = _folder(None, path, how)
    elif row and row.tfds is None and name != 'digits':
        dataset = _folder(row, data_dir / name, how)
    elif image_size is not None:
        raise ValueError(
            f'image_size is for image folders; the images of {name!r} have a fixed size'
        )
    elif lazy:
        raise ValueError(f'lazy is for image folders; {name!r} is read into memory')
    elif row is None:
        dataset = _npz(path)
    else:
        dataset = _digits(row, seed) if name == 'digits' else _prepared(row, data_dir)
    return _checked(dataset, name)


def _require_data(name: str, path: pathlib.Path) -> None:
    """Refuses what is no name of the table, and neither a folder nor an .npz file."""
    if os.path.isdir(path) or os.path.isfile(path) and path.suffix == '.npz':
        return
    if os.path.exists(path):
        raise ValueError(f'{name} is a file, but neither an .npz file nor a folder; {ACCEPTED}')
    if (
        path.suffix
        or name.startswith('~')
        or len(pathlib.PurePath(name).parts) > 1
        or os.sep in name
    ):
        raise ValueError(f'{name}: no such file or folder; {ACCEPTED}')
    try:
        specs.spec(name)
    except ValueError as error:
        raise ValueError(f'{error} Or a path to an .npz file or an image folder.') from None


def _checked(dataset: Dataset, name: str) -> Dataset:
    for half in ('train', 'test'):
        source = getattr(dataset, half)
        checks.labelled_images(*source, dataset.spec.num_classes, where=f'{name} ({half})')
        if source.images.shape[1:] != dataset.spec.image_shape:
            raise ValueError(
                f'{name} ({half}): images are {source.images.shape[1:]}, '
                f'expected {dataset.spec.image_shape} as in the rest of the data set'
            )
    return dataset._replace(train=_int32(dataset.train), test=_int32(dataset.test))


def _int32(source: Source) -> Source:
    return source._replace(labels=np.asarray(source.labels, np.int32))


def _digits(row: specs.Spec, seed: int) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images[..., None] * (255 / 16)).round().astype(np.uint8)
    labels = bunch.target.astype(np.int32)
    train, test = _stratified(labels, 360, np.random.default_rng(seed))
    return Dataset(row, Source(images[train], labels[train]), Source(images[test], labels[test]))


def _stratified(
    labels: np.ndarray, num_test: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Splits indices so that each class keeps its share; the largest remainders fill up."""
    share = np.bincount(labels) * num_test / len(labels)
    take = np.floor(share).astype(int)
    take[np.argsort(take - share, kind='stable')[: num_test - take.sum()]] += 1
    shuffled = [rng.permutation(np.flatnonzero(labels == c)) for c in range(len(take))]
    test = np.concatenate([s[:t] for s, t in zip(shuffled, take)])
    return np.setdiff1d(np.arange(len(labels)), test), np.sort(test)


def save_npz(path: str | os.PathLike, name: str, data_dir: str | os.PathLike | None = None) -> None:
    """Writes a prepared data set as one file that `load` reads in its place.

    Reading it needs no TensorFlow Datasets.

    The images stay encoded (PNG, JPEG) as they were prepared, so that the file is about as large as
    the folder.

    Args:
        path: the file; `<data_dir>/<name>.npz` stands for the data set of that name, with its row
            of the table. Arrays: train_encoded, uint8, one encoded image after the other;
            train_sizes `[N]`, bytes of each; train_labels `[N]`; the same for test; class_names;
            for other readers mean and std.
        name: a data set that TensorFlow Datasets provides.
        data_dir: where it was prepared; None is ~/tensorflow_datasets.

    Raises:
        ValueError: it is not there or cannot be read.
        OSError: the disk refused; an older file is untouched.
    """
    row, builder, folder = prepared.opened(
        specs.spec(name), pathlib.Path(os.path.expanduser(data_dir or DATA_DIR))
    )
    arrays = {
        'class_names': np.array(row.class_names),
        'mean': np.array(row.mean),
        'std': np.array(row.std),
    }
    for half, split in (('train', row.train_split), ('test', row.test_split)):
        encoded, labels = prepared.read_split(builder, folder, split, bytes)
        arrays |= {
            f'{half}_encoded': np.frombuffer(b''.join(encoded), np.uint8),
            f'{half}_sizes': np.array(list(map(len, encoded))),
            f'{half}_labels': labels,
        }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_whole(path, content.getvalue())


def _prepared(row: specs.Spec, data_dir: pathlib.Path) -> Dataset:
    path = data_dir / f'{row.name}.npz'
    if not path.exists():
        return _tfds(row, data_dir)
    train, test, names = read_arrays(path)
    require_names(names, row.class_names, row.num_classes, str(path))
    return Dataset(row._replace(class_names=row.class_names or names), train, test)


def _tfds(row: specs.Spec, data_dir: pathlib.Path) -> Dataset:
    row, builder, folder = prepared.opened(row, data_dir)
    halves = (
        prepared.read_split(builder, folder, split, decoded)
        for split in (row.train_split, row.test_split)
    )
    return Dataset(row, *(Source(np.stack(images), labels) for images, labels in halves))


def _npz(path: pathlib.Path) -> Dataset:
    train, test, names = read_arrays(path)
    num_classes = _count_classes(train.labels, f'{path} (train)')
    checks.labelled_images(*train, num_classes, where=f'{path} (train)')
    require_names(names, None, num_classes, str(path))
    return Dataset(
        specs.for_arrays(train.images, num_classes, path.stem)._replace(class_names=names),
        train,
        test,
    )


def _count_classes(labels: np.ndarray, where: str) -> int:
    if not np.issubdtype(labels.dtype, np.integer) or not labels.size:
        return 1  # the check of labelled images says what is wrong
    largest = int(labels.max())
    if largest >= labels.size:
        raise ValueError(
            f'{where}: the largest label is {largest}, but there are only {labels.size} '
            'images; labels must be 0..Y-1 with every class present'
        )
    return max(largest + 1, 1)


def _folder(row: specs.Spec | None, path: pathlib.Path, how: dict[str, Any]) -> Dataset:
    if row and not path.is_dir():
        whole, classes = path.parent / 'imagenet', SUBSETS.get(row.name)
        if not (classes and whole.is_dir()):
            among = f', or all of ImageNet in {whole}' if classes else ''
            raise ValueError(
                f'{row.name} is not there: {path} is no folder; it is read as an image folder '
                f'(train/<class>/*, val/<class>/*): unpack it there{among}, or give another '
                'data_dir'
            )
        path, how = whole, {**how, 'classes': classes}
    if row and how['image_size'] is None:
        how = {**how, 'image_size': row.image_shape[0]}
    names, train, test = read_folder(path, **how)
    if row and len(names) != row.num_classes:
        raise ValueError(f'{path}: {len(names)} classes, but {row.name} has {row.num_classes}')
    row = row or specs.for_arrays(_sample(train.images), len(names), path.resolve().name)
    return Dataset(row._replace(class_names=names, image_shape=train.images.shape[1:]), train, test)


def _sample(images: np.ndarray | FolderImages) -> np.ndarray:
    if isinstance(images, np.ndarray) or len(images) <= MEASURED:
        return images[:]
    return images[np.sort(np.random.default_rng(0).choice(len(images), MEASURED, replace=False))]
