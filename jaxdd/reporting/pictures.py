"""Pictures of image sets: a row per class, under their titles."""

import io
import os
import unicodedata
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxdd.storage.atomic import write_whole

_INK, _GAP, _BETWEEN, _MARGIN = (40, 40, 40), 3, 32, 16  # the lengths in screen pixels
# fonts that claim every letter and draw none
_FRAMES = ('Last Resort', '.LastResort', 'LastResort', 'Adobe Blank')


def grid(
    images: Any,
    *,
    class_names: Sequence[str] | None = None,
    max_per_class: int = 10,
    scale: int | None = None,
) -> np.ndarray:
    """Tiles a distilled set into one picture: a row per class, small white gaps.

    Args:
        images: `[K, n, H, W, C]` in [0, 1] (clipped), C in {1, 3}.
        class_names: K row labels, written at the left; None leaves the bare tiles.
        max_per_class: how many images of a class are shown, the first ones.
        scale: screen pixels per image pixel, enlarged without smoothing; None makes tiles of at
            least 48.

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
    tiles = (
        np.broadcast_to(tiles, (*tiles.shape[:-1], 3)).repeat(scale, axis=2).repeat(scale, axis=3)
    )
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
    rows, columns, height, width, _ = tiles.shape
    canvas = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)[
        :-_GAP, :-_GAP
    ]
    if class_names is None:
        return canvas
    return np.asarray(_page([canvas], (), class_names, rows))


def save_grid_png(
    path: str | os.PathLike,
    left: Any,
    right: Any,
    *,
    class_names: Sequence[str],
    titles: tuple[str, str] = ('initial', 'distilled'),
    max_per_class: int = 10,
) -> None:
    """Draws the distilled images beside what they started from.

    Each class has a row, with names and titles.

    Args:
        path: the png file; written through a temporary file.
        left: `[K, n, H, W, C]` in [0, 1], the real initialisation.
        right: `[K, m, H, W, C]` in [0, 1], the distilled images.
        class_names: K names, the row labels. Where no font here has all their letters, a name that
            cannot be written whole shows its number and the letters that can be.
        titles: of the left and the right half.
        max_per_class: how many images of a class are shown, the first ones.

    Raises:
        ValueError: the halves differ in classes or image shape, or the number of names is not K.
    """
    left, right = np.asarray(left), np.asarray(right)
    if left.shape[:1] + left.shape[2:] != right.shape[:1] + right.shape[2:]:
        raise ValueError(
            'both halves must have the same classes and image shape, got '
            f'{left.shape} and {right.shape}'
        )
    halves = [grid(half, max_per_class=max_per_class) for half in (left, right)]
    content = io.BytesIO()
    _page(halves, titles, class_names, len(left)).save(content, 'png')
    write_whole(path, content.getvalue())


def small_enough(content: bytes, *, width: int = 1800) -> bytes:
    """A picture file as a page holds it: a wide one is made narrower, and a jpeg.

    Args:
        content: png.
        width: pixels; a narrower picture stays as it is.
    """
    with Image.open(io.BytesIO(content)) as image:
        if image.width <= width:
            return content
        small = image.convert('RGB').resize((width, round(image.height * width / image.width)))
    made = io.BytesIO()
    small.save(made, 'jpeg', quality=88)
    return made.getvalue()


def written(
    texts: Sequence[str], size: float
) -> tuple[ImageFont.FreeTypeFont, list[tuple[str, bool]]]:
    """Chooses one font for some texts:
    Pillow's own where it suffices, else the first that has all their letters.

    Args:
        texts: of any script; white space becomes single blanks, what cannot be printed is dropped.
        size: of the letters, pixels.

    Returns:
        The font, and each text as it can be written with it: (text, whether it is whole).
    """
    texts = [unicodedata.normalize('NFC', ' '.join(text.split())) for text in texts]
    texts = [''.join(letter for letter in text if letter.isprintable()) for text in texts]
    letters = set(''.join(texts)) - {' '}
    if all(letter.isascii() for letter in letters):
        # With a size this is a scalable font or an error.
        return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size)), [
            (text, True) for text in texts
        ]
    files = _font_files()
    file = next((file for file in files if letters <= _letters(file)), files[0])
    missing = str.maketrans(dict.fromkeys(letters - _letters(file), ''))
    parts = [' '.join(text.translate(missing).split()) for text in texts]
    return ImageFont.truetype(file, size), [
        (part, part == text) for part, text in zip(parts, texts)
    ]


def _page(
    halves: Sequence[np.ndarray], titles: Sequence[str], names: Sequence[str], rows: int
) -> Image.Image:
    """Grids side by side under their titles, class names at the left, centred on their rows."""
    if len(names) != rows:
        raise ValueError(f'{rows} classes of images but {len(names)} class names')
    pitch = (halves[0].shape[0] + _GAP) / rows
    label, shown = written(names, min(max(pitch * 0.36, 12), 22))
    title, headings = written(titles, min(max(pitch * 0.45, 16), 26))
    shown = [new if whole else f'{row} {new}'.strip() for row, (new, whole) in enumerate(shown)]
    indent = _MARGIN + round(max(label.getlength(name) for name in shown)) + 12
    top = _MARGIN + (round(title.size * 1.6) if headings else 0)
    widths = [
        max(half.shape[1], *(round(title.getlength(text)) for text, _ in headings), 1)
        for half in halves
    ]
    width = indent + sum(widths) + _BETWEEN * (len(halves) - 1) + _MARGIN
    page = Image.new('RGB', (width, top + halves[0].shape[0] + _MARGIN), 'white')
    draw = ImageDraw.Draw(page)
    for i, half in enumerate(halves):
        x = indent + sum(widths[:i]) + _BETWEEN * i
        page.paste(Image.fromarray(half), (x, top))
        if headings:
            draw.text((x, _MARGIN), headings[i][0], font=title, fill=_INK)
    for row, name in enumerate(shown):
        middle = top + (row + 0.5) * pitch - _GAP / 2
        draw.text((indent - 12, middle), name, font=label, fill=_INK, anchor='rm')
    return page


def _font_files() -> list[str]:
    """DejaVu Sans, which comes with matplotlib, then the system's upright fonts,
    those of usual weight first."""
    # slow to import, and plain names need no other font
    from matplotlib import font_manager, get_data_path

    own = get_data_path()
    others = sorted(
        (font.weight not in (400, 'normal', 'regular'), font.fname)
        for font in font_manager.fontManager.ttflist
        if font.style == 'normal' and not font.fname.startswith(own) and font.name not in _FRAMES
    )
    return [os.path.join(own, 'fonts', 'ttf', 'DejaVuSans.ttf'), *(file for _, file in others)]


def _letters(file: str) -> set[str]:
    """What a font can draw at any size; nothing where it cannot be read."""
    from matplotlib import font_manager

    try:
        ImageFont.truetype(file, 16)
        return set(map(chr, font_manager.get_font(file).get_charmap()))
    except (OSError, RuntimeError):
        # a file that is gone since the fonts were listed, or bitmaps of one size
        return set()
