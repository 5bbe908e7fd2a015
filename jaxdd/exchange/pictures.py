"""Pictures of a distilled set: encoded, decoded, put in class order, and made a set again."""

import io
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from jaxdd.data.image_files import in_threads, opened, resized
from jaxdd.exchange.forms import Artifact, Told, assemble, stored_pixels
from jaxdd.storage.atomic import write_whole
from jaxdd.storage.distilled_checks import check

JPEG = {'quality': 100, 'subsampling': 0}  # the least that a JPEG loses


def levels(artifact: Artifact) -> np.ndarray:
    """What is stored of a set as grey levels `[K, ipc, H, W, C]`, uint8."""
    pixels, _ = stored_pixels(artifact)
    return np.clip(pixels * 255, 0, 255).round().astype(np.uint8)


def encoded(images: np.ndarray, kind: str = 'PNG') -> list[bytes]:
    """Picture files of images `[N, H, W, C]` uint8: 'PNG' is exact, 'JPEG' is not."""
    options = JPEG if kind == 'JPEG' else {}

    def encode(index: int) -> bytes:
        image, content = images[index], io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
            content, kind, **options
        )
        return content.getvalue()

    return list(in_threads(encode, range(len(images)), None))


def decoded(pictures: Sequence[pathlib.Path] | Sequence[bytes], told: Told, where) -> np.ndarray:
    """Decodes pictures, `[N, H, W, C]` uint8 with as many channels as `told.mean`.

    Args:
        pictures: paths, or what files hold.
        where: the folder or file that they come from, for messages.

    Raises:
        ValueError: a damaged one, sizes that differ, colours where one channel is expected.
    """
    if len(told.mean) not in (1, 3):
        raise ValueError(f'images have 1 or 3 channels, and mean has {len(told.mean)} numbers')
    if not pictures:
        raise ValueError(f'{where}: there are no pictures')

    def decode(index: int) -> np.ndarray:
        image = _rgb(pictures[index], f'{where}: picture {index}')
        if len(told.mean) == 3:
            return image
        if (image != image[..., :1]).any():
            raise ValueError(
                f'{_name(pictures[index], f"{where}: picture {index}")}: it has colours, and mean '
                'has one number: give one per channel'
            )
        return image[..., :1]

    images = list(in_threads(decode, range(len(pictures)), None))
    for index, image in enumerate(images):
        if image.shape != images[0].shape:
            raise ValueError(
                f'{_name(pictures[index], f"{where}: picture {index}")} has '
                f'{image.shape[1]}x{image.shape[0]} pixels, and the first one '
                f'{images[0].shape[1]}x{images[0].shape[0]}: a set has images of one size'
            )
    return np.stack(images)


def assembled(
    images: np.ndarray, labels: np.ndarray | None, told: Told, where: str | pathlib.Path
) -> Artifact:
    """A set of grey levels.

    Args:
        images: `[K, ipc, H, W, C]` uint8.
        labels: `[K, ipc, Y]`; None: hard ones.
        told: `space` is 'unit', since pictures hold pixels. Mosaics may be of normalised pixels.
        where: the folder or file that they come from, for messages.

    Raises:
        ValueError: another space; what `assemble` and `check` refuse.
    """
    if told.space != 'unit':
        raise ValueError(
            f"{where}: pictures hold pixels, so that their space is 'unit', got {told.space!r}"
        )
    floats = images.astype(np.float32) / 255
    if told.decode is not None and told.decode.space == 'normalised':
        floats = (floats - np.asarray(told.mean, np.float32)) / np.asarray(told.std, np.float32)
        told = told._replace(space='normalised')
    found = assemble(floats, labels, told)
    check(found.synthetic, found.about)
    return found


def class_rows(labels: Iterable[int], class_names: Sequence[str], where: object) -> np.ndarray:
    """Which rows of a table are whose.

    Args:
        labels: one class number per row.
        class_names: K names in label order.
        where: the file, for messages.

    Returns:
        `[K, ipc]` row numbers, in their order within a class.

    Raises:
        ValueError: a label that is no class's, a class without rows, unequal numbers of rows.
    """
    numbers, count = np.asarray(labels), len(class_names)
    if (
        numbers.dtype.kind not in 'iu'
        or numbers.size
        and not 0 <= numbers.min() <= (numbers.max()) < count
    ):
        raise ValueError(
            f'{where}: labels must be integers in 0..{count - 1}, one per class name, got '
            f'{sorted(set(numbers.tolist()))[:12]}'
        )
    rows = [np.flatnonzero(numbers == c) for c in range(count)]
    require_equal({name: len(own) for name, own in zip(class_names, rows)}, where)
    return np.stack(rows)


def require_equal(counts: Mapping[str, int], where: object) -> None:
    """Refuses classes with different numbers of images, or with none.

    Raises:
        ValueError: names a class that has fewer than another one.
    """
    few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[few] == 0 or counts[few] != counts[many]:
        raise ValueError(
            f'{where}: class {few!r} has {counts[few]} images and class {many!r} {counts[many]}: '
            'a set has equally many of every class, at least one'
        )


def put(folder: pathlib.Path, files: Mapping[str, bytes]) -> tuple[pathlib.Path, ...]:
    """Writes files into a folder that holds nothing else.

    Args:
        files: contents by path in the folder, with `/` between its parts.

    Raises:
        ValueError: the folder holds other files, which a reader would take for a part of the set
            (hidden ones do not count); or it is none.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'{folder} is a file: give a folder')
    here = (path.relative_to(folder) for path in sorted(folder.rglob('*')) if not path.is_dir())
    others = [
        path.as_posix()
        for path in here
        if path.as_posix() not in files and not any(part.startswith('.') for part in path.parts)
    ]
    if others:
        raise ValueError(
            f'{folder} holds {len(others)} other files, e.g. {others[0]}, which would be taken for '
            'a part of the set: give an empty folder'
        )
    for name, content in files.items():
        write_whole(folder / name, content)
    return tuple(folder / name for name in files)


def _rgb(picture: pathlib.Path | bytes, where: str) -> np.ndarray:
    if isinstance(picture, pathlib.Path):
        return opened(picture, lambda image: resized(image, image.size, None))
    try:
        return opened(io.BytesIO(picture), lambda image: resized(image, image.size, None))  # pyright: ignore
    except ValueError as error:
        raise ValueError(f'{where} cannot be read as an image ({error.__cause__})') from error


def _name(picture: pathlib.Path | bytes, where: str) -> str:
    return where if isinstance(picture, bytes) else str(picture)
