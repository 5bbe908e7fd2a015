"""A distilled set as one npz file of quantised images, sealed with a checksum.

Fields of `quantised.npz`:

- `codes` uint8, packed (`quantised.pack`): of what is stored, `[K, ipc, H, W, C]`;
- `scale` and `zero` float16, one per patch (`quantised.Quantised`);
- `labels` `[K, n, K]` float32, unless they are hard;
- `mean` and `std` `[C]`, `class_names` `[K]`, and `learning_rate` and `whitening_mean`,
  `whitening_vectors`, `whitening_variances`, `whitening_eps` if the set has them, as in
  `distilled.npz`;
- `info`, JSON text: that of the set, and under 'quantised' `bits`, `patch`, `shape` and `space` of
  what is stored, `decode`, how mosaics are cut (or null), `bytes` {'images': codes, scales and zero
  points; 'labels': as `distilled_set.stored_bytes` counts them}, and `before`, the same of a set
  that had been quantised already.
"""

import functools
import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdd.exchange import quantised, recipes
from jaxdd.exchange.forms import HOLDABLE, SPACES, Artifact, Decode, Form, Told, assemble, stored
from jaxdd.exchange.quantised import Quantised
from jaxdd.storage import npz, seal
from jaxdd.storage.atomic import write_whole
from jaxdd.storage.distilled_checks import (
    check,
    check_normalisation,
    check_whitening,
    json_text,
)
from jaxdd.storage.distilled_set import stored_bytes
from jaxdd.storage.manifest import DECODE
from jaxdd.storage.records import COUNT, Schema, fields, or_none, require_fits

FILE = 'quantised.npz'
ADVICE = 'copy or write the set again'
NEEDED = ('codes', 'scale', 'zero', 'mean', 'std', 'class_names', 'info')
SIDE: Schema = {'type': 'integer', 'minimum': 1, 'maximum': 2**31 - 1}
SCHEMA = fields(
    {'before': {'type': 'object'}},
    bits={'enum': list(quantised.BITS)},
    patch={**SIDE, 'maximum': quantised.LARGEST_PATCH},
    shape={'type': 'array', 'items': SIDE, 'minItems': 5, 'maxItems': 5},
    space={'enum': list(SPACES)},
    decode=or_none(DECODE),
    bytes=fields(images=COUNT, labels=COUNT),
)


def form(bits: int, patch: int) -> Form:
    """The form that writes so many bits per value, and reads a file of any.

    Args:
        bits, patch: as for `quantised.quantise`.

    Raises:
        ValueError: one of them is out of range.
    """
    quantised.require_setting(bits, patch)
    return Form(
        functools.partial(write, bits=bits, patch=patch),
        read,
        frozenset(HOLDABLE),
        describes_itself=True,
    )


def write(
    artifact: Artifact, folder: pathlib.Path, *, bits: int, patch: int
) -> tuple[pathlib.Path, ...]:
    """Writes `quantised.npz`, beside whatever else the folder holds.

    Raises:
        ValueError: what `arrays_of` refuses.
    """
    content, path = io.BytesIO(), folder / FILE
    np.savez_compressed(content, **arrays_of(artifact, bits, patch))  # pyright: ignore
    write_whole(path, seal.sealed(content.getvalue()))
    return (path,)


def read(path: pathlib.Path, told: Told | None) -> Artifact:
    """Reads a file of any number of bits.

    Args:
        path: the file, or a folder with `quantised.npz`.
        told: what the file says itself; its space is that of what is stored. None: nothing is
            told.

    Returns:
        The set of the dequantised images; `info` says under 'quantised' how they were quantised.

    Raises:
        ValueError: no such file, a damaged one, one that says otherwise than was told, or what
            `restored` refuses.
    """
    path = path / FILE if path.is_dir() else path
    arrays = npz.read(path, advice=ADVICE)
    try:
        artifact = restored(arrays)
    except ValueError as error:
        raise ValueError(f'{path} does not hold a quantised set: {error}; {ADVICE}') from error
    decode = Decode(**artifact.about['info']['decode']) if 'stored' in artifact.about else None
    return recipes.confirmed(artifact, decode, told, path)


