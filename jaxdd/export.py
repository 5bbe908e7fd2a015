"""A distilled set as files that explain themselves: npz with all one needs to use it, and pictures."""
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxdd.files import write_whole
from jaxdd.types import SyntheticSet

_FIELDS = ('images', 'labels', 'images_uint8', 'mean', 'std', 'class_names', 'info')
_INK, _GAP, _BETWEEN, _MARGIN = (40, 40, 40), 3, 32, 16    # the lengths in screen pixels


def save_npz(path: str | os.PathLike, synthetic: SyntheticSet, *, mean: Sequence[float], std: Sequence[float],
             class_names: Sequence[str], info: Mapping[str, Any], stored: Any = None) -> None:
    """Writes a distilled set with all that is needed to use it elsewhere, through a temporary file.

    Fields: `images` [K, n, H, W, C] float32 normalised, `labels` [K, n, Y] float32, `images_uint8` (the
    images times std plus mean, in 0..255), `mean` and `std` [C] of pixels in [0, 1], `class_names` [K],
    `info` (JSON text), `learning_rate` if the set has one, and `stored` if what is kept differs from the images.

    Args:
        path: the file; parents are made.
        synthetic: the distilled set.
        mean, std: per channel, the normalisation of the images.
        class_names: K names in label order.
        info: JSON-able facts: method, configuration, seed, protocol.
        stored: what a parametrization keeps and makes the images of: mosaics `[K, ipc, H, W, C]` float32 (IDM, IDC),
            left out where they have the images' shape; or arrays by name (INFER), fields `stored_<name>`.

    Raises:
        ValueError: the number of names or channels does not fit the images, a pixel is not finite, or `info`
            is not JSON.
    """
    images, labels = np.asarray(synthetic.images, np.float32), np.asarray(synthetic.labels, np.float32)
    if len(class_names) != len(images):
        raise ValueError(f'{len(images)} classes of images but {len(class_names)} class names')
    fields = {'images': images, 'labels': labels, 'images_uint8': _bytes(images, mean, std),
              'mean': np.asarray(mean, np.float32), 'std': np.asarray(std, np.float32),
              'class_names': np.asarray(list(class_names), np.str_), 'info': np.asarray(_json(info))}
    if isinstance(stored, Mapping):
        fields |= {f'stored_{name}': np.asarray(array) for name, array in stored.items()}
    elif stored is not None and np.shape(stored) != images.shape:
        fields['stored'] = np.asarray(stored, np.float32)
    if synthetic.learning_rate is not None:
        fields['learning_rate'] = np.asarray(synthetic.learning_rate, np.float32)
    content = io.BytesIO()
    np.savez_compressed(content, **fields)
    write_whole(path, content.getvalue())


