"""Images that stay in their files until they are asked for."""

import dataclasses
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from jaxdd import checks
from jaxdd.types import Source

RESIZE = ('square', 'stretched', 'margin')
MARGIN = 256 / 224  # shorter side / side of the crop in ImageNet's usual test view
TRIES = 10  # crops drawn before the largest central one is taken
ORIENTATION = 274  # EXIF's tag; its values and what makes such an image upright:
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPS = tuple(TURNS[value] for value in (5, 6, 7, 8))  # height becomes width


@dataclasses.dataclass(frozen=True, eq=False)
class FolderImages:
    """An array `[N, H, W, 3]` uint8 over image files.

    An image is decoded each time it is looked at.

    `images[index]` takes what selects rows of an array (an integer, a slice, integers of any shape,
    a mask) and decodes them in threads: `[*index.shape, H, W, 3]`. The whole does not turn into an
    array by itself (`np.asarray(images)` refuses); `images[:]` says that it is meant.

    Attributes:
        root: the folder that `files` are relative to.
        files: N names.
        shape: (N, H, W, 3).
        resize: how an image becomes H x W. 'square': its shorter side is resized to H and the
            central square is kept; 'margin': likewise from a shorter side of 256/224 H, ImageNet's
            usual test view; 'stretched': both sides are resized, the aspect ratio is lost; None:
            the files are H x W already.
        workers: decoding threads; None = one per usable core.

    Note:
        An image is shown as its EXIF orientation says, and what is transparent (alpha channel,
        transparent colour of a palette) lies over white. torchvision's loader ignores both, so
        published teachers saw the few files of ImageNet with such a tag as they are stored.

        JPEGs much larger than H x W are decoded at a half, a quarter or an eighth of their size,
        the smallest that is not below what the resizing needs: several times faster, and a few grey
        levels from the full decoding.
    """

    root: str
    files: tuple[str, ...]
    shape: tuple[int, int, int, int]
    resize: str | None
    workers: int | None = None

    @property
    def dtype(self) -> np.dtype:
        """That of the decoded images, uint8."""
        return np.dtype(np.uint8)

    @property
    def ndim(self) -> int:
        """Axes of the decoded images, 4."""
        return 4

    @property
    def nbytes(self) -> int:
        """Bytes that the decoded images would take."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = np.arange(len(self))[index if isinstance(index, slice) else np.asarray(index)]
        out = np.empty((rows.size, *self.shape[1:]), np.uint8)
        for i, image in enumerate(in_threads(self.read, rows.ravel(), self.workers)):
            out[i] = image
        return out.reshape(*rows.shape, *self.shape[1:])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        raise ValueError(
            f'the {len(self)} images in {self.root} lie on disk and were asked for as one array of '
            f'{self.nbytes / 2**30:.3g} GiB; use a feed that reads them batch by batch '
            '(data.streamed, data.epochs_stream), or hold them in memory (data.load(..., '
            'lazy=False))'
        )

    def read(self, index: int) -> np.ndarray:
        """Decodes one image, `[H, W, 3]` uint8.

        Raises:
            ValueError: the file cannot be read, or has another size where `resize` is None.
        """
        size = self.shape[1:3]
        image = opened(self._path(index), lambda image: resized(image, size, self.resize))
        if image.shape != self.shape[1:]:
            raise ValueError(
                f'{self._path(index)} is {image.shape[1]}x{image.shape[0]} pixels, but the first '
                f'image is {size[1]}x{size[0]}; pass image_size to bring all images to one size'
            )
        return image

    def crop(
        self, index: int, draws: np.ndarray, size: tuple[int, int], scale: tuple[float, float]
    ) -> np.ndarray:
        """Decodes a random-resized crop `[*size, 3]` of one file at its own resolution.

        See `resized_crop`.
        """
        return opened(
            self._path(index), lambda image: resized_crop(image, draws, size, scale).convert('RGB')
        )

    def checksum(self) -> int:
        """A number that changes with any file's name or size and with H, W and `resize`.

        Contents are not read.
        """
        sizes = (os.stat(self._path(i)).st_size for i in range(len(self)))
        lines = '\n'.join(f'{name} {size}' for name, size in zip(self.files, sizes))
        return zlib.crc32(f'{self.shape} {self.resize}\n{lines}'.encode())

    def _path(self, index: int) -> str:
        return os.path.join(self.root, self.files[index])


def checksum(source: Source) -> int:
    """Identifies a labelled set: CRC-32 of labels and of pixels, or of the files' names and sizes.

    Args:
        source: images as an array or as `FolderImages`.

    Returns:
        32 bits.
    """
    images = source.images
    pixels = (
        images.checksum()
        if isinstance(images, FolderImages)
        else zlib.crc32(np.ascontiguousarray(images))
    )
    return zlib.crc32(np.ascontiguousarray(source.labels), pixels)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def in_threads(
    function: Callable[[int], Any], items: Iterable[int], workers: int | None
) -> Iterator[Any]:
    """Results of a function over items, in their order, computed in threads.

    The first failure ends it.

    Args:
        workers: threads; None = one per usable core.
    """
    items = list(items)
    if len(items) < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(min(workers or cores(), len(items)))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def opened(file: str | os.PathLike, view: Callable[[Image.Image], Any]) -> np.ndarray:
    """What `view` makes of an image file, as an array.

    Raises:
        ValueError: the file cannot be read, or has more than 8 bits per channel.
    """
    try:
        with Image.open(file) as image:
            if image.mode[0] in 'IF':
                raise ValueError('more than 8 bits per channel; save it with 8')
            return np.asarray(view(image))
    # Pillow signals a damaged file in as many ways as there are formats.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f'{file}: cannot be read as an image ({error})') from error


def resized(image: Image.Image, size: tuple[int, int], how: str | None) -> Image.Image:
    """An upright image at (H, W) = `size`, bilinear and antialiased.

    `how` is as in `FolderImages.resize`.
    """
    if how is None:
        return _rgb(upright(image))
    height, width = size
    if how == 'stretched':
        return _rgb(upright(image, (width, height))).resize(
            (width, height), Image.Resampling.BILINEAR
        )
    shorter = round(height * (MARGIN if how == 'margin' else 1))
    full = upright_size(image)
    factor = shorter / min(full)
    whole = tuple(max(shorter, round(s * factor)) for s in full)
    image = _rgb(upright(image, whole))
    if image.size != whole:
        image = image.resize(whole, Image.Resampling.BILINEAR)
    left, top = (whole[0] - width) // 2, (whole[1] - height) // 2
    return image.crop((left, top, left + width, top + height))


def resized_crop(
    image: Image.Image, draws: np.ndarray, size: tuple[int, int], scale: tuple[float, float]
) -> Image.Image:
    """A random box of the upright image, resized to (H, W) = `size`, bilinear and antialiased.

    At its border the filter sees the pixels outside the box, where torchvision, which cuts first,
    has none.

    Args:
        image: of any mode; JPEGs may still be undecoded, and are then decoded no larger than
            needed.
        draws: `[TRIES, 4]` uniform in [0, 1), see `crop_box`.
        scale: least and largest area of the box, fractions of the image's.
    """
    full, (height, width) = upright_size(image), size
    top, left, rows, columns = crop_box(draws, (full[1], full[0]), scale)
    image = upright(image, (-(-full[0] * width // columns), -(-full[1] * height // rows)))
    shrunk = image.size[0] / full[0], image.size[1] / full[1]
    box = (
        left * shrunk[0],
        top * shrunk[1],
        min((left + columns) * shrunk[0], image.size[0]),
        min((top + rows) * shrunk[1], image.size[1]),
    )
    # Of grey images the small result is cheaper to convert.
    kept = image if image.mode == 'L' and not transparent(image) else _rgb(image)
    return kept.resize((width, height), Image.Resampling.BILINEAR, box=box)


def crop_box(
    draws: np.ndarray,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """A box of random area, shape and place: Inception's crop, drawn on the host.

    Area a H W with a uniform in `scale`, width / height = r with log r uniform in log `ratio`, both
    sides rounded; the first of these boxes that fits, anywhere in the image. If none does: the
    largest centred box whose shape is within `ratio`. Szegedy et al., CVPR 2015,
    https://arxiv.org/abs/1409.4842, section 6; torchvision's RandomResizedCrop.

    Args:
        draws: `[TRIES, 4]` uniform in [0, 1): area, shape, vertical and horizontal place.
        size: (H, W) of the image, pixels.
        scale: least and largest area, fractions of the image's.
        ratio: least and largest width / height.

    Returns:
        (top, left, height, width), pixels.
    """
    height, width = size
    area = (scale[0] + draws[:, 0] * (scale[1] - scale[0])) * height * width
    shape = np.exp(np.log(ratio[0]) + draws[:, 1] * np.log(ratio[1] / ratio[0]))
    for h, w, down, right in zip(
        np.rint(np.sqrt(area / shape)), np.rint(np.sqrt(area * shape)), *draws[:, 2:].T
    ):
        if 0 < h <= height and 0 < w <= width:
            return int(down * (height - h + 1)), int(right * (width - w + 1)), int(h), int(w)
    h, w = min(height, round(width / ratio[0])), min(width, round(height * ratio[1]))
    return (height - h) // 2, (width - w) // 2, h, w


def check_resize(resize: str) -> None:
    """Refuses a way of resizing that is not one of `RESIZE`.

    Raises:
        ValueError: names the valid ones.
    """
    checks.one_of('resize', resize, RESIZE)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image as its orientation says; nothing is decoded."""
    return image.size[::-1] if _turn(image) in SWAPS else image.size


def upright(image: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
    """An image as its orientation says.

    It is the same object, maybe undecoded, where that is as stored.

    Args:
        image: JPEGs may still be undecoded.
        size: least (width, height) of the result that is of use; JPEGs are decoded no larger than
            needed.
    """
    turn = _turn(image)
    if size:
        image.draft(None, size[::-1] if turn in SWAPS else size)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes an image upright; None where its EXIF data says nothing or cannot be read."""
    if 'exif' not in image.info:
        return None
    try:
        return TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # damaged in one of many ways; the pixels are not
        return None


def transparent(image: Image.Image) -> bool:
    """Whether an image has an alpha channel or a transparent colour."""
    return image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info


def _rgb(image: Image.Image) -> Image.Image:
    image.load()
    if transparent(image):
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image if image.mode == 'RGB' else image.convert('RGB')