def arrays_of(artifact: Artifact, bits: int, patch: int) -> dict[str, np.ndarray]:
    """The fields of the file of a set.

    Raises:
        ValueError: what `recipes.of` and `quantised.quantise` refuse.
    """
    recipe = recipes.of(artifact)
    found = quantised.quantise(stored(artifact)[0], bits, patch)
    labels = np.asarray(artifact.synthetic.labels, np.float32)
    how = {
        **{'bits': bits, 'patch': patch, 'shape': list(found.codes.shape)},
        **{name: recipe[name] for name in ('space', 'decode')},
        'bytes': {
            'images': quantised.num_bytes(found),
            'labels': stored_bytes(artifact.synthetic)['labels'],
        },
    }
    if 'quantised' in recipe['info']:
        how['before'] = recipe['info']['quantised']
    rate = recipe['learning_rate']
    return {
        'codes': quantised.pack(found.codes, bits),
        'scale': found.scale,
        'zero': found.zero,
        **({} if recipe['labels'] == 'hard' else {'labels': labels}),
        **({} if rate is None else {'learning_rate': np.asarray(rate, np.float32)}),
        **{name: np.asarray(artifact.about[name], np.float32) for name in ('mean', 'std')},
        **recipes.whitening_fields(artifact),
        'class_names': np.asarray(recipe['class_names']),
        'info': np.asarray(json_text({**recipe['info'], 'quantised': how})),
    }


def restored(arrays: Mapping[str, np.ndarray]) -> Artifact:
    """The set of a file's fields.

    Dequantised pixels of [0, 1] are clipped to it: a scale covers the range of its patch and may
    reach beyond it.

    Raises:
        ValueError: fields that are missing, of the wrong size or kind, or not finite; an `info`
            that contradicts them; what `check` refuses.
    """
    if missing := [name for name in NEEDED if name not in arrays]:
        raise ValueError(f'it lacks {", ".join(missing)}')
    info = _info(arrays['info'])
    how, whitening = info['quantised'], recipes.whitening_of(arrays)
    shape = tuple(map(int, how['shape']))
    check_normalisation(arrays['mean'], arrays['std'], shape[-1])
    check_whitening(whitening, shape, arrays['mean'], arrays['std'])
    found = _quantised(arrays, how, shape)
    told = Told(
        how['space'],
        tuple(np.atleast_1d(arrays['class_names']).tolist()),
        arrays['mean'],  # pyright: ignore
        arrays['std'],  # pyright: ignore
        how['decode'] and Decode(**how['decode']),
        whitening,
        info,
    )
    images = quantised.dequantise(found)
    images = np.clip(images, 0, 1) if how['space'] == 'unit' else images
    artifact = assemble(images, None, told, learning_rate=arrays.get('learning_rate'))  # pyright: ignore
    if 'labels' in arrays:
        synthetic = artifact.synthetic._replace(labels=arrays['labels'])  # pyright: ignore
        artifact = artifact._replace(synthetic=synthetic)
    check(artifact.synthetic, artifact.about)
    _check_bytes(how['bytes'], found, artifact)
    return artifact


def _info(text: np.ndarray) -> dict[str, Any]:
    try:
        info = json.loads(str(text))
        how = info['quantised']
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(
            f"info must be the JSON text of an object with 'quantised', got {str(text)[:80]!r}"
        ) from error
    require_fits(how, SCHEMA, 'info', 'quantised')
    return info


def _quantised(
    arrays: Mapping[str, np.ndarray], how: Mapping[str, Any], shape: tuple[int, ...]
) -> Quantised:
    bits, patch = int(how['bits']), int(how['patch'])
    for name in ('scale', 'zero'):
        array, expected = arrays[name], quantised.patches(shape, patch)
        if array.shape != expected or array.dtype != np.float16 or not np.isfinite(array).all():
            raise ValueError(
                f'{name} must be finite float16 {expected}, one per patch of {patch} pixels, got '
                f'{array.dtype} {array.shape}'
            )
    if (arrays['scale'] < 0).any():
        raise ValueError(f'scale must be at least 0, got {arrays["scale"].min():g}')
    codes = quantised.unpack(arrays['codes'], shape, bits)
    return Quantised(codes, arrays['scale'], arrays['zero'], bits, patch)


def _check_bytes(said: Mapping[str, int], found: Quantised, artifact: Artifact) -> None:
    counted = {
        'images': quantised.num_bytes(found),
        'labels': stored_bytes(artifact.synthetic)['labels'],
    }
    if dict(said) != counted:
        raise ValueError(f'info.quantised.bytes says {dict(said)}, its arrays {counted}')
