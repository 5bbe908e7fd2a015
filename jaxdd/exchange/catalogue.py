"""A catalogue of distilled sets: a folder that can be put anywhere, and says whether it is whole.

- `catalogue.json`: what each set is (`ENTRY`), and the SHA-256 of every other file; a record with a
  checksum of its own.
- `README.md`: the same for people.
- `SHA256SUMS`: the digest of every file, as `sha256sum --check` reads them.
- `<set>/distilled.npz`, `<set>/results.json`, and `<set>/<form>/...` for programs of others.

Hidden files belong to whoever keeps the folder (`.git`) and do not count.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxdd.storage import records
from jaxdd.storage.atomic import write_whole
from jaxdd.storage.records import COUNT, FRACTION, TEXT, fields, listing

RECORD, PAGE, SUMS = 'catalogue.json', 'README.md', 'SHA256SUMS'
SET, RESULTS = 'distilled.npz', 'results.json'
DIGEST: records.Schema = {'type': 'string', 'pattern': '^[0-9a-f]{64}$'}
# Accuracies of students under a budget that everybody has, to be found again.
SMOKE = fields(
    epochs=COUNT,
    network=TEXT,
    protocol=TEXT,
    precision=TEXT,
    hardware=TEXT,
    per_seed=listing(FRACTION, least=1),
)
ENTRY = fields(
    {'smoke': SMOKE},
    dataset=TEXT,
    method=TEXT,
    plugins=listing(TEXT),
    ipc={'type': 'integer', 'minimum': 1},
    seed=COUNT,
    steps=COUNT,
    bytes=fields(images=COUNT, labels=COUNT),
    labels=TEXT,  # what students are shown: the set's own (hard, ...), or static, dynamic, ...
    protocol=TEXT,
    accuracy=fields(network=TEXT, student=TEXT, mean=FRACTION, std=FRACTION, seeds=COUNT),
    commit=TEXT,
    licence=TEXT,  # what is known of the terms of the real images
    bibtex=listing(TEXT),
)
SCHEMA = fields(
    format={'const': 'jaxdd catalogue'},
    version={'const': 1},
    sets=records.mapping(ENTRY),
    files=records.mapping(DIGEST),
)
AGAIN = 'copy the catalogue again, or pack it again'
_BLOCK = 2**20


class Catalogue(NamedTuple):
    """What `catalogue.json` holds."""

    sets: dict[str, dict[str, Any]]  # by name, as `ENTRY`
    files: dict[str, str]  # path in the folder, with `/` -> SHA-256; neither RECORD nor SUMS


def name_of(entry: Mapping[str, Any]) -> str:
    """The name of a set, such as 'cifar10-dm-cc-cm-ipc10-seed0', which every file system takes."""
    parts = (entry['dataset'], entry['method'], *entry['plugins'])
    plain = '-'.join(re.sub(r'[^A-Za-z0-9_.]+', '_', part).lstrip('.') or '_' for part in parts)
    return f'{plain}-ipc{entry["ipc"]}-seed{entry["seed"]}'


def fits(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether a set of this name may be what the entry says: its own name, or that and a label."""
    own = name_of(entry)
    return name == own or name.startswith(f'{own}-')


def forms_of(catalogue: Catalogue, name: str) -> tuple[str, ...]:
    """The forms in which a set lies there, npz first."""
    parts = [path.split('/') for path in catalogue.files if path.startswith(f'{name}/')]
    return ('npz', *sorted({form for _, form, *rest in parts if rest}))


def load(folder: pathlib.Path) -> Catalogue:
    """Reads the record of a catalogue.

    Raises:
        ValueError: no such folder, or none with a record.
        records.Damaged: the record is damaged; names it.
    """
    if not folder.is_dir():
        raise ValueError(f'{folder} is no folder: give one that `catalogue pack` wrote')
    found = records.load(folder / RECORD, SCHEMA)
    if found is None:
        raise ValueError(
            f'{folder / RECORD} is not there, so that {folder} is no catalogue: give one that '
            f'`catalogue pack` wrote, or {AGAIN}'
        )
    for name in found['sets']:
        for file in (SET, RESULTS):
            if f'{name}/{file}' not in found['files']:
                raise records.Damaged(f'{folder / RECORD} has the set {name} without its {file}')
    return Catalogue(found['sets'], found['files'])


def save(folder: pathlib.Path, catalogue: Catalogue) -> None:
    """Writes the record and the file of digests."""
    content = {'format': 'jaxdd catalogue', 'version': 1, **catalogue._asdict()}
    records.save(folder / RECORD, content)
    write_whole(folder / SUMS, sums(folder, catalogue).encode())


def sums(folder: pathlib.Path, catalogue: Catalogue) -> str:
    """A line per file, the record's too, as `sha256sum` writes them."""
    every = {**catalogue.files, RECORD: digest(folder / RECORD)}
    return ''.join(_line(path, every[path]) for path in sorted(every))


def digest(path: pathlib.Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def present(folder: pathlib.Path) -> set[str]:
    """The files of a folder by their paths in it; without hidden ones."""
    inside = (path for path in folder.rglob('*') if path.is_symlink() or not path.is_dir())
    paths = {path.relative_to(folder) for path in inside}
    return {path.as_posix() for path in paths if not any(part[0] == '.' for part in path.parts)}


def faults(folder: pathlib.Path, catalogue: Catalogue) -> dict[str, str]:
    """Files that are not as they were packed: path -> 'missing', 'extra' or 'changed'."""
    here, known = present(folder), {*catalogue.files, RECORD, SUMS}
    found = {path: 'missing' for path in known - here} | {path: 'extra' for path in here - known}
    for path in here & catalogue.files.keys():
        if not _is(folder / path, catalogue.files[path]):
            found[path] = 'changed'
    if SUMS in here and (folder / SUMS).read_bytes() != sums(folder, catalogue).encode():
        found[SUMS] = 'changed'
    return dict(sorted(found.items()))


@contextlib.contextmanager
def replacing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A copy of a folder beside it, to be worked on, which takes its place if all goes well.

    Whatever goes wrong, the folder stays as it was. One process at a time may do this.

    Args:
        folder: made if missing.

    Yields:
        The copy.
    """
    temporary, old = _siblings(folder)
    restore(folder)
    try:
        if folder.exists():
            shutil.copytree(folder, temporary, symlinks=True)
        temporary.mkdir(parents=True, exist_ok=True)
        yield temporary
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
    finally:
        restore(folder)


def restore(folder: pathlib.Path) -> None:
    """Takes away what a killed `replacing` left; a folder that it had moved gets its place back."""
    temporary, old = _siblings(folder)
    if old.exists() and not folder.exists():
        os.replace(old, folder)
    for rest in (temporary, old):
        shutil.rmtree(rest, ignore_errors=True)


def _siblings(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    return folder.with_name(f'.{folder.name}.new'), folder.with_name(f'.{folder.name}.old')


def _is(path: pathlib.Path, expected: str) -> bool:
    """Whether a file has a digest; one that cannot be read has none."""
    try:
        return digest(path) == expected
    except OSError:
        return False


def _line(path: str, own: str) -> str:
    """A name with a backslash or a line break is written as `sha256sum` does, and marked so."""
    plain = path.replace('\\', '\\\\').replace('\n', '\\n').replace('\r', '\\r')
    return f'{"" if plain == path else chr(92)}{own}  {plain}\n'
