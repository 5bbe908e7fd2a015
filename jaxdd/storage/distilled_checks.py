"""What a distilled set's file must be: everything in it is checked, whoever wrote it."""

import json
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdd import whitening
from jaxdd.types import SyntheticSet
from jaxdd.whitening import Whitening


def check(synthetic: SyntheticSet, about: Mapping[str, Any]) -> None:
    """Refuses a distilled set that a reader could misunderstand.

    Args:
        synthetic: floating images `[K, n, H, W, 1 or 3]` and labels `[K, n, K]`, all finite. Labels
            that all lie in [0, 1] are probabilities, and every row sums to 1 (within 0.01); any
            others are logits.
        about: the other fields as `load_npz` returns them. `images_uint8` are the images times std
            plus mean, give or take a grey level.

    Raises:
        ValueError: names the field, what was found and what is valid.
    """
    images = np.asarray(synthetic.images)
    check_images(images)
    _check_labels(np.asarray(synthetic.labels), images.shape)
    mean, std = np.asarray(about['mean']), np.asarray(about['std'])
    check_normalisation(mean, std, images.shape[-1])
    how = about.get('whitening')
    check_whitening(how, images.shape, mean, std)
    _check_levels(np.asarray(about['images_uint8']), images, mean, std, how)
    _check_names(about['class_names'], len(images))
    json_text(about['info'])
    _check_stored(about.get('stored'), images.shape)
    if synthetic.learning_rate is not None:
        rate = np.asarray(synthetic.learning_rate)
        if rate.shape or not is_floating(rate) or not 0 < rate < np.inf:
            raise ValueError(f'learning_rate must be one positive number, got {_seen(rate)}')


def check_images(images: np.ndarray) -> None:
    """Refuses what are no finite normalised images `[K, n, H, W, C]`."""
    if (
        images.ndim != 5
        or images.shape[-1] not in (1, 3)
        or not images.size
        or not is_floating(images)
    ):
        raise ValueError(
            'images must be [K, n, H, W, 1 or 3] normalised floats, at least one per class, got '
            f'{_seen(images)}'
        )
    for c, one in enumerate(images):  # a copy of all of them may not fit
        if not (finite := np.isfinite(one).all(axis=(1, 2, 3))).all():
            raise ValueError(
                f'image {int(np.argmin(finite))} of class {c} holds values that are not finite'
            )


def _check_labels(labels: np.ndarray, shape: tuple[int, ...]) -> None:
    if labels.ndim != 3 or labels.shape[:2] != shape[:2] or not is_floating(labels):
        raise ValueError(
            f'labels must be [{shape[0]}, {shape[1]}, {shape[0]}] floats, one vector per image, '
            f'got {_seen(labels)}'
        )
    if labels.shape[2] != shape[0]:
        raise ValueError(
            f'images are of {shape[0]} classes, labels of {labels.shape[2]}; a set holds images of '
            'every class, in label order'
        )
    if not np.isfinite(labels).all():
        raise ValueError('labels hold values that are not finite')
    total = labels.sum(-1, dtype=np.float64)
    if (
        labels.min() >= 0
        and labels.max() <= 1
        and (wrong := np.argwhere(abs(total - 1) > 0.01)).size
    ):
        c, i = wrong[0]
        raise ValueError(
            f'labels lie in [0, 1] as probabilities do, but those of image {i} of class {c} sum to '
            f'{total[c, i]:g}; every row must sum to 1'
        )


def check_normalisation(mean: np.ndarray, std: np.ndarray, channels: int) -> None:
    """Refuses a mean and a std that do not normalise images of so many channels."""
    if mean.shape != (channels,) or std.shape != (channels,):
        raise ValueError(
            f'images have {channels} channels, but mean has shape {mean.shape} and std {std.shape}'
        )
    if not (
        is_floating(mean)
        and is_floating(std)
        and np.isfinite([mean, std]).all()
        and (std > 0).all()
    ):
        raise ValueError(
            f'mean and std must be finite numbers, std above 0, got {mean.tolist()} and '
            f'{std.tolist()}'
        )


