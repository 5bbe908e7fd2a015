"""A distilled set as a file that explains itself:
npz with all one needs to use it, checked whoever wrote it."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdd.storage import manifest, npz, seal
from jaxdd.storage.atomic import write_whole
from jaxdd.storage.distilled_checks import check as check
from jaxdd.storage.distilled_checks import (
    check_images,
    check_normalisation,
    check_whitening,
    grey_levels,
    is_floating,
    json_text,
)
from jaxdd.types import SyntheticSet
from jaxdd.whitening import Whitening

FIELDS = ('images', 'labels', 'images_uint8', 'mean', 'std', 'class_names', 'info')
HARD = {'shown': 'hard', 'teachers': [], 'temperature': None}  # labels that need nobody
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
    """Writes a distilled set with all that is needed to use it elsewhere, sealed with a checksum.

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
        ValueError: what `check` refuses, or an `info` that contradicts the arrays (`described`).
    """
    images, labels = _float32(synthetic.images), _float32(synthetic.labels, 'biu')
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    check_images(images)
    check_normalisation(mean, std, images.shape[-1])
    check_whitening(whitening, images.shape, mean, std)
    fields: dict[str, Any] = {
        'images': images,
        'labels': labels,
        'images_uint8': grey_levels(images, mean, std, whitening),
        'mean': mean,
        'std': std,
        'class_names': np.asarray(list(class_names)),
        'info': np.asarray(json_text(info)),
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
    _check(*_parts(fields))
    content = io.BytesIO()
    np.savez_compressed(content, **fields)
    write_whole(path, seal.sealed(content.getvalue()))


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
        _check(synthetic, about)
    except ValueError as error:
        raise ValueError(f'{path} is not a distilled set: {error}; {ADVICE}') from error
    return synthetic, about


def described(
    synthetic: SyntheticSet,
    *,
    stored: Any = None,
    whitened: bool = False,
    dataset: Mapping[str, Any],
    decode: Mapping[str, Any] | None = None,
    labels: Mapping[str, Any] = HARD,
) -> dict[str, Any]:
    """What a set's `info` holds so that nobody need guess.

    `save_npz` and `load_npz` compare it with the arrays.

    Args:
        synthetic, stored: as for `save_npz`.
        whitened: whether the images are.
        dataset: 'name', 'classes', 'checksums' of its halves (or None) and 'licence'.
        decode: how mosaics become images: 'factor', 'order', 'space' and 'form'; None: they are
            whole.
        labels: 'shown', which of them students are shown ('hard', 'static', 'dynamic', 'replayed',
            'stored'), 'teachers' who make soft ones ('name', 'checksum', 'accuracy' each), and
            their 'temperature', or None.

    Returns:
        The fields of `manifest.SCHEMA`.
    """
    return {
        'format': manifest.FORMAT,
        'version': manifest.VERSION,
        'space': 'whitened' if whitened else 'normalised',
        'dataset': dict(dataset),
        'labels': {'kind': manifest.kind(synthetic.labels), **labels},
        'bytes': _sizes(synthetic, stored),
        'decode': None if decode is None else dict(decode),
    }


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


def _sizes(synthetic: SyntheticSet, stored: Any) -> dict[str, int]:
    """Bytes of what is kept."""
    kept = list(stored.values()) if isinstance(stored, Mapping) else [stored]
    images = sum(np.asarray(array).nbytes for array in kept if array is not None)
    sizes = stored_bytes(synthetic)
    return {**sizes, 'images': images or sizes['images']}


def _check(synthetic: SyntheticSet, about: Mapping[str, Any]) -> None:
    check(synthetic, about)
    images, labels, _ = synthetic
    manifest.check(
        about['info'],
        np.asarray(images),
        np.asarray(labels),
        _sizes(synthetic, about.get('stored')),
        stored=about.get('stored'),
        whitened='whitening' in about,
    )


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


def _float32(array: Any, kinds: str = '') -> np.ndarray:
    """Floats, and numbers of other kinds if asked, as float32;
    whatever else as it is, for a check to refuse."""
    array = np.asarray(array)
    return (
        np.asarray(array, np.float32)
        if is_floating(array) or array.dtype.kind in (kinds or '-')
        else array
    )


def _object(info: np.ndarray) -> Any:
    try:
        return json.loads(str(info))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'info must be the JSON text of an object, got {str(info)[:80]!r}'
        ) from error
