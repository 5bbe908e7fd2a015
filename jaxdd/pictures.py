"""Pictures of image sets: a row per class, under their titles."""
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxdd.files import write_whole

_INK, _GAP, _BETWEEN, _MARGIN = (40, 40, 40), 3, 32, 16    # the lengths in screen pixels


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
