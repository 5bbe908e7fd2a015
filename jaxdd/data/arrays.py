"""Reads the arrays of a data set from an `.npz` file:
a user's own, or an exported one that stays encoded."""

import io
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxdd.storage import npz
from jaxdd.types import Source

KEYS = ('train_images', 'train_labels', 'test_images', 'test_labels')
ENCODED = (
    'train_encoded',
    'train_sizes',
    'train_labels',
    'test_encoded',
    'test_sizes',
    'test_labels',
)
ADVICE = f'write it with numpy.savez, arrays: {", ".join(KEYS)}'


class Arrays(NamedTuple):
    """What an `.npz` file holds; the halves are not checked yet."""

    train: Source
    test: Source
    class_names: tuple[str, ...] | None  # distinct, in label order


def read_arrays(path: pathlib.Path) -> Arrays:
    """Reads both halves and, where the file has them, the names of the classes.

    Raises:
        ValueError: no such file, a damaged one, arrays that are missing, encoded images that cannot
            be decoded, or `class_names` that are no list of different texts.
    """
    found = npz.names(path, advice=ADVICE)
    keys = ENCODED if 'train_encoded' in found else KEYS
    if missing := [key for key in keys if key not in found]:
        raise ValueError(
            f'{path}: no array named {", ".join(missing)}; found: {", ".join(found) or "none"}; '
            f'expected: {", ".join(keys)}'
        )
    arrays = npz.read(path, (*keys, 'class_names'), advice=ADVICE)
    if keys is ENCODED:
        arrays |= {
            f'{half}_images': _decoded_half(arrays, half, path) for half in ('train', 'test')
        }
    train, test = (
        Source(_with_channel(arrays[f'{half}_images']), arrays[f'{half}_labels'])
        for half in ('train', 'test')
    )
    return Arrays(
        train, test, _names(arrays['class_names'], path) if 'class_names' in arrays else None
    )


def require_names(
    names: Sequence[str] | None, row_names: Sequence[str] | None, num_classes: int, where: str
) -> None:
    """Refuses names of another number of classes, or other names than a data set's row has.

    Args:
        names: those that were found; None: nothing to compare.
        row_names: those that are valid; None: any.
        where: where the names come from, for the message.

    Raises:
        ValueError: says where they differ first.
    """
    if names is None:
        return
    if len(names) != num_classes:
        raise ValueError(
            f'{where}: class_names must be {num_classes} texts, one per class, got {len(names)}'
        )
    wrong = [i for i, (one, other) in enumerate(zip(names, row_names or names)) if one != other]
    if wrong:
        raise ValueError(
            f'{where}: class {wrong[0]} is called {names[wrong[0]]!r}, expected '
            f'{row_names[wrong[0]]!r}; is it another data set, or in another order?'
        )


def decoded(encoded: bytes) -> np.ndarray:
    """Decodes one image file, `[H, W, C]` uint8."""
    image = np.asarray(Image.open(io.BytesIO(encoded)))
    return image if image.ndim == 3 else image[..., None]


def _decoded_half(arrays: dict[str, np.ndarray], half: str, path: pathlib.Path) -> np.ndarray:
    """The images of one half of what `data.save_npz` wrote."""
    encoded, sizes = arrays[f'{half}_encoded'], arrays[f'{half}_sizes']
    try:
        if (
            encoded.dtype != np.uint8
            or encoded.ndim != 1
            or sizes.ndim != 1
            or sizes.sum() != encoded.size
        ):
            raise ValueError(f'{half}_sizes must sum to its {encoded.size} bytes of uint8')
        return np.stack(
            [decoded(one.tobytes()) for one in np.split(encoded, np.cumsum(sizes)[:-1])]
        )
    except Exception as error:  # Pillow signals a damaged file in as many ways as there are formats
        raise ValueError(
            f'{path}: {half}_encoded cannot be read ({error}); export it again'
        ) from error


def _names(names: np.ndarray, path: pathlib.Path) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind != 'U':
        raise ValueError(
            f'{path}: class_names must be texts, one per class, got {names.dtype} of shape '
            f'{names.shape}'
        )
    if len(set(names.tolist())) < len(names):
        twice = next(name for name in names.tolist() if names.tolist().count(name) > 1)
        raise ValueError(f'{path}: class_names must differ, got {twice!r} more than once')
    return tuple(names.tolist())


def _with_channel(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images
