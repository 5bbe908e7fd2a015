"""What every form of a distilled set has: two functions,
and a list of what it can hold."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxdd import whitening
from jaxdd.checks import one_of
from jaxdd.parametrizations import mosaics
from jaxdd.storage import manifest
from jaxdd.storage.distilled_checks import grey_levels
from jaxdd.storage.distilled_set import stored_bytes
from jaxdd.types import SyntheticSet
from jaxdd.whitening import Whitening

SPACES = ('normalised', 'unit', 'whitened')
# What a set may have beyond hard labels and pixels, and what a form that lacks it would do to it.
HOLDABLE = {
    'soft labels': 'its soft labels would become hard ones',
    'mosaics': 'its mosaics would be taken for whole images',
    'whitening': 'its whitened images would be taken for normalised ones',
    'learning rate': 'its learned learning rate would be lost',
}


class Decode(NamedTuple):
    """How stored images become more: mosaics of factor x factor tiles."""

    factor: int
    order: Literal['column', 'row']  # of the tiles, as in `mosaics.decode`
    space: Literal['normalised', 'unit']  # of the stored pixels; 'unit' is [0, 1]
    # 'multi': at every factor up to this one; 'bound': matched at several, shown at this one
    form: Literal['single', 'multi', 'bound'] = 'single'


class Artifact(NamedTuple):
    """A distilled set as `distilled_set.load_npz` returns it."""

    synthetic: SyntheticSet  # decoded: images [K, n, H, W, C], normalised or whitened
    about: Mapping[str, Any]  # mean, std, class_names, images_uint8, info; stored, whitening


class Told(NamedTuple):
    """What a file of others does not say about itself: it is asked for, never guessed."""

    space: Literal['normalised', 'unit', 'whitened']  # of the file's images; 'unit' is [0, 1]
    class_names: Sequence[str]  # in the order of the file's labels
    mean: Sequence[float]  # per channel, of pixels in [0, 1]: what networks are shown
    std: Sequence[float]
    decode: Decode | None = None  # None: the images are whole
    whitening: Whitening | None = None  # of whitened images
    info: Mapping[str, Any] = {}  # JSON-able: data set, method, where the file comes from


class Form(NamedTuple):
    """One way to keep a distilled set."""

    write: Callable[[Artifact, pathlib.Path], tuple[pathlib.Path, ...]]  # into a folder
    read: Callable[[pathlib.Path, Told], Artifact]
    holds: frozenset[str]  # of HOLDABLE
    package: str | None = None  # that must be installed
    # whether a file that `write` made needs no `Told`; another one of the same form may need it
    describes_itself: bool = False


def require_told(told: Told | None, where: object) -> Told:
    """What was told of a file that does not describe itself.

    Raises:
        ValueError: nothing was.
    """
    if told is None:
        raise ValueError(
            f'{where} does not describe itself: tell its space, class names, mean and std (on the '
            'command line with --dataset and --space)'
        )
    return told


def missing(artifact: Artifact, form: Form) -> dict[str, str]:
    """What a form cannot hold of a set: name -> what would happen to it.

    Pixels rounded to grey levels are no reason: whoever asks for pictures gets them.
    """
    about = artifact.about
    has = {
        'soft labels': manifest.kind(artifact.synthetic.labels) != 'hard',
        'mosaics': 'stored' in about,
        'whitening': 'whitening' in about,
        'learning rate': artifact.synthetic.learning_rate is not None,
    }
    return {name: HOLDABLE[name] for name, found in has.items() if found and name not in form.holds}


def require_holds(name: str, artifact: Artifact, forms: Mapping[str, Form]) -> None:
    """Refuses a form that would lose a part of a set.

    Args:
        name: of the form, among `forms`.

    Raises:
        ValueError: names what would be lost, and the forms that keep it.
    """
    one_of('form', name, forms)
    lost = missing(artifact, forms[name])
    if not lost:
        return
    able = [other for other, form in forms.items() if not missing(artifact, form)]
    decoded = ', or its decoded images (decoded=True)' if set(lost) == {'mosaics'} else ''
    raise ValueError(
        f'{name} cannot hold this set: {"; ".join(lost.values())}. Write it as '
        f'{", ".join(able) or "npz"}{decoded}'
    )


def named(info: Mapping[str, Any], name: str) -> str:
    """A text about a set on one line, '' where nothing says it.

    Args:
        info: of the set: as `distilled_set.described` makes it, as a text, or within 'config'.
        name: 'dataset' or 'method'.
    """
    config = info.get('config')
    within = config.get(name) if isinstance(config, Mapping) else None
    found = info.get(name, within)
    found = found.get('name') if isinstance(found, Mapping) else found
    return ' '.join(found.split()) if isinstance(found, str) else ''


def decoded(artifact: Artifact) -> Artifact:
    """The set as its students see it, its images whole: what it is stored as is left out."""
    about = {key: value for key, value in artifact.about.items() if key != 'stored'}
    info = {key: value for key, value in about['info'].items() if key != 'decode'}
    if 'format' in info:
        info |= {'decode': None, 'bytes': stored_bytes(artifact.synthetic)}
    return artifact._replace(about={**about, 'info': info})


def hard(classes: int, count: int, width: int) -> np.ndarray:
    """Labels `[K, n, Y]` of class-major images, one-hot float32."""
    return np.repeat(np.eye(classes, width, dtype=np.float32)[:, None], count, axis=1)


def stored(artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """What is kept of a set, one label per stored image.

    Returns:
        images `[K, ipc, H, W, C]` float32 (mosaics in their own space, else normalised or whitened)
        and labels `[K, ipc, Y]` float32.

    Raises:
        ValueError: what is stored are no images (INFER's compensators).
    """
    kept, labels = artifact.about.get('stored'), np.asarray(artifact.synthetic.labels, np.float32)
    if kept is None:
        return np.asarray(artifact.synthetic.images, np.float32), labels
    if isinstance(kept, Mapping):
        raise ValueError(
            f'the set is stored as {", ".join(kept)}, which only npz holds: write its decoded '
            'images (decoded=True)'
        )
    return np.asarray(kept, np.float32), labels[:, : kept.shape[1]]


def assemble(
    images: np.ndarray,
    labels: np.ndarray | None,
    told: Told,
    *,
    learning_rate: float | None = None,
) -> Artifact:
    """A set of what a file holds and of what its reader was told, for `distilled_set.save_npz`.

    Args:
        images: `[K, ipc, H, W, C]` float, in the space that was told.
        labels: `[K, ipc, Y]` probabilities or logits; None: hard ones.
        learning_rate: of the students, if the file has one.

    Raises:
        ValueError: an unknown space; whitened images without their whitening, or the reverse;
            images that are not in [0, 1] though they were said to be; mosaics of other than hard
            labels, or that their factor does not divide.
    """
    one_of('space', told.space, SPACES)
    if (told.space == 'whitened') != (told.whitening is not None):
        raise ValueError(
            f'the images are said to be {told.space}, and a whitening is '
            f'{"missing" if told.whitening is None else "given"}: whitened images need theirs '
            '(the data set says which with its whitening), others have none'
        )
    images = np.asarray(images, np.float32)
    labels = (
        hard(len(images), images.shape[1], len(images)) if labels is None else np.asarray(labels)
    )
    if told.space == 'unit' and images.size and not (0 <= images.min() <= images.max() <= 1):
        raise ValueError(
            f'the images are said to lie in [0, 1], but reach from {images.min():.3g} to '
            f'{images.max():.3g}: their space is another one (normalised, whitened)'
        )
    mean, std = _normalisation(told, images.shape[-1])
    whole, labels = _whole(images, labels, told)
    if told.space == 'unit':
        whole = (whole - mean) / std
    about: dict[str, Any] = {
        'images_uint8': grey_levels(whole, mean, std, told.whitening),
        'mean': mean,
        'std': std,
        'class_names': tuple(told.class_names),
        'info': _info(told),
    }
    if told.decode is not None:
        about['stored'] = images
    if told.whitening is not None:
        about['whitening'] = told.whitening
    return Artifact(SyntheticSet(whole, labels, learning_rate), about)  # pyright: ignore


def to_unit(artifact: Artifact, images: np.ndarray) -> np.ndarray:
    """Whole images of a set (normalised or whitened) as pixels, neither rounded nor clipped."""
    how = artifact.about.get('whitening')
    if how is not None:
        return whitening.unwhiten(how, images)
    mean, std = (np.asarray(artifact.about[name], np.float32) for name in ('mean', 'std'))
    return images * std + mean


def stored_pixels(artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """`stored` with its images as pixels, neither rounded nor clipped."""
    images, labels = stored(artifact)
    decode = artifact.about['info'].get('decode') or {}
    inside = 'stored' in artifact.about and decode.get('space') == 'unit'
    return (images if inside else to_unit(artifact, images)), labels


def _normalisation(told: Told, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Whitened images have mean 0 and std 1, whatever their data set's pixels have."""
    if told.space == 'whitened':
        return np.zeros(channels, np.float32), np.ones(channels, np.float32)
    return np.asarray(told.mean, np.float32), np.asarray(told.std, np.float32)


def _whole(images: np.ndarray, labels: np.ndarray, told: Told) -> tuple[np.ndarray, np.ndarray]:
    """Mosaics cut into their images, each with its label; whole images as they are."""
    if told.decode is None:
        return images, labels
    factor, order, space, form = told.decode
    if space != told.space:
        raise ValueError(f'mosaics of {space} pixels in a file of {told.space} ones')
    if manifest.kind(labels) != 'hard':
        raise ValueError('the tiles of a mosaic share its label, so that it must be a hard one')
    grey = np.full(images.shape[-1], 0.5, np.float32) if space == 'unit' else None
    cut = mosaics.decode_multi if form == 'multi' else mosaics.decode
    whole = np.asarray(cut(images, factor, order=order, padding=grey))  # pyright: ignore
    return whole, hard(len(whole), whole.shape[1], labels.shape[-1])


def _info(told: Told) -> dict[str, Any]:
    decode = {} if told.decode is None else {'decode': told.decode._asdict()}
    return {**told.info, **decode}
