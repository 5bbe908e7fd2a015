"""Distilled sets that are given away together, for people: a table, and a page that goes along."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxdd.reporting import tables

HEADER = (
    *('set', 'data set', 'ipc', 'method', 'steps', 'labels', 'image bytes', 'label bytes'),
    *('protocol', 'student', 'accuracy, %', 'seeds', 'commit', 'sha256'),
)
NUMBERS = (2, 4, 6, 7, 10, 11)
DIGITS = 12  # of a digest in a table for people
# What students of other than hard labels learn from.
SOFT = {
    'static': 'learn from the logits in `labels.npz`, not from the labels of `distilled.npz`',
    'replayed': 'learn from the labels in `replay.npz`, which belong to one order of the images',
    'dynamic': "ask the set's teachers about every batch, which are no part of this release",
    'stored': 'read a store of labels, which is no part of this release',
}


class Line(NamedTuple):
    """One set of a release."""

    name: str
    entry: Mapping[str, Any]  # as `jaxdd.exchange.catalogue.ENTRY`
    sha256: str  # of its distilled.npz
    forms: Sequence[str]  # in which it lies there

    @property
    def method(self) -> str:
        """The method with its plug-ins, such as 'DM + CC'."""
        return ' + '.join((self.entry['method'], *self.entry['plugins'])).upper()


def cells(line: Line) -> list[str]:
    """A set's cells below `HEADER`."""
    entry, accuracy = line.entry, line.entry['accuracy']
    return [
        line.name,
        entry['dataset'],
        f'{entry["ipc"]:,}',
        line.method,
        f'{entry["steps"]:,}',
        entry['labels'],
        f'{entry["bytes"]["images"]:,}',
        f'{entry["bytes"]["labels"]:,}',
        entry['protocol'],
        accuracy['student'],
        f'{100 * accuracy["mean"]:.2f} ± {100 * accuracy["std"]:.2f}',
        str(accuracy['seeds']),
        entry['commit'],
        line.sha256[:DIGITS],
    ]


def table(lines: Sequence[Line]) -> str:
    """A line per set, for the terminal."""
    return tables.aligned(HEADER, map(cells, lines), rule=True, numbers=NUMBERS)


def page(lines: Sequence[Line]) -> str:
    """The page as Markdown: what there is, how it is read, what its terms are, what to cite.

    Args:
        lines: at least one set; those in the examples are the first that fit.
    """
    terms = sorted({(line.entry['dataset'], line.entry['licence']) for line in lines})
    papers = '\n\n'.join(dict.fromkeys(text for line in lines for text in line.entry['bibtex']))
    parts = [
        '# Distilled data sets',
        tables.markdown(HEADER, map(cells, lines), numbers=NUMBERS),
        _words(lines),
        _in_torch(lines[0].name),
        _in_datasets(lines),
        _in_jaxdd(lines[0].name),
        _whole(),
        '## Terms of the real images\n\n'
        'The sets are made of images of others, and what holds for those may hold for them:',
        '\n'.join(f'- {name}: {licence}' for name, licence in terms),
    ]
    if papers:
        parts.append(f'## What to cite\n\n```bibtex\n{papers}\n```')
    return '\n\n'.join(parts) + '\n'


def _words(lines: Sequence[Line]) -> str:
    """What the table means, and which sets do not suffice by themselves."""
    found = [
        'Accuracy is that of the first student on the test images at the last step: mean ± '
        'population standard deviation over seeds. Two numbers compare where data set, student and '
        'protocol are equal. Every set has a folder of its name: `distilled.npz` with images, '
        'labels, normalisation and how they were made, and `results.json` with the whole record.'
    ]
    for labels, what in SOFT.items():
        if names := [line.name for line in lines if line.entry['labels'] == labels]:
            found.append(f'The students of {", ".join(names)} {what}.')
    more = [f'{line.name} ({", ".join(line.forms[1:])})' for line in lines if line.forms[1:]]
    return ' '.join(found + ([f'In other forms, too: {"; ".join(more)}.'] if more else []))


def _in_torch(name: str) -> str:
    return f"""## In PyTorch

```python
import numpy as np, torch

file = np.load('{name}/distilled.npz')
images = torch.from_numpy(file['images']).flatten(0, 1).permute(0, 3, 1, 2)    # [N, C, H, W]
labels = torch.from_numpy(file['labels']).flatten(0, 1)                        # [N, Y]
train = torch.utils.data.TensorDataset(images, labels)
```

The images are normalised: a test image of pixels in [0, 1] becomes (x - `mean`) / `std`, both in
the file. Where the file has `whitening_vectors`, it is whitened instead: with U those vectors and
s = `whitening_variances` + `whitening_eps`, a flattened image becomes
(x - `whitening_mean`) U diag(s^-1/2) U^T. Students of a file with a `learning_rate` train with
it."""


def _in_datasets(lines: Sequence[Line]) -> str:
    """A folder that `datasets` reads, where there is one; else the arrays."""
    hub = next((line.name for line in lines if 'hub' in line.forms), None)
    code = (
        f"from datasets import load_dataset\n\ntrain = load_dataset('{hub}/hub', split='train')"
        if hub
        else f"""import datasets, numpy as np

file = np.load('{lines[0].name}/distilled.npz')
classes, count, *shape = file['images_uint8'].shape
train = datasets.Dataset.from_dict({{
    'image': list(file['images_uint8'].reshape(-1, *shape)),
    'label': np.repeat(np.arange(classes), count),
}})"""
    )
    return (
        f'## In `datasets`\n\n```python\n{code}\n```\n\nThese images are rounded to grey levels; '
        'the exact numbers are in `distilled.npz`.'
    )


def _in_jaxdd(name: str) -> str:
    return f"""## In `jaxdd`

```python
from jaxdd.storage import distilled_set

synthetic, about = distilled_set.load_npz('{name}/distilled.npz')    # every byte is checked
```

`python -m experiments.evaluate {name}/distilled.npz --output ../evaluation.json` trains other
students on it. The record goes outside, since `check` (below) names every file that was not
packed."""


def _whole() -> str:
    return """## Whether all is there

    sha256sum --check --quiet SHA256SUMS
    python -m experiments.catalogue check .

The second command also finds files that do not belong here, and opens every set. With `--score` it
trains students again and compares."""
