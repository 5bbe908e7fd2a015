"""A distilled set as a data set of Hugging Face: a folder that `datasets.load_dataset` reads.

- `data/train-00000-of-00001.parquet`: one row per stored image, in class order; columns `image` (a
  PNG), `label` and `class_id` (both the class), and `soft_label` where labels are not hard.
- `exact.safetensors`: the set bit for bit; `images` `[K, n, H, W, C]`, normalised or whitened, as
  students see them; `labels` `[K, n, K]` unless they are hard; `stored` `[K, ipc, H, W, C]`, the
  mosaics that images are cut from; `learning_rate`; `whitening_mean`, `whitening_vectors`,
  `whitening_variances`, `whitening_eps`. Its metadata repeat what of the recipe gives them meaning.
- `recipe.json`: see `recipes.of`.
- `README.md`: the card, see `cards.card`.
"""

import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdd.data.arrays import require_names
from jaxdd.exchange import cards, pictures, recipes
from jaxdd.exchange.forms import (
    HOLDABLE,
    Artifact,
    Form,
    Told,
    require_holds,
    require_told,
    stored,
)
from jaxdd.exchange.packages import optional

TABLE = 'data/train-00000-of-00001.parquet'
EXACT, CARD = 'exact.safetensors', 'README.md'
AGAIN = 'copy or write the set again'


