"""A data set whose images are ZCA-whitened."""

import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdd import hosts, whitening
from jaxdd.data.image_files import checksum
from jaxdd.data.sources import Dataset
from jaxdd.data.specs import Spec, denormalise
from jaxdd.storage import npz, records
from jaxdd.storage.atomic import write_whole
from jaxdd.types import Source
from jaxdd.whitening import Whitening

_ROWS = 5000  # images whitened at a time
_FIELDS = ('mean', 'vectors', 'variances')


def whitened(dataset: Dataset, how: Whitening) -> Dataset:
    """A data set whose images are float32 and already whitened.

    What reads it need not know: its spec has mean 0 and std 1, and `normalise` leaves its images as
    they are. Both halves are whitened by one matrix, that of the training half.

    Args:
        dataset: of uint8 images in memory.
        how: fitted to its training half (`whitening.fit`), or to that of a distilled set.

    Raises:
        ValueError: images that stay on disk, or a whitening of images of another size.
    """
    require_whitenable(dataset)
    whitening.check(how, dataset.spec.image_shape)
    ones = (1.0,) * dataset.spec.image_shape[-1]
    raw = checksum(dataset.train), checksum(dataset.test)
    spec = dataset.spec._replace(mean=(0.0,) * len(ones), std=ones, zca=whitening.identity(how))
    halves = (_half(half, how) for half in (dataset.train, dataset.test))
    return Dataset(spec, *halves, whitening=how, raw=raw)


def require_whitenable(dataset: Dataset) -> None:
    """Refuses images that cannot be whitened.

    Raises:
        ValueError: they stay on disk, are whitened already, or are too large.
    """
    if dataset.spec.zca:
        raise ValueError(f'the images of {dataset.spec.name} are whitened already')
    if not isinstance(dataset.train.images, np.ndarray):
        raise ValueError(
            f'the images of {dataset.spec.name} stay on disk, but whitening needs them in memory; '
            'read them with lazy=False'
        )
    whitening.require_size(dataset.spec.image_shape)


def recalled_fit(
    dataset: Dataset, folder: pathlib.Path, *, log: Callable[[str], None] = print
) -> Whitening:
    """What whitens a data set, from a folder that keeps it, fitted where it is missing.

    Args:
        dataset: of uint8 images in memory.
        folder: of the whitenings of all sets.
        log: told what takes long, and which file was damaged.
    """
    require_whitenable(dataset)
    path = folder / f'{checksum(dataset.train):08x}.npz'
    # no two machines decompose alike to the last bit: the first process does it for all
    hosts.told(lambda: _keep(dataset, path, log))
    return _read(path, dataset.spec)


def _keep(dataset: Dataset, path: pathlib.Path, log: Callable[[str], None]) -> None:
    """Fits a whitening and writes it, where its file is not there or cannot be believed."""
    if path.exists():
        try:
            _read(path, dataset.spec)
            return
        except ValueError as error:
            log(f'{error}; {records.set_aside(path)}, and it is fitted again')
    log(f'whitening: decomposing the covariance of {len(dataset.train.labels)} images')
    how = whitening.fit(dataset.train.images)
    how = Whitening(*(np.asarray(array, np.float32) for array in how[:3]), how.eps)
    save(path, how)


def save(path: pathlib.Path, how: Whitening) -> None:
    """Writes a whitening as an npz file."""
    with tempfile.TemporaryFile() as file:
        np.savez(file, **{name: getattr(how, name) for name in _FIELDS}, eps=np.float64(how.eps))
        file.seek(0)
        write_whole(path, file.read())


def checksums(dataset: Dataset) -> tuple[int, int]:
    """Identifies both halves, whitened ones by what they were before.

    Every machine whitens them a little differently.
    """
    return dataset.raw or (checksum(dataset.train), checksum(dataset.test))


def pixels(dataset: Dataset, images: Any) -> np.ndarray:
    """What networks see as pixels in [0, 1], clipped, whitened or not.

    Args:
        images: `[..., H, W, C]`.
    """
    if dataset.whitening is None:
        return denormalise(dataset.spec, images)
    return np.clip(whitening.unwhiten(dataset.whitening, np.asarray(images)), 0, 1)


def _half(half: Source, how: Whitening) -> Source:
    out = np.empty(half.images.shape, np.float32)
    for start in range(0, len(out), _ROWS):
        some = half.images[start : start + _ROWS].astype(np.float32) / np.float32(255)
        out[start : start + _ROWS] = whitening.whiten(how, some)
    return half._replace(images=out)


def _read(path: pathlib.Path, spec: Spec) -> Whitening:
    fields = npz.read(path, advice='delete it')
    try:
        how = Whitening(*(fields[name] for name in _FIELDS), float(fields['eps']))
        whitening.check(how, spec.image_shape)
    except (KeyError, TypeError) as error:
        raise ValueError(f'{path} lacks {error}') from error
    return how
