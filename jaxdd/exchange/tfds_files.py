"""A distilled set as a folder of TFDS,
which `tfds.builder_from_directory` and its `as_data_source` read."""

import io
import pathlib
from typing import Any

import numpy as np

from jaxdd.data.arrays import require_names
from jaxdd.data.tfds_folder import Description, Examples, read_tfds, tfds_files
from jaxdd.exchange import cards, pictures, recipes
from jaxdd.exchange.forms import (
    HOLDABLE,
    Artifact,
    Form,
    Told,
    assemble,
    require_holds,
    require_told,
    stored,
)
from jaxdd.storage import npz
from jaxdd.storage.distilled_checks import check

RECIPE, WHITENING = 'recipe', 'whitening.npz'


def write(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Writes a split 'train' with the features:

    `image`, uint8: what is stored, as pixels; `label`, the class; `pixels`, float32: what is
    stored, exactly, in the recipe's space; `soft_label`, float32, where labels are not hard.
    `metadata.json` holds {'recipe': `recipes.of`}, `whitening.npz` a whitening. Rows are in class
    order.

    Raises:
        ValueError: mosaics with soft labels, class names that do not fit on a line, a folder that
            holds other files.
    """
    require_holds('tfds', artifact, {'tfds': TFDS})
    recipe = recipes.of(artifact)
    images, labels = stored(artifact)
    if recipe['decode'] and recipe['labels'] != 'hard':
        raise ValueError(
            'tfds keeps one label per mosaic, and the images of this set have soft ones of their '
            'own: write it as hub or npz, or its decoded images (decoded=True)'
        )
    tensors = {'pixels': images} | ({} if recipe['labels'] == 'hard' else {'soft_label': labels})
    classes, count, *shape = images.shape
    examples = Examples(
        pictures.encoded(pictures.levels(artifact).reshape(-1, *shape)),
        np.repeat(np.arange(classes), count),
        {name: array.reshape(-1, *array.shape[2:]) for name, array in tensors.items()},
    )
    about = Description(
        recipe['class_names'],
        {RECIPE: recipe},
        cards.sentence(recipe, (classes, count, *shape)),
        cards.bibtex(recipe['info']),
    )
    return pictures.put(folder, tfds_files(examples, shape, about) | _whitening(artifact))


def read(path: pathlib.Path, told: Told | None) -> Artifact:
    """Reads the split 'train' of a folder.

    Args:
        path: the folder, `<name>/<version>` where TFDS made it.
        told: of a folder without a recipe, whose features image and label (and soft_label, if it
            has one) become the set. One with a recipe says all of it, so that None is enough.

    Raises:
        ValueError: what `read_tfds` refuses; other classes than were told; a recipe that says
            otherwise, or that does not fit the images.
    """
    examples, about = read_tfds(path)
    recipe = recipes.checked(about.metadata[RECIPE], path) if RECIPE in about.metadata else None
    told = recipes.told(recipe) if told is None and recipe else require_told(told, path)
    require_names(about.class_names, told.class_names, len(told.class_names), str(path))
    rows = pictures.class_rows(examples.labels, told.class_names, path)
    found = pictures.decoded(examples.pictures, told, path)[rows]
    soft = examples.tensors.get('soft_label')
    labels = None if soft is None else soft[rows]
    if recipe is None:
        return pictures.assembled(found, labels, told, path)
    recipes.agree(recipe, told, path)
    if 'pixels' not in examples.tensors:
        raise ValueError(f'{path}: no feature pixels, which its recipe speaks of: copy it again')
    artifact = _exact(examples.tensors['pixels'][rows], labels, recipe, told, path)
    apart = np.abs(pictures.levels(artifact).astype(np.int16) - found).max()
    if apart > 1:
        raise ValueError(
            f'{path}: pixels make other pictures than image has, by up to {apart} grey levels: '
            'the recipe was changed, or a file is of another set; copy or write it again'
        )
    return artifact


def _exact(
    images: np.ndarray,
    labels: np.ndarray | None,
    recipe: dict[str, Any],
    told: Told,
    path: pathlib.Path,
) -> Artifact:
    """The set as it was written: of what is stored, in the recipe's space."""
    own = npz.read(path / WHITENING, advice='copy it again') if (path / WHITENING).exists() else {}
    how, rate = recipes.whitening_of(own), recipe['learning_rate']
    recipes.agree_whitening(how, told, path)
    told = recipes.completed(recipe, told)._replace(
        mean=recipe['mean'], std=recipe['std'], whitening=how
    )
    learned = None if rate is None else np.asarray(rate, np.float32)
    artifact = assemble(images, labels, told, learning_rate=learned)  # pyright: ignore
    check(artifact.synthetic, artifact.about)
    return artifact


def _whitening(artifact: Artifact) -> dict[str, bytes]:
    if not (fields := recipes.whitening_fields(artifact)):
        return {}
    content = io.BytesIO()
    np.savez_compressed(content, **fields)  # pyright: ignore
    return {WHITENING: content.getvalue()}


TFDS = Form(write, read, frozenset(HOLDABLE), describes_itself=True)
