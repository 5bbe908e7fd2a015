"""Which form a file or folder looks like, by the names of its files alone: nothing is opened."""

import pathlib
from typing import NamedTuple

# The first pattern that is found decides; later ones are found in more forms. A folder of runs
# holds pictures, too, and is no folder of pictures.
PATTERNS = (
    ('distilled.npz', ('npz',)),
    ('*/distilled.npz', ('npz',)),
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
)
# Only asked of folders: a picture alone is no set.
PICTURES = (
    ('new[0-9]*/*.jpg', ('sre2l',)),
    ('[0-9][0-9][0-9][0-9][0-9]/*.jpg', ('rded',)),
    ('*/*.png', ('imagefolder',)),
    ('*/*.jpg', ('imagefolder',)),
)
OF_FOLDERS = ('mtt', 'datm', 'ddranking', 'hub', 'tfds')  # forms whose files belong together


class Likeness(NamedTuple):
    """What a path looks like."""

    path: pathlib.Path  # what a reader of the forms takes: of some the folder that the file is in
    forms: tuple[str, ...]  # keys of `registry.FORMS`, the likeliest first


def of(path: pathlib.Path) -> Likeness | None:
    """What a file or folder looks like; None where it is not there or looks like nothing."""
    if path.is_dir():
        patterns = (*PATTERNS, *PICTURES)
        return next((Likeness(path, forms) for one, forms in patterns if any(path.glob(one))), None)
    found = next((row for row in PATTERNS if path.match(row[0])), None)
    if found is None or not path.is_file():
        return None
    pattern, forms = found
    root = path.parents[pattern.count('/')] if forms[0] in OF_FOLDERS else path
    return Likeness(root, forms)
