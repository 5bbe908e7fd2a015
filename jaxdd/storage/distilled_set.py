"""A distilled set as a file that explains itself:
npz with all one needs to use it, checked whoever wrote it."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdd import whitening as zca
from jaxdd.storage import npz
from jaxdd.storage.atomic import write_whole
from jaxdd.types import SyntheticSet
from jaxdd.whitening import Whitening

FIELDS = ('images', 'labels', 'images_uint8', 'mean', 'std', 'class_names', 'info')
ADVICE = (
    'copy the file again, or make it again with `jaxdd.storage.distilled_set.save_npz` or the '
    'command of its run'
)


def save_npz(
    path: str | os.PathLike,
    synthetic: SyntheticSet,
    *,
    mean: Sequence[float] | np.ndarray,
    std: Sequence[float] | np.ndarray,
    class_names: Sequence[str],
    info: Mapping[str, Any],
    stored: Any = None,
    whitening: Whitening | None = None,
) -> None:
    """Writes a distilled set with all that is needed to use it elsewhere, through a temporary file.

    Fields: `images` [K, n, H, W, C] float32 normalised, `labels` [K, n, K] float32, `images_uint8`
    (the images times std plus mean, in 0..255), `mean` and `std` [C] of pixels in [0, 1],
    `class_names` [K], `info` (JSON text), `learning_rate` if the set has one, `stored` if what is
    kept differs from the images, and `whitening_mean`, `whitening_vectors`, `whitening_variances`
    and `whitening_eps` if the images are whitened: `jaxdd.whitening.whiten` makes test images what
    a student of the set expects.

    Args:
        path: the file; parents are made.
        synthetic: the distilled set, with images of every class in label order.
        mean, std: per channel, the normalisation of the images.
        class_names: K names in label order.
        info: JSON-able facts: method, configuration, seed, protocol.
        stored: what a parametrization keeps and makes the images of: mosaics `[K, ipc, H, W, C]`
            float32 (IDM, IDC), left out where they have the images' shape; or arrays by name
            (INFER), fields `stored_<name>`.
        whitening: of whitened images, whose mean is 0 and std 1; `images_uint8` are then the
            pixels that it makes of them.

    Raises:
        ValueError: what `check` refuses.
    """
    images, labels = _float32(synthetic.images), _float32(synthetic.labels, 'biu')
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    _check_images(images)
    _check_normalisation(mean, std, images.shape[-1])
    _check_whitening(whitening, images.shape, mean, std)
    fields: dict[str, Any] = {
        'images': images,
        'labels': labels,
        'images_uint8': _bytes(images, mean, std, whitening),
        'mean': mean,
        'std': std,
        'class_names': np.asarray(list(class_names)),
        'info': np.asarray(_json(info)),
    }
    if isinstance(stored, Mapping):
        fields |= {f'stored_{name}': np.asarray(array) for name, array in stored.items()}
    elif stored is not None and np.shape(stored) != images.shape:
        fields['stored'] = np.asarray(stored, np.float32)
    if whitening is not None:
        fields |= {
            f'whitening_{name}': np.asarray(value, np.float32)
            for name, value in whitening._asdict().items()
        }
    if synthetic.learning_rate is not None:
        fields['learning_rate'] = np.asarray(synthetic.learning_rate, np.float32)
    check(*_parts(fields))
    content = io.BytesIO()
    np.savez_compressed(content, **fields)
    write_whole(path, content.getvalue())


def load_npz(path: str | os.PathLike) -> tuple[SyntheticSet, dict[str, Any]]:
    """Reads what `save_npz` wrote, or whoever kept to its fields.

    Returns:
        The set (numpy arrays, bitwise as saved) and a dict of the other fields: `images_uint8`,
        `mean`, `std` as arrays, `class_names` as a tuple, `info` as it was given;
        `stored` and `whitening` (a `Whitening`) if the file has them.

    Raises:
        ValueError: no such file, not an npz file, a damaged one, fields that are missing (names
            them), or what `check` refuses.
    """
    fields = npz.read(path, advice=ADVICE)
    try:
        if missing := [name for name in FIELDS if name not in fields]:
            raise ValueError(f'it lacks {", ".join(missing)}')
        synthetic, about = _parts(fields)
        check(synthetic, about)
    except ValueError as error:
        raise ValueError(f'{path} is not a distilled set: {error}; {ADVICE}') from error
    return synthetic, about


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
    _check_images(images)
    _check_labels(np.asarray(synthetic.labels), images.shape)
    mean, std = np.asarray(about['mean']), np.asarray(about['std'])
    _check_normalisation(mean, std, images.shape[-1])
    how = about.get('whitening')
    _check_whitening(how, images.shape, mean, std)
    _check_levels(np.asarray(about['images_uint8']), images, mean, std, how)
    _check_names(about['class_names'], len(images))
    _json(about['info'])
    _check_stored(about.get('stored'), images.shape)
    if synthetic.learning_rate is not None:
        rate = np.asarray(synthetic.learning_rate)
        if rate.shape or not _floating(rate) or not 0 < rate < np.inf:
            raise ValueError(f'learning_rate must be one positive number, got {_seen(rate)}')


def stored_bytes(synthetic: SyntheticSet) -> dict[str, int]:
    """Bytes that the distilled set takes, labels counted.

    Images count 4 bytes per value (float32); pass what is stored, not what a parametrization makes
    of it. Hard labels (one-hot, one class per row) are implied by the class index: 0 bytes. All
    others are soft: 4 bytes per entry of [K, n, Y].

    Returns:
        `{'images': bytes, 'labels': bytes}`.
    """
    labels = np.asarray(synthetic.labels)
    hard = (
        np.isin(labels, (0, 1)).all()
        and (labels.sum(-1) == 1).all()
        and (labels == labels[:, :1]).all()
    )
    return {'images': 4 * int(np.size(synthetic.images)), 'labels': 0 if hard else 4 * labels.size}


def _parts(fields: Mapping[str, Any]) -> tuple[SyntheticSet, dict[str, Any]]:
    """A set, NumPy's arrays in the place of JAX's, and what is known about it,
    of a file's fields."""
    names = fields['class_names'].tolist()
    about = {
        'images_uint8': fields['images_uint8'],
        'mean': fields['mean'],
        'std': fields['std'],
        'class_names': tuple(names) if isinstance(names, list) else names,
        **_stored(fields),
        **_whitening(fields),
        'info': _object(fields['info']),
    }
    return SyntheticSet(fields['images'], fields['labels'], fields.get('learning_rate')), about