def load_npz(path: str | os.PathLike) -> tuple[SyntheticSet, dict[str, Any]]:
    """Reads what `save_npz` wrote.

    Returns:
        The set (numpy arrays, bitwise as saved) and a dict of the other fields: `images_uint8`, `mean`, `std`
        as arrays, `class_names` as a tuple, `info` as it was given;
        `stored` if the file has it.

    Raises:
        ValueError: no such file, not an npz file, or fields are missing (names them).
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            fields = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise ValueError(f'{path} does not exist') from error
    except Exception as error:
        raise ValueError(f'{path} cannot be read as npz: {error}') from error
    if missing := [name for name in _FIELDS if name not in fields]:
        raise ValueError(f'{path} is not a distilled set: it lacks {", ".join(missing)}')
    synthetic = SyntheticSet(fields['images'], fields['labels'], fields.get('learning_rate'))
    rest = {'images_uint8': fields['images_uint8'], 'mean': fields['mean'], 'std': fields['std'],
            'class_names': tuple(map(str, fields['class_names'])),
            **_stored(fields), 'info': json.loads(str(fields['info']))}
    return synthetic, rest


def _stored(fields):
    """{'stored': array or arrays by name}, or nothing."""
    named = {name.removeprefix('stored_'): array for name, array in fields.items() if name.startswith('stored_')}
    kept = fields.get('stored', named or None)
    return {} if kept is None else {'stored': kept}


def stored_bytes(synthetic: SyntheticSet) -> dict[str, int]:
    """Bytes that the distilled set takes, labels counted.

    Images count 4 bytes per value (float32); pass what is stored, not what a parametrization makes of it.
    Hard labels (one-hot, one class per row) are implied by the class index: 0 bytes. All others are soft:
    4 bytes per entry of [K, n, Y].

    Returns:
        `{'images': bytes, 'labels': bytes}`.
    """
    labels = np.asarray(synthetic.labels)
    hard = np.isin(labels, (0, 1)).all() and (labels.sum(-1) == 1).all() and (labels == labels[:, :1]).all()
    return {'images': 4 * int(np.size(synthetic.images)), 'labels': 0 if hard else 4 * labels.size}


def grid(images: Any, *, class_names: Sequence[str] | None = None, max_per_class: int = 10,
         scale: int | None = None) -> np.ndarray:
    """Tiles a distilled set into one picture: a row per class, small white gaps.

    Args:
        images: `[K, n, H, W, C]` in [0, 1] (clipped), C in {1, 3}.
        class_names: K row labels, written at the left; None leaves the bare tiles.
        max_per_class: how many images of a class are shown, the first ones.
        scale: screen pixels per image pixel, enlarged without smoothing; None makes tiles of at least 48.

    Returns:
        `[height, width, 3]` uint8.

    Raises:
        ValueError: not five dimensions, C is neither 1 nor 3, or the number of names is not K.
    """
    images = np.asarray(images)
    if images.ndim != 5 or images.shape[-1] not in (1, 3):
        raise ValueError(f'images must be [K, n, H, W, 1 or 3], got shape {images.shape}')
    images = images[:, :max_per_class]
    scale = scale or max(1, -(-48 // min(images.shape[2:4])))
    tiles = np.clip(np.nan_to_num(images) * 255, 0, 255).round().astype(np.uint8)
    tiles = np.broadcast_to(tiles, (*tiles.shape[:-1], 3)).repeat(scale, axis=2).repeat(scale, axis=3)
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
    rows, columns, height, width, _ = tiles.shape
    canvas = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)[:-_GAP, :-_GAP]
    if class_names is None:
        return canvas
    return np.asarray(_page([canvas], (), class_names, rows))


def save_grid_png(path: str | os.PathLike, left: Any, right: Any, *, class_names: Sequence[str],
                  titles: tuple[str, str] = ('initial', 'distilled'), max_per_class: int = 10) -> None:
    """Draws the distilled images beside what they started from, one row per class, with names and titles.

    Args:
        path: the png file; written through a temporary file.
        left: `[K, n, H, W, C]` in [0, 1], the real initialisation.
        right: `[K, m, H, W, C]` in [0, 1], the distilled images.
        class_names: K names, the row labels.
        titles: of the left and the right half.
        max_per_class: how many images of a class are shown, the first ones.

    Raises:
        ValueError: the halves differ in classes or image shape, or the number of names is not K.
    """
    left, right = np.asarray(left), np.asarray(right)
    if left.shape[:1] + left.shape[2:] != right.shape[:1] + right.shape[2:]:
        raise ValueError('both halves must have the same classes and image shape, got '
                         f'{left.shape} and {right.shape}')
    halves = [grid(half, max_per_class=max_per_class) for half in (left, right)]
    content = io.BytesIO()
    _page(halves, titles, class_names, len(left)).save(content, 'png')
    write_whole(path, content.getvalue())


def _page(halves, titles, names, rows):
    """Grids side by side under their titles, class names at the left, centred on their rows."""
    if len(names) != rows:
        raise ValueError(f'{rows} classes of images but {len(names)} class names')
    pitch = (halves[0].shape[0] + _GAP) / rows
    label, title = _font(pitch * 0.36, 12, 22), _font(pitch * 0.45, 16, 26)
    indent = _MARGIN + round(max(label.getlength(name) for name in names)) + 12
    top = _MARGIN + (round(title.size * 1.6) if titles else 0)
    widths = [max(half.shape[1], *(round(title.getlength(text)) for text in titles), 1) for half in halves]
    width = indent + sum(widths) + _BETWEEN * (len(halves) - 1) + _MARGIN
    page = Image.new('RGB', (width, top + halves[0].shape[0] + _MARGIN), 'white')
    draw = ImageDraw.Draw(page)
    for i, half in enumerate(halves):
        x = indent + sum(widths[:i]) + _BETWEEN * i
        page.paste(Image.fromarray(half), (x, top))
        if titles:
            draw.text((x, _MARGIN), titles[i], font=title, fill=_INK)
    for row, name in enumerate(names):
        middle = top + (row + 0.5) * pitch - _GAP / 2
        draw.text((indent - 12, middle), name, font=label, fill=_INK, anchor='rm')
    return page


def _font(size, smallest, largest):
    return ImageFont.load_default(min(max(size, smallest), largest))


def _bytes(images, mean, std):
    mean, std = (np.asarray(value, np.float32) for value in (mean, std))
    if mean.shape != images.shape[-1:] or std.shape != images.shape[-1:]:
        raise ValueError(f'images have {images.shape[-1]} channels, but mean has shape {mean.shape} and std '
                         f'{std.shape}')
    if not np.isfinite(images).all():
        bad = np.argwhere(~np.isfinite(images).all(axis=(2, 3, 4)))[0]
        raise ValueError(f'image {bad[1]} of class {bad[0]} holds values that are not finite')
    return np.clip((images * std + mean) * 255, 0, 255).round().astype(np.uint8)


def _json(info):
    try:
        return json.dumps(dict(info), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f'info must be JSON with finite numbers: {error}') from error
