"""A tiny data set that can be learnt, made up from a seed."""
import numpy as np

from jaxdd.data import specs
from jaxdd.data.sources import Dataset
from jaxdd.types import Source


def fake(num_classes: int = 3, per_class: int = 20, image_shape: tuple[int, int, int] = (8, 8, 3),
         seed: int = 0) -> Dataset:
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


def _noisy(prototypes: np.ndarray, count: int, rng: np.random.Generator) -> Source:
    labels = rng.permutation(np.repeat(np.arange(len(prototypes), dtype=np.int32), count))
    noise = rng.normal(0, 25, (len(labels), *prototypes.shape[1:]))
    return Source((prototypes[labels] + noise).clip(0, 255).round().astype(np.uint8), labels)
