"""Images that a user chose for a synthetic set to start from, or to be made of (INFER)."""

import os
import pathlib

import numpy as np

from jaxdd import checks
from jaxdd.data.batches import chosen_subset, class_members
from jaxdd.data.folder import SUFFIXES, images_in
from jaxdd.data.image_files import FolderImages
from jaxdd.data.specs import Spec
from jaxdd.storage import npz
from jaxdd.types import Source, SyntheticSet

ACCEPTED = (
    'give an .npz file with images (uint8 [N, H, W, C]) and labels (integers [N]), or a folder '
    'with one folder of images per class'
)


def given_subset(path: str | os.PathLike, spec: Spec, *, ipc: int) -> SyntheticSet:
    """The first images of every class that a user gives, as a synthetic set.

    Args:
        path: an .npz file with images and labels of the data set's size and numbers; or a folder
            `<class>/*.png` or `*.jpg`, classes named as the data set names them, whose images are
            resized to its size (shorter side, then the central square).
        spec: the data set's row.
        ipc: images per class.

    Returns:
        Normalised images `[Y, ipc, H, W, C]` and one-hot labels, in class order; files of a class
        in the order of their names.

    Raises:
        ValueError: no such file or folder; other classes or other images than the data set's; fewer
            than `ipc` images of a class.
    """
    path = pathlib.Path(os.path.expanduser(path))
    source = _of_folder(path, spec) if path.is_dir() else _of_npz(path, spec)
    checks.labelled_images(*source, spec.num_classes, where=str(path))
    if tuple(source.images.shape[1:]) != tuple(spec.image_shape):
        raise ValueError(
            f'{path}: images are {tuple(source.images.shape[1:])}, those of {spec.name} are '
            f'{tuple(spec.image_shape)}'
        )
    members, _ = class_members(source, spec.num_classes, 1)
    counts = (members >= 0).sum(1)
    if counts.min() < ipc:
        few = int(counts.argmin())
        name = spec.class_names[few] if spec.class_names else few
        raise ValueError(
            f'{path}: {ipc} images per class are needed, and class {name} has {counts[few]}'
        )
    return chosen_subset(source, spec, members[:, :ipc])


def _of_npz(path: pathlib.Path, spec: Spec) -> Source:
    if path.suffix != '.npz':
        what = 'neither an .npz file nor a folder' if path.exists() else 'no such file or folder'
        raise ValueError(f'{path}: {what}; {ACCEPTED}')
    found = npz.read(path, ('images', 'labels'), advice=ACCEPTED)
    if missing := [name for name in ('images', 'labels') if name not in found]:
        raise ValueError(f'{path}: it lacks {", ".join(missing)}; {ACCEPTED}')
    return Source(found['images'], np.asarray(found['labels']))


def _of_folder(path: pathlib.Path, spec: Spec) -> Source:
    found = sorted(f.name for f in path.iterdir() if f.is_dir() and not f.name.startswith('.'))
    names = spec.class_names or tuple(found)
    missing, extra = sorted(set(names) - set(found)), sorted(set(found) - set(names))
    if missing or extra or len(found) != spec.num_classes:
        raise ValueError(
            f'{path}: {len(found)} classes, {spec.name} has {spec.num_classes}; missing: '
            f'{", ".join(missing) or "none"}; more: {", ".join(extra) or "none"}'
        )
    files = [
        (f'{name}/{file}', label)
        for label, name in enumerate(names)
        for file in images_in(path / name)
    ]
    if not files:
        raise ValueError(f'{path}: no images ({", ".join(SUFFIXES)}); {ACCEPTED}')
    shape = (len(files), *spec.image_shape[:2], 3)
    images = FolderImages(str(path), tuple(file for file, _ in files), shape, 'square')
    return Source(images, np.array([label for _, label in files], np.int32))