def _stored(fields: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """{'stored': array or arrays by name}, or nothing."""
    named = {
        name.removeprefix('stored_'): array
        for name, array in fields.items()
        if name.startswith('stored_')
    }
    if named and 'stored' in fields:
        raise ValueError(
            f'it has the field stored beside stored_{next(iter(named))}, of which one is enough'
        )
    kept = fields.get('stored', named or None)
    return {} if kept is None else {'stored': kept}


def _whitening(fields: Mapping[str, np.ndarray]) -> dict[str, Whitening]:
    """{'whitening': Whitening}, or nothing."""
    names = [f'whitening_{name}' for name in Whitening._fields]
    found = [name for name in names if name in fields]
    if not found:
        return {}
    if missing := sorted(set(names) - set(found)):
        raise ValueError(f'it has {found[0]}, but lacks {", ".join(missing)}')
    mean, vectors, variances, eps = (fields[name] for name in names)
    return {'whitening': Whitening(mean, vectors, variances, eps)}  # pyright: ignore


def _check_images(images: np.ndarray) -> None:
    if (
        images.ndim != 5
        or images.shape[-1] not in (1, 3)
        or not images.size
        or not _floating(images)
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
    if labels.ndim != 3 or labels.shape[:2] != shape[:2] or not _floating(labels):
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


def _check_normalisation(mean: np.ndarray, std: np.ndarray, channels: int) -> None:
    if mean.shape != (channels,) or std.shape != (channels,):
        raise ValueError(
            f'images have {channels} channels, but mean has shape {mean.shape} and std {std.shape}'
        )
    if not (
        _floating(mean) and _floating(std) and np.isfinite([mean, std]).all() and (std > 0).all()
    ):
        raise ValueError(
            f'mean and std must be finite numbers, std above 0, got {mean.tolist()} and '
            f'{std.tolist()}'
        )


def _check_whitening(
    how: Whitening | None, shape: tuple[int, ...], mean: np.ndarray, std: np.ndarray
) -> None:
    if how is None:
        return
    zca.check(how, shape[2:])
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
        apart = np.abs(found.astype(np.int16) - _bytes(one, mean, std, how))
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
            or not (_floating(array) or array.dtype.kind in 'biu')
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
        or not _floating(added)
        or added.shape[1:] != (k, *image)
        or k * (len(added) + 1) != count
    ):
        raise ValueError(
            f'stored_natural must be [{classes}, k, ...] uint8 and stored_compensators [M, k, ...] '
            f'floats of images {tuple(image)} with k (M + 1) = {count}, got {_seen(natural)} and '
            f'{_seen(added)}'
        )


def _float32(array: Any, kinds: str = '') -> np.ndarray:
    """Floats, and numbers of other kinds if asked, as float32;
    whatever else as it is, for a check to refuse."""
    array = np.asarray(array)
    return (
        np.asarray(array, np.float32)
        if _floating(array) or array.dtype.kind in (kinds or '-')
        else array
    )


def _floating(array: np.ndarray) -> bool:
    return bool(jnp.issubdtype(array.dtype, jnp.floating))  # NumPy does not count bfloat16


def _seen(array: np.ndarray) -> str:
    return f'{array.dtype} of shape {array.shape}' if array.shape else repr(array.item())[:80]


def _bytes(
    images: np.ndarray, mean: np.ndarray, std: np.ndarray, how: Whitening | None
) -> np.ndarray:
    pixels = images * std + mean if how is None else zca.unwhiten(how, images)
    return np.clip(pixels * 255, 0, 255).round().astype(np.uint8)


def _json(info: Any) -> str:
    try:
        if not isinstance(info, Mapping):
            raise TypeError(f'an object is wanted, got {info!r}'[:200])
        return json.dumps(dict(info), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f'info must be JSON with finite numbers: {error}') from error


def _object(info: np.ndarray) -> Any:
    try:
        return json.loads(str(info))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'info must be the JSON text of an object, got {str(info)[:80]!r}'
        ) from error
