"""Some classes of a data set, as a data set of their own or within it."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxdd.data.image_files import FolderImages
from jaxdd.data.sources import Dataset
from jaxdd.types import Source


def of_classes(dataset: Dataset, classes: Sequence[int]) -> Dataset:
    """The data set that some classes are alone, numbered anew in the order in which they are named.

    Args:
        dataset: of pixels; a whitened one was fitted to all of its classes.
        classes: their numbers, two or more.

    Returns:
        The same normalisation; labels `0 ... len(classes) - 1`, and the names of these classes.

    Raises:
        ValueError: fewer than two classes, one twice, one that is not there, or a whitened set.
    """
    spec, classes = dataset.spec, tuple(classes)
    if spec.zca:
        raise ValueError(f'{spec.name} was whitened with all of its classes; choose them before')
    if len(set(classes)) < max(2, len(classes)) or not set(classes) <= set(range(spec.num_classes)):
        raise ValueError(
            f'classes must be two or more different numbers from 0 to {spec.num_classes - 1}, got '
            f'{" ".join(map(str, classes)) or "none"}'
        )
    named = None if spec.class_names is None else tuple(spec.class_names[c] for c in classes)
    number = np.full(spec.num_classes, -1, np.int32)
    number[list(classes)] = np.arange(len(classes))
    halves = (only(half, classes) for half in (dataset.train, dataset.test))
    return dataset._replace(
        spec=spec._replace(num_classes=len(classes), class_names=named),
        **{
            name: half._replace(labels=number[np.asarray(half.labels)])
            for name, half in zip(('train', 'test'), halves)
        },
    )


def only(source: Source, classes: Sequence[int]) -> Source:
    """The images of some classes, in their order and under their own numbers."""
    chosen = np.flatnonzero(np.isin(np.asarray(source.labels), list(classes)))
    images = source.images
    if isinstance(images, FolderImages):  # which stay on disk
        files = tuple(images.files[i] for i in chosen)
        images = dataclasses.replace(images, files=files, shape=(len(files), *images.shape[1:]))
    else:
        images = images[chosen]
    return Source(images, np.asarray(source.labels)[chosen])
