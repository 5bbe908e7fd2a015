"""Reads a folder of images, one sub-folder per class."""
import itertools
import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxdd.types import Source

SUFFIXES = ('.png', '.jpg', '.jpeg')
ANNOTATIONS = 'val_annotations.txt'
LAYOUT = ('expected train/<class>/*.png or *.jpg, and test/<class>/* or val/<class>/*, '
          "or Tiny-ImageNet's own layout")
Files = list[tuple[pathlib.Path, int]]


class ImageFolder(NamedTuple):
    """A folder's images in memory; labels follow the order of `class_names`."""
    class_names: tuple[str, ...]
    train: Source
    test: Source


def read_folder(root: str | pathlib.Path, *, image_size: int | None = None) -> ImageFolder:
    """Reads a folder of images into memory.

    Three layouts are recognised: `train/<class>/*` with `test/<class>/*`; the same with `val` for `test`;
    and Tiny-ImageNet's own, `train/<class>/images/*` with `val/images/*` and `val/val_annotations.txt`.
    Images end in .png, .jpg or .jpeg, in any case. Classes are the folders of `train`, sorted by name.

    Args:
        root: the folder.
        image_size: pixels; each image's shorter side is resized to it (bilinear, antialiased) and the
            central square is kept. None: the images are kept as they are, and all must be equal in size.

    Returns:
        The class names, and the images as `[N, H, W, 3]` uint8 (grey ones become RGB) with int32 labels.

    Raises:
        ValueError: no such layout, an empty class, other classes in the test set than in `train`, an image
            that cannot be read, different sizes without `image_size`, or an `image_size` below 1.
    """
    root = pathlib.Path(root).expanduser()
    if image_size is not None and image_size < 1:
        raise ValueError(f'image_size must be at least 1 pixel, got {image_size}')
    if not (root / 'train').is_dir():
        raise ValueError(f'{root}: no folder named train; {LAYOUT}')
    names = _class_names(root / 'train')
    train = _files_by_class(root / 'train', names)
    test = _test_files(root, names)
    images = _decode([path for path, _ in train + test], image_size)
    labels = np.array([label for _, label in train + test], np.int32)
    cut = len(train)
    return ImageFolder(names, Source(images[:cut], labels[:cut]), Source(images[cut:], labels[cut:]))


def _class_names(folder: pathlib.Path) -> tuple[str, ...]:
    names = sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith('.'))
    if not names:
        raise ValueError(f'{folder}: no class folders; {LAYOUT}')
    return tuple(names)


def _images_in(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(f for f in folder.iterdir()
                  if f.suffix.lower() in SUFFIXES and not f.name.startswith('.'))


def _files_by_class(folder: pathlib.Path, names: Sequence[str]) -> Files:
    files = []
    for label, name in enumerate(names):
        inner = folder / name / 'images'
        found = _images_in(inner if inner.is_dir() else folder / name)
        if not found:
            raise ValueError(f'{folder / name}: class {name!r} has no images ({", ".join(SUFFIXES)})')
        files += [(f, label) for f in found]
    return files


def _test_files(root: pathlib.Path, names: tuple[str, ...]) -> Files:
    if (root / 'val' / ANNOTATIONS).is_file():
        return _annotated_files(root / 'val', names)
    folder = root / 'test' if (root / 'test').is_dir() else root / 'val'
    if not folder.is_dir():
        raise ValueError(f'{root}: no folder named test or val; {LAYOUT}')
    _same_classes(folder, _class_names(folder), names)
    return _files_by_class(folder, names)


def _annotated_files(folder: pathlib.Path, names: tuple[str, ...]) -> Files:
    lines = (folder / ANNOTATIONS).read_text().splitlines()
    rows = [line.split('\t') for line in lines if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) < 2:
            raise ValueError(f'{folder / ANNOTATIONS}: entry {number} is {row[0]!r}; '
                             'expected a file name, a tab and a class')
    _same_classes(folder / ANNOTATIONS, sorted({row[1] for row in rows}), names)
    return [(folder / 'images' / row[0], names.index(row[1])) for row in rows]


def _same_classes(where: pathlib.Path, found: Sequence[str], names: Sequence[str]) -> None:
    missing, extra = sorted(set(names) - set(found)), sorted(set(found) - set(names))
    if missing or extra:
        raise ValueError(f'{where}: the classes differ from those of train; '
                         f'missing: {_some(missing)}; not in train: {_some(extra)}')


def _some(names: list[str]) -> str:
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    return ', '.join(names[:5]) + more or 'none'


def _decode(files: list[pathlib.Path], image_size: int | None) -> np.ndarray:
    first = _read_image(files[0], image_size)
    images = np.empty((len(files), *first.shape), np.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(_read_image, files, itertools.repeat(image_size))
        for i, (file, image) in enumerate(zip(files, decoded)):
            if image.shape != first.shape:
                pool.shutdown(wait=False, cancel_futures=True)
                raise ValueError(f'{file} is {_size(image)} pixels, but {files[0]} is {_size(first)}; '
                                 'pass image_size (--data.image-size) to bring all images to one size')
            images[i] = image
    return images


def _size(image: np.ndarray) -> str:
    return f'{image.shape[1]}x{image.shape[0]}'


def _read_image(file: pathlib.Path, image_size: int | None) -> np.ndarray:
    try:
        with Image.open(file) as image:
            if image.mode[0] in 'IF':
                raise ValueError('more than 8 bits per channel; save it with 8')
            image = image.convert('RGB')
    # Pillow signals a damaged file in as many ways as there are formats.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f'{file}: cannot be read as an image ({error})') from error
    return np.asarray(image if image_size is None else _square(image, image_size))


def _square(image: Image.Image, size: int) -> Image.Image:
    scale = size / min(image.size)
    width, height = (max(size, round(s * scale)) for s in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
