"""The form in which DD-Ranking (the package ddranking) takes a distilled set.

A folder with `images.pt`, float32 `[K n, 3, H, W]` and class-major, whose labels are 0..K-1, each n
times. Soft labels are `soft_labels.pt`, logits `[K n, K]`; a learned rate is `syn_lr.pt`, one
number. Li et al., "DD-Ranking: Rethinking the Evaluation of Dataset Distillation" (2025),
https://arxiv.org/abs/2505.13300.

Images are normalised with the constants of ddranking, not of the set: those of CIFAR-10 for
CIFAR-100, too, and those of ImageNet for Tiny-ImageNet, ImageNet and its subsets. They go there,
and come back, through pixels that are neither rounded nor clipped. Whitened images are written as
they are, for `use_zca=True`. The set's info names the data set (`dataset`, or that of a run's
configuration), which must be one that ddranking has.

Beside them `pictures/00000/00000.png` and so on, for `image_path`: a folder for each class in label
order, pixels rounded to grey levels (PNG loses no more than that). A set that is whitened has none,
since ddranking would show its students pixels.

Note:
    ddranking takes the softmax of soft labels at the temperature of its loss, so that a reader
    keeps logits as they are; only logarithms of probabilities, as they are written of those, become
    probabilities again. A reader that is told the space 'unit' takes the pictures, of this layout
    or of any `ImageFolder`, instead of `images.pt`.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdd.data import specs
from jaxdd.data.folder import images_in
from jaxdd.exchange import _rows, _torch, forms, pictures
from jaxdd.exchange.forms import Artifact, Form, Told

Constants = tuple[Sequence[float], Sequence[float]]  # mean and std per channel
PICTURES = 'pictures'
CIFAR = (specs.TABLE['cifar10'].mean, specs.TABLE['cifar10'].std)
# Of the data sets that ddranking has, by their names here: mean and std per channel.
CONSTANTS = {'cifar10': CIFAR, 'cifar100': CIFAR} | {
    name: specs.IMAGENET
    for name in (
        'tiny_imagenet',
        'imagenette',
        'imagewoof',
        'imagefruit',
        'imageyellow',
        'imagemeow',
        'imagesquawk',
        'imagenet',
    )
}
_NAMES = {name.replace('_', ''): name for name in CONSTANTS} | {'imagenet1k': 'imagenet'}


def _write(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    _rows.require_whole(artifact, DDRANKING)
    torch = _torch.package()
    images, labels = forms.stored(artifact)
    constants = _constants(artifact.about['info'], len(images))
    contents = {'images.pt': _torch.nchw(_theirs(artifact, images, constants))}
    if not np.array_equal(labels, forms.hard(*labels.shape)):
        flat = labels.reshape(-1, labels.shape[-1])
        contents['soft_labels.pt'] = torch.from_numpy(_rows.logits(flat))
    if artifact.synthetic.learning_rate is not None:
        rate = float(np.asarray(artifact.synthetic.learning_rate))
        contents['syn_lr.pt'] = torch.tensor(rate, dtype=torch.float32)
    if artifact.about.get('whitening') is None:
        contents |= _pictures(artifact)
    there = [str(path.relative_to(folder)) for path in sorted(folder.glob(f'{PICTURES}/*/*'))]
    return _torch.write(folder, contents, ('soft_labels.pt', 'syn_lr.pt', *there))


def _read(path: pathlib.Path, told: Told) -> Artifact:
    """`images.pt` of a folder, or, where the space is 'unit', its pictures."""
    if not path.is_dir():
        raise ValueError(f'{path} must be a folder with images.pt, or with pictures of every class')
    if told.space == 'unit':
        grouped = _shown(path / PICTURES if (path / PICTURES).is_dir() else path, told)
    else:
        grouped = _kept(path / 'images.pt', told)
    count = grouped.shape[0] * grouped.shape[1]
    return _rows.assembled(grouped, _soft(path, count, told), told, rate=_rate(path))


def _constants(info: Mapping[str, Any], classes: int) -> Constants:
    """The mean and std of ddranking for the data set that an info names.

    Raises:
        ValueError: it names none or one that ddranking has not, or one of other classes.
    """
    said = forms.named(info, 'dataset')
    name = _NAMES.get(''.join(letter for letter in said.lower() if letter.isalnum()))
    if name is None:
        raise ValueError(
            f"ddranking has the data sets {', '.join(CONSTANTS)}; the set's info names "
            f'{said or "none"} as its dataset'
        )
    if (wanted := specs.TABLE[name].num_classes) != classes:
        raise ValueError(
            f'{name} has {wanted} classes in ddranking, the set has {classes}: it takes sets of '
            'all of them'
        )
    return CONSTANTS[name]


def renormalised(images: np.ndarray, own: Constants, other: Constants) -> np.ndarray:
    """Images `[..., C]` that were normalised by one mean and std, normalised by others.

    They go in float64 through pixels that are neither rounded nor clipped; where the numbers are
    the same they stay as they are.
    """
    if np.array_equal(np.asarray(own, np.float32), np.asarray(other, np.float32)):
        return images
    (mean, std), (target, spread) = (np.asarray(each, np.float64) for each in (own, other))
    return (images.astype(np.float64) * std + mean - target) / spread


def _theirs(artifact: Artifact, images: np.ndarray, constants: Constants) -> np.ndarray:
    if images.shape[-1] != 3:
        raise ValueError(f'ddranking takes images of 3 channels, got {images.shape[-1]}')
    about = artifact.about
    if about.get('whitening') is not None:
        return images
    return renormalised(images, (about['mean'], about['std']), constants)


def _kept(path: pathlib.Path, told: Told) -> np.ndarray:
    """The tensor of a file, in the normalisation that was told."""
    rows = _rows.images(_torch.array(_torch.load(path), path), told, path)
    grouped = _rows.in_order(rows, told, path)
    if told.space == 'whitened':
        return grouped
    return renormalised(grouped, _constants(told.info, len(grouped)), (told.mean, told.std))


def _pictures(artifact: Artifact) -> dict[str, bytes]:
    """Files of pictures by name."""
    levels = np.asarray(artifact.about['images_uint8'])
    count, content = levels.shape[1], pictures.encoded(levels.reshape(-1, *levels.shape[2:]))
    return {
        f'{PICTURES}/{i // count:05d}/{i % count:05d}.png': one for i, one in enumerate(content)
    }


def _shown(folder: pathlib.Path, told: Told) -> np.ndarray:
    """Pictures of a tree of classes as pixels `[K, n, H, W, 3]` in [0, 1]."""
    classes = sorted(child for child in folder.iterdir() if child.is_dir())
    files = [[one / name for name in images_in(one)] for one in classes]
    counts = [len(some) for some in files]
    if len(classes) != len(told.class_names) or not 0 < min(counts, default=0) == max(counts):
        raise ValueError(
            f'{folder} must have a folder for each of {len(told.class_names)} class names, in '
            f'label order, with as many pictures as the others, got {len(classes)} folders of '
            f'{min(counts, default=0)} to {max(counts, default=0)} pictures'
        )
    images = pictures.decoded([file for some in files for file in some], told, folder)
    return images.reshape(len(classes), counts[0], *images.shape[1:]).astype(np.float32) / 255


def _soft(folder: pathlib.Path, count: int, told: Told) -> np.ndarray | None:
    path = folder / 'soft_labels.pt'
    if not path.exists():
        return None
    return _rows.said(_rows.soft(_torch.array(_torch.load(path), path), count, told, path))


def _rate(folder: pathlib.Path) -> float | None:
    path = folder / 'syn_lr.pt'
    return _torch.number(_torch.load(path), path) if path.exists() else None


DDRANKING = Form(_write, _read, frozenset({'soft labels', 'learning rate', 'whitening'}), 'torch')
