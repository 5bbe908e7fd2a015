"""The card of a distilled set: a README in the form of those of Hugging Face's data sets."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxdd.exchange.forms import named

SPACES = {
    'normalised': 'pixels in [0, 1], minus `mean`, divided by `std` (both in `recipe.json`)',
    'unit': 'pixels in [0, 1]',
    'whitened': (
        'whitened: (x - mean) V diag(variances + eps)^(-1/2) V^T of pixels x in [0, 1] (the '
        'arrays `whitening_...`), by which test images have to go, too'
    ),
}
LABELS = {
    'hard': 'Labels are hard.',
    'probabilities': 'Students learn from `soft_label`, probabilities that sum to 1.',
    'logits': "Students learn from `soft_label`, a teacher's logits.",
}
LOADING = """```python
from datasets import load_dataset

train = load_dataset('FOLDER OR REPOSITORY', split='train')
```

`image` is rounded to grey levels, as a PNG is. The exact numbers are in `exact.safetensors`:

```python
import json
from safetensors.numpy import load_file

exact = load_file('exact.safetensors')
recipe = json.load(open('recipe.json', encoding='utf-8'))
images = exact['images']    # [classes, images per class, height, width, channels], float32
```"""


def card(
    recipe: Mapping[str, Any], shape: Sequence[int], decoded: int, columns: Sequence[str]
) -> str:
    """A README: what a program needs to know between two lines `---`, then what a person does.

    Args:
        recipe: see `recipes.of`. Of its `info` the card takes `license`, `method`, `dataset` and
            `bibtex`, where they are.
        shape: K, ipc, H, W, C of what is stored.
        decoded: images per class that students see.
        columns: of the table, besides image, label and class_id.
    """
    parts = [
        f'---\n{_front_matter(recipe, columns)}\n---',
        f'# {_title(recipe["info"])}',
        sentence(recipe, shape),
        _contents(recipe, decoded),
        f'## Loading\n\n{LOADING}',
    ]
    if entries := bibtex(recipe['info']):
        parts.append(f'## What to cite\n\n```bibtex\n{entries}\n```')
    return '\n\n'.join(parts) + '\n'


def sentence(recipe: Mapping[str, Any], shape: Sequence[int]) -> str:
    """One sentence that says what the set is."""
    classes, count, height, width, channels = shape
    of, by = named(recipe['info'], 'dataset'), named(recipe['info'], 'method')
    return (
        f'A distilled training set{f" of {of}" if of else ""}{f", made with {by}" if by else ""}: '
        f'{count} synthetic image{"" if count == 1 else "s"} of {height} x {width} pixels and '
        f'{channels} channel{"" if channels == 1 else "s"} for each of {classes} classes.'
    )


def bibtex(info: Mapping[str, Any]) -> str:
    """The entries that `info` has, one text or several, or nothing."""
    entries = info.get('bibtex') or ()
    return '\n\n'.join([entries] if isinstance(entries, str) else map(str, entries))


def _contents(recipe: Mapping[str, Any], decoded: int) -> str:
    space = 'whitened' if recipe['space'] == 'whitened' else 'normalised'
    found = [LABELS[recipe['labels']], f'The exact images are {SPACES[space]}.']
    if decode := recipe['decode']:
        found.append(
            f'A stored image is a mosaic of {decode["factor"]} x {decode["factor"]} tiles, counted '
            f'{"down the columns" if decode["order"] == "column" else "along the rows"}, each of '
            f'which is enlarged (bilinear): students see {decoded} images per class. The table '
            f'`data` holds the mosaics; `exact.safetensors` holds them as `stored` '
            f'({SPACES[decode["space"]]}) and what students see as `images`.'
        )
    if recipe['learning_rate'] is not None:
        found.append(f'Students train with the learned rate {recipe["learning_rate"]:g} (SGD).')
    if terms := _terms(recipe['info']):
        found.append(f'Terms of the real images: {terms}.')
    if recipe['temperature'] is not None:
        found.append(f'The temperature of the labels is {recipe["temperature"]}.')
    return '\n'.join(f'- {one}' for one in found)


def _title(info: Mapping[str, Any]) -> str:
    of, by = named(info, 'dataset'), named(info, 'method')
    return f'{of or "A data set"}, distilled{f" with {by}" if by else ""}'


def _terms(info: Mapping[str, Any]) -> str:
    """What is known of the licence of the data set, as `distilled_set.described` keeps it."""
    dataset = info.get('dataset')
    return str(dataset.get('licence') or '') if isinstance(dataset, Mapping) else ''


def _front_matter(recipe: Mapping[str, Any], columns: Sequence[str]) -> str:
    lines = [
        f'license: {_quoted(named(recipe["info"], "license") or "unknown")}',
        f'pretty_name: {_quoted(_title(recipe["info"]))}',
        'task_categories:',
        '- image-classification',
        'tags:',
        '- dataset-distillation',
        'configs:',
        '- config_name: default',
        '  data_files:',
        '  - split: train',
        '    path: data/train-*',
        'dataset_info:',
        '  features:',
        '  - name: image',
        '    dtype: image',
        '  - name: label',
        '    dtype:',
        '      class_label:',
        '        names:',
        *(f"          '{i}': {_quoted(name)}" for i, name in enumerate(recipe['class_names'])),
        '  - name: class_id',
        '    dtype: int64',
    ]
    for name in columns:
        lines += [f'  - name: {name}', '    sequence: float32']
    return '\n'.join(lines)


def _quoted(text: str) -> str:
    """A text in YAML's double quotes, whatever it holds."""
    return '"' + ''.join(c if _plain(c) else f'\\U{ord(c):08X}' for c in text) + '"'


def _plain(character: str) -> bool:
    return character.isprintable() and character not in '"\\'
