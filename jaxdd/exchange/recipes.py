"""What a folder of ours says about a set beside its images: `recipe.json`."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdd import whitening
from jaxdd.checks import one_of
from jaxdd.data.arrays import require_names
from jaxdd.exchange.forms import SPACES, Artifact, Decode, Told, assemble, hard
from jaxdd.storage import manifest
from jaxdd.storage.distilled_checks import (
    check,
    check_images,
    check_normalisation,
    check_whitening,
    grey_levels,
    json_text,
)
from jaxdd.types import SyntheticSet
from jaxdd.whitening import Whitening

FILE = 'recipe.json'
KINDS = {
    'space': str,
    'mean': list,
    'std': list,
    'decode': dict | None,
    'labels': str,
    'learning_rate': float | int | None,
    'class_names': list,
    'info': dict,
}
# What decides how images and labels are understood.
MEANING = ('space', 'mean', 'std', 'decode', 'labels', 'class_names')


def of(artifact: Artifact) -> dict[str, Any]:
    """The recipe of a set.

    Returns:
        `space` of what is stored, 'normalised', 'unit' (mosaics of pixels in [0, 1]) or
        'whitened'; `mean` and `std` `[C]`; `decode`, how mosaics are cut, {'factor', 'order',
        'space'} or None; `labels`, 'hard', 'probabilities' or 'logits'; `temperature` of logits or
        None, where `info` has one; `learning_rate` or None; `class_names`; `info`.

    Raises:
        ValueError: what `check` and `decode_of` refuse.
    """
    check(artifact.synthetic, artifact.about)
    return described(artifact, decode_of(artifact))


def described(artifact: Artifact, decode: Decode | None) -> dict[str, Any]:
    """`of` a set that is as it should be, and whose mosaics are cut as is said."""
    synthetic, about = artifact
    info, rate = json.loads(json_text(about['info'])), synthetic.learning_rate
    return {
        'space': 'whitened' if 'whitening' in about else decode.space if decode else 'normalised',
        **{name: [_short(one) for one in about[name]] for name in ('mean', 'std')},
        'decode': decode and decode._asdict(),
        'labels': manifest.kind(synthetic.labels),
        'temperature': _temperature(info),
        'learning_rate': None if rate is None else _short(rate),
        'class_names': list(about['class_names']),
        'info': info,
    }


def decode_of(artifact: Artifact) -> Decode | None:
    """How the images of a set are made of its mosaics, found true; None: they are whole.

    Raises:
        ValueError: `info` does not say it, or what it says makes other images.
    """
    synthetic, about = artifact
    if 'stored' not in about:
        return None
    if isinstance(about['stored'], Mapping):
        raise ValueError(
            f'the set is stored as {", ".join(about["stored"])}, which only npz holds: write its '
            'decoded images (decoded=True)'
        )
    said = about['info'].get('decode')
    if not isinstance(said, Mapping) or {*said, 'form'} != {*Decode._fields}:
        raise ValueError(
            'the set is stored as mosaics, and its info does not say how they are cut (decode: '
            'factor, order, space): write its decoded images (decoded=True), or npz'
        )
    decode = Decode(**said)
    told = Told(decode.space, about['class_names'], about['mean'], about['std'], decode)
    again = np.asarray(assemble(about['stored'], None, told).synthetic.images)
    images = np.asarray(synthetic.images)
    if again.shape != images.shape or not np.allclose(again, images, rtol=1e-3, atol=1e-3):
        raise ValueError(
            f'the info of the set says that its mosaics are cut by {dict(said)}, which makes other '
            'images than it has: write its decoded images (decoded=True), or npz'
        )
    return decode


def dumped(recipe: Mapping[str, Any]) -> bytes:
    """The JSON text of a recipe."""
    text = json.dumps(recipe, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + '\n').encode()


def read(path: pathlib.Path) -> dict[str, Any]:
    """Reads a recipe.

    Raises:
        ValueError: no such file, a damaged one, or parts that are missing or of the wrong kind.
    """
    try:
        recipe = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'{path}: cannot be read as a recipe ({error})') from error
    return checked(recipe, path)


def checked(recipe: Any, where: object) -> dict[str, Any]:
    """Refuses what is no recipe, whoever wrote it.

    Raises:
        ValueError: names the part that is missing or of the wrong kind.
    """
    if not isinstance(recipe, dict):
        raise ValueError(f'{where}: a recipe is a JSON object, got {recipe!r}'[:200])
    for name, kind in KINDS.items():
        if name not in recipe or not isinstance(recipe[name], kind):
            found = f'is {recipe[name]!r}'[:100] if name in recipe else 'is missing'
            raise ValueError(f'{where}: {name} of the recipe {found}: copy or write the set again')
    try:
        one_of('space', recipe['space'], SPACES)
        one_of('kind of labels', recipe['labels'], manifest.KINDS)
        if recipe['decode'] is not None:
            Decode(**recipe['decode'])
        _require_numbers(recipe['mean'], recipe['std'])
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: the recipe is none ({error})') from error
    return recipe


def agree(recipe: Mapping[str, Any], told: Told, where: object) -> None:
    """Refuses what was told of a set that says otherwise about itself.

    What a `Told` leaves at its default (decode, whitening, info) is not told.

    Raises:
        ValueError: names the part, what was told and what the file says.
    """
    require_names(recipe['class_names'], told.class_names, len(told.class_names), str(where))
    said: dict[str, Any] = {'space': told.space}
    if told.space != 'whitened':
        said |= {'mean': np.asarray(told.mean).tolist(), 'std': np.asarray(told.std).tolist()}
    if told.decode is not None:
        said['decode'] = told.decode._asdict()
    pairs = [(name, value, recipe[name]) for name, value in said.items()]
    info = json.loads(json_text(told.info))
    pairs += [
        (f'info[{name!r}]', value, recipe['info'][name])
        for name, value in info.items()
        if name in recipe['info']
    ]
    for name, value, own in pairs:
        if not (_close(value, own) if name in ('mean', 'std') else value == own):
            raise ValueError(
                f'{where}: {name} was told to be {value!r}, and the file says {own!r}: '
                'tell it as the file does, or is it another file?'
            )


def told(recipe: Mapping[str, Any]) -> Told:
    """What a recipe says, as somebody would tell it; a whitening is no part of it."""
    decode = None if recipe['decode'] is None else Decode(**recipe['decode'])
    names = ('space', 'class_names', 'mean', 'std', 'info')
    return Told(**{name: recipe[name] for name in names}, decode=decode)


def confirmed(
    artifact: Artifact, decode: Decode | None, told: Told | None, where: object
) -> Artifact:
    """A set that describes itself, with the facts of `info` that were told beside it.

    Args:
        decode: how its mosaics are cut, as for `described`.
        told: None: nothing was told.

    Raises:
        ValueError: what `agree` and `agree_whitening` refuse.
    """
    if told is None:
        return artifact
    agree(described(artifact, decode), told, where)
    agree_whitening(artifact.about.get('whitening'), told, where)
    info = {**told.info, **artifact.about['info']}
    return artifact._replace(about={**artifact.about, 'info': info})


def agree_whitening(own: Whitening | None, told: Told, where: object) -> None:
    """Refuses a told whitening that is not the file's.

    Raises:
        ValueError: says which is which.
    """
    if told.whitening is None:
        return
    names = [how and whitening.identity(how) for how in (told.whitening, own)]
    if names[0] != names[1]:
        raise ValueError(
            f'{where}: the whitening was told to be {names[0]}, and the file has {names[1]}: is it '
            'of another data set?'
        )


def completed(recipe: Mapping[str, Any], told: Told) -> Told:
    """What was told, with what the recipe adds: decode and info."""
    decode = None if recipe['decode'] is None else Decode(**recipe['decode'])
    info = {name: value for name, value in recipe['info'].items() if name != 'decode'}
    return told._replace(decode=decode, info={**told.info, **info})


def restored(recipe: Mapping[str, Any], arrays: Mapping[str, np.ndarray], told: Told) -> Artifact:
    """A set of its exact arrays.

    Args:
        arrays: `images`; `labels` unless they are hard; `stored`, `learning_rate` and
            `whitening_mean`, `whitening_vectors`, `whitening_variances`, `whitening_eps` if it has
            them.
        told: adds to `info`.

    Raises:
        ValueError: what `check` refuses.
    """
    images = arrays['images']
    mean, std = (np.asarray(recipe[name], np.float32) for name in ('mean', 'std'))
    how, labels = whitening_of(arrays), arrays.get('labels')
    check_images(images)
    check_normalisation(mean, std, images.shape[-1])
    check_whitening(how, images.shape, mean, std)
    if labels is None:
        labels = hard(len(images), images.shape[1], len(images))
    about: dict[str, Any] = {
        'images_uint8': grey_levels(images, mean, std, how),
        'mean': mean,
        'std': std,
        'class_names': tuple(recipe['class_names']),
        'info': {**told.info, **recipe['info']},
    }
    if 'stored' in arrays:
        about['stored'] = arrays['stored']
    if how is not None:
        about['whitening'] = how
    synthetic = SyntheticSet(images, labels, arrays.get('learning_rate'))  # pyright: ignore
    check(synthetic, about)
    return Artifact(synthetic, about)


def whitening_fields(artifact: Artifact) -> dict[str, np.ndarray]:
    """The arrays of a whitening, float32, by the names that an npz file gives them; or none."""
    how = artifact.about.get('whitening')
    return {
        f'whitening_{name}': np.asarray(value, np.float32)
        for name, value in (how._asdict() if how else {}).items()
    }


def whitening_of(arrays: Mapping[str, np.ndarray]) -> Whitening | None:
    """The whitening among arrays, or None.

    Raises:
        ValueError: a part of it is missing.
    """
    names = [f'whitening_{name}' for name in Whitening._fields]
    if not any(name in arrays for name in names):
        return None
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f'the whitening lacks {", ".join(missing)}: copy or write the set again')
    return Whitening(*(arrays[name] for name in names))  # pyright: ignore


def _temperature(info: Mapping[str, Any]) -> Any:
    """Of logits, where the set says one."""
    labels = info.get('labels')
    return labels.get('temperature') if isinstance(labels, Mapping) else info.get('temperature')


def _require_numbers(mean: list, std: list) -> None:
    if len(mean) != len(std) or not all(isinstance(one, (int, float)) for one in mean + std):
        raise ValueError(f'mean and std must be numbers, one per channel, got {mean} and {std}')


def _short(number: Any) -> float:
    """The shortest decimal number that is this float32."""
    return float(str(np.float32(number)))


def _close(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and np.allclose(one, other, rtol=1e-5, atol=1e-6)
