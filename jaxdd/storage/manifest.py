"""What a distilled set says of itself, and whether that is true of its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdd.storage.records import (
    AMOUNT,
    COUNT,
    TEXT,
    Schema,
    fields,
    listing,
    or_none,
    require_fits,
)

FORMAT, VERSION = 'jaxdd distilled set', 1
KINDS = ('hard', 'probabilities', 'logits')
DECODE = fields(
    factor={'type': 'integer', 'minimum': 2},
    order={'enum': ['column', 'row']},
    space={'enum': ['normalised', 'unit']},
    form={'enum': ['single', 'multi', 'bound']},
)
TEACHER = fields(name=TEXT, checksum=COUNT, accuracy=or_none(AMOUNT))
SCHEMA: Schema = {
    'type': 'object',
    'required': ['format', 'version', 'space', 'dataset', 'labels', 'bytes', 'decode'],
    'properties': {
        'format': {'const': FORMAT},
        'version': {'type': 'integer', 'minimum': 1},
        'space': {'enum': ['normalised', 'whitened']},
        'dataset': fields(
            name=TEXT,
            classes={'type': 'integer', 'minimum': 1},
            checksums=or_none(listing(COUNT, least=2)),
            licence=TEXT,
        ),
        'labels': fields(
            temperature=or_none(AMOUNT),
            kind={'enum': list(KINDS)},
            shown=TEXT,
            teachers=listing(TEACHER),
        ),
        'bytes': fields(images=COUNT, labels=COUNT),
        'decode': or_none(DECODE),
    },
}


def kind(labels: Any) -> str:
    """What labels `[K, n, Y]` are: 'hard', 'probabilities' or 'logits'.

    Hard ones are one-hot, each that of its own class.
    """
    labels = np.asarray(labels)
    own = np.broadcast_to(np.eye(len(labels), labels.shape[-1])[:, None], labels.shape)
    if np.array_equal(labels, own):
        return 'hard'
    inside = labels.min() >= 0 and labels.max() <= 1
    sums = labels.sum(-1, dtype=np.float64)
    return 'probabilities' if inside and (abs(sums - 1) <= 0.01).all() else 'logits'


def check(
    info: Mapping[str, Any],
    images: np.ndarray,
    labels: np.ndarray,
    sizes: Mapping[str, int],
    *,
    stored: Any = None,
    whitened: bool = False,
) -> None:
    """Refuses what a set says of itself where its arrays say otherwise.

    Args:
        info: of the file; one without a 'format' says nothing.
        images, labels: `[K, n, H, W, C]` and `[K, n, Y]`.
        sizes: bytes of images and labels, as counted.
        stored: what is kept of the images, if it differs from them.
        whitened: whether the images are.

    Raises:
        ValueError: names what is said and what is found.
    """
    if 'format' not in info:
        return
    require_fits(dict(info), SCHEMA, 'info')
    if info['version'] > VERSION:
        raise ValueError(
            f'it was written in version {info["version"]} of the format, and this program reads up '
            f'to {VERSION}: update jaxdd'
        )
    said = {
        'space': (info['space'], 'whitened' if whitened else 'normalised'),
        'dataset.classes': (info['dataset']['classes'], len(images)),
        'labels.kind': (info['labels']['kind'], kind(labels)),
        'bytes': (info['bytes'], dict(sizes)),
    }
    for name, (stated, found) in said.items():
        if stated != found:
            raise ValueError(f'info.{name} says {stated}, its arrays {found}')
    _check_decode(info['decode'], images.shape, stored)


def _check_decode(decode: Any, shape: tuple[int, ...], stored: Any) -> None:
    """As many images as the mosaics have tiles."""
    kept = None if isinstance(stored, Mapping) else stored
    mosaics = kept is not None
    if (decode is not None) != mosaics:
        raise ValueError(
            f'info.decode says {decode}, and its images are '
            f'{"stored as mosaics" if mosaics else "stored whole"}'
        )
    if kept is None or decode['form'] == 'multi':
        return
    tiles = decode['factor'] ** 2 * np.shape(kept)[1]
    if tiles != shape[1]:
        raise ValueError(f'info.decode makes {tiles} images per class, and there are {shape[1]}')