def write(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Writes the four files.

    Raises:
        ValueError: mosaics that `info` does not say how to cut; a package that is missing; a folder
            that holds other files.
    """
    require_holds('hub', artifact, {'hub': HUB})
    recipe = recipes.of(artifact)
    images, labels = stored(artifact)
    # Labels of tiles are no label of their mosaic.
    soft = None if recipe['labels'] == 'hard' or recipe['decode'] else labels
    columns = () if soft is None else ('soft_label',)
    count = np.shape(artifact.synthetic.images)[1]
    files = {
        TABLE: _table(pictures.levels(artifact), soft, recipe['class_names']),
        EXACT: _exact(artifact, recipe),
        recipes.FILE: recipes.dumped(recipe),
        CARD: cards.card(recipe, images.shape, count, columns).encode(),
    }
    return pictures.put(folder, files)


def read(path: pathlib.Path, told: Told | None) -> Artifact:
    """Reads a folder of ours, bit for bit, or the table of others.

    Args:
        path: a folder; or a parquet file.
        told: where `exact.safetensors` and `recipe.json` are there, what they say, too, or None.
            Else what the table does not say: its pictures are pixels ('unit').

    Raises:
        ValueError: a package that is missing; a damaged file; a recipe that says otherwise than was
            told, or than the exact numbers' file; classes without images, or with more than others.
    """
    found = [(path / name).exists() for name in (EXACT, recipes.FILE)]
    if not any(found):
        return _of_table(path, require_told(told, path))
    if not all(found):
        have, lack = (EXACT, recipes.FILE) if found[0] else (recipes.FILE, EXACT)
        raise ValueError(
            f'{path} holds {have}, but not {lack}: copy both, or read the parquet file alone'
        )
    recipe = recipes.read(path / recipes.FILE)
    told = recipes.told(recipe) if told is None else told
    recipes.agree(recipe, told, path / recipes.FILE)
    arrays, said = _arrays(path / EXACT)
    for name in recipes.MEANING:
        if name in said and said[name] != recipe[name]:
            raise ValueError(
                f'{path / recipes.FILE}: {name} is {recipe[name]!r}, and {EXACT} says '
                f'{said[name]!r}: one of them was changed; {AGAIN}'
            )
    try:
        artifact = recipes.restored(recipe, arrays, told)
    except ValueError as error:
        raise ValueError(f'{path / EXACT} does not hold a set: {error}; {AGAIN}') from error
    recipes.agree_whitening(artifact.about.get('whitening'), told, path / EXACT)
    return artifact


def _table(images: np.ndarray, soft: np.ndarray | None, class_names: list[str]) -> bytes:
    arrow = optional('pyarrow', 'writing the hub form')
    parquet = optional('pyarrow.parquet', 'writing the hub form')
    classes, count, *shape = images.shape
    numbers = np.repeat(np.arange(classes), count)
    pngs = pictures.encoded(images.reshape(-1, *shape))
    columns = {
        'image': arrow.array(
            [{'bytes': png, 'path': None} for png in pngs],
            arrow.struct({'bytes': arrow.binary(), 'path': arrow.string()}),
        ),
        'label': arrow.array(numbers, arrow.int64()),
        'class_id': arrow.array(numbers, arrow.int64()),
    }
    features: dict[str, Any] = {
        'image': {'_type': 'Image'},
        'label': {'names': class_names, '_type': 'ClassLabel'},
        'class_id': {'dtype': 'int64', '_type': 'Value'},
    }
    if soft is not None:
        rows = soft.reshape(-1, soft.shape[-1])
        columns['soft_label'] = arrow.array(list(rows), arrow.list_(arrow.float32()))
        # every version of `datasets` understands the older name of List
        features['soft_label'] = {
            'feature': {'dtype': 'float32', '_type': 'Value'},
            '_type': 'Sequence',
        }
    known = json.dumps({'info': {'features': features}})
    content = io.BytesIO()
    parquet.write_table(
        arrow.table(columns).replace_schema_metadata({'huggingface': known}), content
    )
    return content.getvalue()


def _exact(artifact: Artifact, recipe: Mapping[str, Any]) -> bytes:
    synthetic, about = artifact
    arrays = {'images': np.asarray(synthetic.images, np.float32)}
    if recipe['labels'] != 'hard':
        arrays['labels'] = np.asarray(synthetic.labels, np.float32)
    if 'stored' in about:
        arrays['stored'] = np.asarray(about['stored'], np.float32)
    if synthetic.learning_rate is not None:
        arrays['learning_rate'] = np.asarray(synthetic.learning_rate, np.float32)
    arrays |= recipes.whitening_fields(artifact)
    meaning = {name: json.dumps(recipe[name]) for name in recipes.MEANING}
    numbers = optional('safetensors.numpy', 'writing the hub form')
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # of a scalar, the function above makes one number in a row
    whole = {name: array.reshape(arrays[name].shape) for name, array in whole.items()}
    return numbers.save(whole, meaning)


def _arrays(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a safetensors file, and the parts of the recipe in it."""
    package = optional('safetensors', f'reading {path}')
    try:
        with package.safe_open(path, 'numpy') as file:
            said = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = {name: json.loads(said[name]) for name in recipes.MEANING if name in said}
        if 'images' not in arrays:
            raise ValueError(f'images are missing, found {", ".join(arrays)}')
    except Exception as error:  # the parser has several kinds, which are its own
        raise ValueError(f'{path} cannot be read as safetensors ({error}); {AGAIN}') from error
    return arrays, said


def _of_table(path: pathlib.Path, told: Told) -> Artifact:
    """A set of a table with the columns image, label or class_id, and maybe soft_label."""
    rows, names = _rows(path)
    require_names(names, told.class_names, len(told.class_names), str(path))
    label = next((name for name in ('label', 'class_id') if name in rows), None)
    if label is None or 'image' not in rows:
        raise ValueError(
            f'{path}: the table has the columns {", ".join(rows)}; expected image, and label or '
            'class_id'
        )
    order = pictures.class_rows(rows[label], told.class_names, f'{path}, column {label}')
    images = pictures.decoded([_content(one, path) for one in rows['image']], told, path)
    return pictures.assembled(images[order], _soft(rows, path, order), told, path)


def _rows(path: pathlib.Path) -> tuple[dict[str, list], list[str] | None]:
    """The columns of a table of one or several files, and the names of its labels, if it says."""
    parquet = optional('pyarrow.parquet', f'reading {path}')
    arrow = optional('pyarrow', f'reading {path}')
    files = [path] if path.is_file() else sorted(path.glob('data/train-*.parquet'))
    if not (files := files or sorted(path.glob('*.parquet'))):
        raise ValueError(
            f'{path}: neither {EXACT} nor a parquet file; expected {TABLE}, or data/train-*.parquet'
        )
    try:
        tables = [parquet.read_table(file) for file in files]
        table = arrow.concat_tables(tables)
        features = json.loads((table.schema.metadata or {}).get(b'huggingface', b'{}'))
        found = {name: table[name].to_pylist() for name in table.column_names}
    except Exception as error:  # of many kinds, its own and those of the disk
        raise ValueError(
            f'{path}: cannot be read as parquet ({error}); copy or write the set again'
        ) from error
    return found, features.get('info', {}).get('features', {}).get('label', {}).get('names')


def _content(cell: Any, path: pathlib.Path) -> bytes:
    content = cell.get('bytes') if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise ValueError(
            f'{path}: the column image must hold the bytes of pictures, got {cell!r}'[:300]
        )
    return content


def _soft(rows: Mapping[str, list], path: pathlib.Path, order: np.ndarray) -> np.ndarray | None:
    if 'soft_label' not in rows:
        return None
    try:
        return np.asarray(rows['soft_label'], np.float32)[order]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{path}: the column soft_label must hold {len(order)} numbers in every row'
        ) from error


HUB = Form(write, read, frozenset(HOLDABLE), 'pyarrow', describes_itself=True)
