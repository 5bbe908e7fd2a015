"""Which form a file or folder looks like, by the names of its files alone: nothing is opened."""

import pathlib
from typing import NamedTuple

# The first pattern that is found decides; later ones are found in more forms.
PATTERNS = (
    ('distilled.npz', ('npz',)),
    ('quantised.npz', ('quantised-8bit', 'quantised-4bit', 'quantised-2bit')),
    ('lr_best.pt', ('datm',)),
    ('images_best.pt', ('mtt', 'datm')),
    ('labels_best.pt', ('mtt', 'datm')),
    ('images.pt', ('ddranking',)),
    ('res*.pt', ('dc',)),
    ('data.pt', ('idc', 'ncfm')),
    ('*.pt', ('dc', 'idc', 'ncfm', 'cim')),
    ('data/*.parquet', ('hub',)),
    ('*.parquet', ('hub',)),
    ('dataset_info.json', ('tfds',)),
    ('new[0-9]*/*.jpg', ('sre2l',)),
    ('[0-9][0-9][0-9][0-9][0-9]/*.jpg', ('rded',)),
    ('*/*.png', ('imagefolder',)),
    ('*/*.jpg', ('imagefolder',)),
)
OF_FOLDERS = ('mtt', 'datm', 'ddranking', 'tfds')  # forms whose files are of use together alone


class Likeness(NamedTuple):
    """What a path looks like."""

    path: pathlib.Path  # what a reader of the forms takes: of some the folder that the file is in
    forms: tuple[str, ...]  # keys of `registry.FORMS`, the likeliest first


def of(path: pathlib.Path) -> Likeness | None:
    """What a file or folder looks like; None where it is not there or looks like nothing."""
    if path.is_dir():
        found = next((forms for pattern, forms in PATTERNS if any(path.glob(pattern))), None)
        return found and Likeness(path, found)
    found = next((forms for pattern, forms in PATTERNS if path.match(pattern)), None)
    if found is None or not path.is_file():
        return None
    return Likeness(path.parent if found[0] in OF_FOLDERS else path, found)
