"""Data sets that can be learnt, made up from a seed:
a tiny one in memory, and JPEG folders of any size."""

import os
import pathlib

import numpy as np
from PIL import Image

from jaxdd.data import specs
from jaxdd.data.image_files import in_threads
from jaxdd.data.sources import Dataset
from jaxdd.types import Source


def fake(
    num_classes: int = 3,
    per_class: int = 20,
    image_shape: tuple[int, int, int] = (8, 8, 3),
    seed: int = 0,
) -> Dataset:
    """Makes images that are their class's prototype plus noise; for tests and smoke runs.

    Args:
        num_classes: Y.
        per_class: training images of each class; the test half has a quarter of them, at least one.
        image_shape: (H, W, C).
        seed: the same seed gives the same bytes.

    Returns:
        Both halves in random class order, and a spec with their measured mean and std.
    """
    rng = np.random.default_rng(seed)
    prototypes = rng.uniform(50, 205, (num_classes, *image_shape))
    train, test = (_noisy(prototypes, count, rng) for count in (per_class, max(per_class // 4, 1)))
    names = tuple(f'class {c}' for c in range(num_classes))
    row = specs.for_arrays(train.images, num_classes, 'fake')
    return Dataset(row._replace(class_names=names), train, test)


def write_jpeg_folder(
    path: str | os.PathLike,
    *,
    num_classes: int,
    per_class: int,
    side: int | tuple[int, int],
    test_per_class: int | None = None,
    seed: int = 0,
    noise: float = 12.0,
) -> pathlib.Path:
    """Writes an image folder of made-up JPEGs, `train/<class>/*.jpg` and `val/<class>/*.jpg`.

    An image is its class's smooth coloured pattern, with its own soft blotches, brightness and
    grain.

    Args:
        path: the folder; existing files of the same names are overwritten.
        num_classes: Y.
        per_class: training images of each class.
        side: height and width, pixels, or one number for both.
        test_per_class: images of each class in `val`; None = a quarter of `per_class`, at least
            one.
        seed: the same seed gives the same files.
        noise: standard deviation of the grain, grey levels. It fills the files, as detail does in
            photographs: at 12 an image of 375x500 takes 79 kB.

    Returns:
        The folder; `data.load` reads it.
    """
    root, (height, width) = (
        pathlib.Path(os.path.expanduser(path)),
        (side, side) if isinstance(side, int) else side,
    )
    grain = np.random.default_rng(seed).normal(0, noise, (height, width)).astype(np.float32)
    counts = {
        'train': per_class,
        'val': max(per_class // 4, 1) if test_per_class is None else test_per_class,
    }

    def write(label: int) -> None:
        pattern = np.random.default_rng((seed, label)).uniform(40, 215, (4, 4, 3))
        for number, (half, count) in enumerate(counts.items()):
            folder = root / half / f'class{label:05d}'
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng((seed, label, number))
            for i in range(count):
                image = Image.fromarray(_grainy(pattern, grain, rng))
                image.save(folder / f'{i:05d}.jpg', quality=90)

    for _ in in_threads(write, range(num_classes), None):
        pass
    return root


def _grainy(pattern: np.ndarray, grain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One image `[H, W, 3]` uint8 of a class."""
    coarse = pattern + rng.normal(0, 15, pattern.shape) + rng.normal(0, 15)
    smooth = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(
        grain.shape[::-1], Image.Resampling.BICUBIC
    )
    rolled = np.roll(grain, rng.integers(0, grain.shape), (0, 1))
    return (np.asarray(smooth, np.float32) + rolled[..., None]).clip(0, 255).astype(np.uint8)


def _noisy(prototypes: np.ndarray, count: int, rng: np.random.Generator) -> Source:
    labels = rng.permutation(np.repeat(np.arange(len(prototypes), dtype=np.int32), count))
    noise = rng.normal(0, 25, (len(labels), *prototypes.shape[1:]))
    return Source((prototypes[labels] + noise).clip(0, 255).round().astype(np.uint8), labels)
