"""Reads a folder of images, one sub-folder per class."""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdd.data.image_files import FolderImages, check_resize, opened, upright_size
from jaxdd.types import Source

SUFFIXES = ('.png', '.jpg', '.jpeg')
ANNOTATIONS = 'val_annotations.txt'
LAYOUT = (
    'expected train/<class>/*.png or *.jpg, and test/<class>/* or val/<class>/*, '
    "or Tiny-ImageNet's own layout"
)
LAZY_ABOVE = 4 * 2**30  # bytes
Files = list[tuple[str, int]]  # relative to the root; label


class ImageFolder(NamedTuple):
    """A folder's images, in memory or on disk; labels follow the order of `class_names`."""

    class_names: tuple[str, ...]
    train: Source
    test: Source


def read_folder(
    root: str | pathlib.Path,
    *,
    image_size: int | None = None,
    lazy: bool | None = False,
    resize: str = 'square',
    test_resize: str | None = None,
    classes: Sequence[str] | None = None,
) -> ImageFolder:
    """Reads a folder of images, into memory or only their names.

    Three layouts are recognised: `train/<class>/*` with `test/<class>/*`; the same with `val` for
    `test`; and Tiny-ImageNet's own, `train/<class>/images/*` with `val/images/*` and
    `val/val_annotations.txt`. Images end in .png, .jpg or .jpeg, in any case. Classes are the
    folders of `train`, sorted by name.

    Args:
        root: the folder.
        image_size: pixels; each image is brought to a square of this side. None: the images are
            kept as they are, and all must be equal in size.
        lazy: True leaves the images on disk, as `FolderImages`; False decodes all of them now, to
            the same pixels; None leaves them where they would take more than `LAZY_ABOVE` = 4 GiB
            decoded.
        resize: how an image becomes square, 'square', 'stretched' or 'margin', see `FolderImages`.
        test_resize: the same for the test images; None = `resize`.
        classes: read these alone, whatever else the folder holds; None: all.

    Returns:
        The class names, and the images as `[N, H, W, 3]` uint8 with int32 labels. Grey images
        become RGB, those with an EXIF orientation are turned upright, what is transparent lies over
        white (see `FolderImages`).

    Raises:
        ValueError: no such layout, an empty class, other classes in the test set than in `train`,
            an image that cannot be read, different sizes without `image_size`, an `image_size`
            below 1, or an unknown `resize`. Of images that stay on disk, what is wrong with one
            shows when it is decoded.
    """
    root = pathlib.Path(os.path.expanduser(root))
    if image_size is not None and image_size < 1:
        raise ValueError(f'image_size must be at least 1 pixel, got {image_size}')
    if not (root / 'train').is_dir():
        raise ValueError(f'{root}: no folder named train; {LAYOUT}')
    names = _class_names(root / 'train', classes)
    halves = _files_by_class(root, 'train', names), _test_files(root, names, classes is None)
    first = root / halves[0][0][0]
    side = (
        [image_size] * 2
        if image_size
        else opened(first, lambda image: upright_size(image)[::-1]).tolist()
    )
    sources = []
    for files, how in zip(halves, (resize, test_resize or resize)):
        check_resize(how)
        images = FolderImages(
            str(root),
            tuple(file for file, _ in files),
            (len(files), *side, 3),
            how if image_size else None,
        )
        sources.append(Source(images, np.array([label for _, label in files], np.int32)))
    if lazy is None:
        lazy = sum(source.images.nbytes for source in sources) > LAZY_ABOVE
    return ImageFolder(names, *(s if lazy else s._replace(images=s.images[:]) for s in sources))


def _class_names(folder: pathlib.Path, classes: Sequence[str] | None = None) -> tuple[str, ...]:
    names = sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith('.'))
    if not names:
        raise ValueError(f'{folder}: no class folders; {LAYOUT}')
    if classes is None:
        return tuple(names)
    if missing := sorted(set(classes) - set(names)):
        raise ValueError(
            f'{folder}: {len(missing)} of {len(classes)} classes are not there: {_some(missing)}'
        )
    return tuple(sorted(classes))


def images_in(folder: pathlib.Path) -> list[str]:
    """The names of a folder's images, sorted."""
    with os.scandir(folder) as entries:  # a million files: pathlib would take minutes
        names = [entry.name for entry in entries]
    return sorted(
        name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith('.')
    )


def _files_by_class(root: pathlib.Path, half: str, names: Sequence[str]) -> Files:
    files = []
    for label, name in enumerate(names):
        folder = f'{half}/{name}'
        inner = f'{folder}/images' if (root / folder / 'images').is_dir() else folder
        found = images_in(root / inner)
        if not found:
            raise ValueError(
                f'{root / folder}: class {name!r} has no images ({", ".join(SUFFIXES)})'
            )
        files += [(f'{inner}/{file}', label) for file in found]
    return files


def _test_files(root: pathlib.Path, names: tuple[str, ...], whole: bool) -> Files:
    if (root / 'val' / ANNOTATIONS).is_file():
        return _annotated_files(root / 'val', names)
    half = 'test' if (root / 'test').is_dir() else 'val'
    if not (root / half).is_dir():
        raise ValueError(f'{root}: no folder named test or val; {LAYOUT}')
    _same_classes(root / half, _class_names(root / half, None if whole else names), names)
    return _files_by_class(root, half, names)


def _annotated_files(folder: pathlib.Path, names: tuple[str, ...]) -> Files:
    try:
        lines = (folder / ANNOTATIONS).read_text(encoding='utf-8').splitlines()
    except ValueError as error:
        raise ValueError(f'{folder / ANNOTATIONS}: cannot be read as text ({error})') from error
    rows = [line.split('\t') for line in lines if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) < 2:
            raise ValueError(
                f'{folder / ANNOTATIONS}: entry {number} is {row[0]!r}; '
                'expected a file name, a tab and a class'
            )
    _same_classes(folder / ANNOTATIONS, sorted({row[1] for row in rows}), names)
    labels = {name: label for label, name in enumerate(names)}
    return [(f'{folder.name}/images/{row[0]}', labels[row[1]]) for row in rows]


def _same_classes(where: pathlib.Path, found: Sequence[str], names: Sequence[str]) -> None:
    missing, extra = sorted(set(names) - set(found)), sorted(set(found) - set(names))
    if missing or extra:
        raise ValueError(
            f'{where}: the classes differ from those of train; '
            f'missing: {_some(missing)}; not in train: {_some(extra)}'
        )


def _some(names: list[str]) -> str:
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    return ', '.join(names[:5]) + more or 'none'
