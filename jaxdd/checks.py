"""The few input checks shared by public edges."""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np


def one_of(name: str, value: Any, valid: Iterable[Any]) -> None:
    """Refuses a value that is not among the valid ones.

    Args:
        name: what the value is called, e.g. 'data set'.
        value: what was received.
        valid: what could have been received.

    Raises:
        ValueError: names the value, all valid ones and the nearest of them.
    """
    valid = sorted(str(v) for v in valid)
    if str(value) in valid:
        return
    near = difflib.get_close_matches(str(value), valid, n=1)
    hint = f' Did you mean {near[0]!r}?' if near else ''
    raise ValueError(f'unknown {name} {value!r}; valid: {", ".join(valid)}.{hint}')


def labelled_images(images: Any, labels: Any, num_classes: int, *, where: str) -> None:
    """Refuses arrays that are not a labelled image set.

    Args:
        images: `[N, H, W, C]` uint8 with C in {1, 3}, an array or like one.
        labels: `[N]` integers in `0..num_classes-1`, every class present.
        num_classes: Y.
        where: where the arrays come from, for the message.

    Raises:
        ValueError: a wrong rank, dtype, channel count, length or label range, or an empty class.
    """
    # files are not decoded for this
    images = images if hasattr(images, 'dtype') else np.asanyarray(images)
    labels = np.asanyarray(labels)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise ValueError(
            f'{where}: images must be [N, height, width, 1 or 3], got shape {images.shape}'
        )
    if images.dtype != np.uint8:
        raise ValueError(
            f'{where}: images must be uint8 in 0..255, got {images.dtype}; '
            'convert with (images * 255).round().astype("uint8") if they are fractions'
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f'{where}: labels must be one integer per image, [{len(images)}], got shape '
            f'{labels.shape}'
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f'{where}: labels must be integers, got {labels.dtype}')
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(
            f'{where}: labels must lie in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}'
        )
    counts = np.bincount(labels.astype(np.int64), minlength=num_classes)  # uint64 does not count
    if (counts == 0).any():
        raise ValueError(
            f'{where}: class {int(np.argmin(counts))} has no images; every class needs at least one'
        )


def images_per_class(ipc: int, counts: Any) -> None:
    """Refuses an `ipc` that the smallest class cannot supply.

    Raises:
        ValueError: `ipc` is below 1 or larger than the smallest class; names that class and its
            size.
    """
    smallest = int(np.argmin(counts))
    if ipc < 1 or ipc > counts[smallest]:
        raise ValueError(
            f'ipc must be between 1 and the size of the smallest class '
            f'(class {smallest} has {int(counts[smallest])} images), got {ipc}'
        )