def check_whitening(
    how: Whitening | None, shape: tuple[int, ...], mean: np.ndarray, std: np.ndarray
) -> None:
    """Refuses a whitening that does not fit the images, or beside another normalisation."""
    if how is None:
        return
    whitening.check(how, shape[2:])
    if mean.any() or (std != 1).any():
        raise ValueError(
            f'whitened images have mean 0 and std 1, got {mean.tolist()} and {std.tolist()}'
        )


def _check_levels(
    levels: np.ndarray,
    images: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    how: Whitening | None,
) -> None:
    if levels.shape != images.shape or levels.dtype != np.uint8:
        raise ValueError(
            f'images_uint8 must be {images.shape} of uint8 as the images are, got {_seen(levels)}'
        )
    for c, (found, one) in enumerate(zip(levels, images)):
        apart = np.abs(found.astype(np.int16) - grey_levels(one, mean, std, how))
        if apart.max() > 1:
            raise ValueError(
                f'images_uint8 differ from images times std plus mean by up to {apart.max()} grey '
                f'levels (class {c}, image {np.argmax(apart.max(axis=(1, 2, 3)))}); at most 1 '
                'comes of rounding'
            )


def _check_names(names: Any, classes: int) -> None:
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'class_names must be {classes} texts, got {names!r}'[:200])
    if len(names) != classes:
        raise ValueError(f'{classes} classes of images but {len(names)} class names')
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f'class_names must differ, got {twice[0]!r} more than once')


def _check_stored(stored: Any, shape: tuple[int, ...]) -> None:
    arrays = (
        {f'stored_{name}': np.asarray(array) for name, array in stored.items()}
        if isinstance(stored, Mapping)
        else {}
        if stored is None
        else {'stored': np.asarray(stored)}
    )
    for name, array in arrays.items():
        if (
            not array.size
            or not (is_floating(array) or array.dtype.kind in 'biu')
            or not np.isfinite(array).all()
        ):
            raise ValueError(f'{name} must hold finite numbers, at least one, got {_seen(array)}')
        if name in ('stored', 'stored_images') and (array.ndim < 2 or len(array) != shape[0]):
            raise ValueError(
                f'{name} must be [{shape[0]}, images per class, ...], got {_seen(array)}'
            )
    if {'stored_natural', 'stored_compensators'} & set(arrays):
        natural, added = (
            arrays.get(name, np.zeros(0)) for name in ('stored_natural', 'stored_compensators')
        )
        _check_instances(natural, added, shape)


def _check_instances(natural: np.ndarray, added: np.ndarray, shape: tuple[int, ...]) -> None:
    """INFER's natural images, k per class, and M compensators of k images make k (M + 1) images per
    class."""
    classes, count, *image = shape
    k = natural.shape[1] if natural.ndim == 5 else count
    if (
        natural.shape != (classes, k, *image)
        or natural.dtype != np.uint8
        or not is_floating(added)
        or added.shape[1:] != (k, *image)
        or k * (len(added) + 1) != count
    ):
        raise ValueError(
            f'stored_natural must be [{classes}, k, ...] uint8 and stored_compensators [M, k, ...] '
            f'floats of images {tuple(image)} with k (M + 1) = {count}, got {_seen(natural)} and '
            f'{_seen(added)}'
        )


def is_floating(array: np.ndarray) -> bool:
    """Whether an array holds floating numbers of any kind."""
    return bool(jnp.issubdtype(array.dtype, jnp.floating))  # NumPy does not count bfloat16


def _seen(array: np.ndarray) -> str:
    return f'{array.dtype} of shape {array.shape}' if array.shape else repr(array.item())[:80]


def grey_levels(
    images: np.ndarray, mean: np.ndarray, std: np.ndarray, how: Whitening | None
) -> np.ndarray:
    """Images as pixels, uint8: times std plus mean, or whitened no more."""
    pixels = images * std + mean if how is None else whitening.unwhiten(how, images)
    return np.clip(pixels * 255, 0, 255).round().astype(np.uint8)


def json_text(info: Any) -> str:
    """The JSON text of an object.

    Raises:
        ValueError: it is none, or holds numbers that are not finite.
    """
    try:
        if not isinstance(info, Mapping):
            raise TypeError(f'an object is wanted, got {info!r}'[:200])
        return json.dumps(dict(info), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f'info must be JSON with finite numbers: {error}') from error
