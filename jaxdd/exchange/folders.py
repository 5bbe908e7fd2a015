"""Distilled sets as folders of pictures, one folder per class.

They hold whole images and hard labels, rounded to grey levels, and nothing of a whitening:

`IMAGEFOLDER`: `<class name>/00000.png`, and `recipe.json` beside the classes, which says how
mosaics are cut. torchvision's `ImageFolder` reads it, and numbers the classes by their sorted
names; the order of the set's labels is that of `class_names` in the recipe.

`SRE2L`: `new000/class000_id000.jpg`, as the code of Yin et al., "Squeeze, Recover and Relabel"
(NeurIPS 2023), https://arxiv.org/abs/2306.13092, keeps its images. `RDED`:
`00000/class00000_id00000.jpg`, as that of Sun et al., "On the Diversity and Realism of Distilled
Dataset" (CVPR 2024), https://arxiv.org/abs/2312.03526. Both are JPEGs, which lose a little even at
the highest quality; their folders and files have as many digits as are needed, at least three and
five, so that sorted names are in the order of the numbers.
"""

import os
import pathlib
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxdd.data.folder import SUFFIXES, images_in
from jaxdd.exchange import pictures, recipes
from jaxdd.exchange.forms import Artifact, Form, Told, require_holds

# What some file system refuses, or takes for something else.
UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]|%(?=[0-9A-Fa-f]{2})|^[. ]|[. ]$')
RESERVED = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?$', re.IGNORECASE)  # by Windows
LONGEST = 255  # bytes of a name
NUMBERED = re.compile(r'class(\d+)_id(\d+)')


class _Numbered(NamedTuple):
    """Classes by number: the prefix of their folders, and the least digits of all numbers."""

    name: str
    prefix: str
    digits: int


def folder_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of folders that every file system takes.

    What some system refuses is written as % and two hexadecimal digits per byte, as in URLs, and so
    is all of a name that differs from an earlier one in upper and lower case alone, or that Windows
    keeps for itself; `urllib.parse.unquote` makes the class's name of it.

    Raises:
        ValueError: an empty name, one too long, or two that are written alike.
    """
    if len({_normal(name) for name in class_names}) < len(class_names):
        raise ValueError(f'class names must differ, got some twice: {_some(sorted(class_names))}')
    found: dict[str, str] = {}
    for name in class_names:
        safe = UNSAFE.sub(lambda part: _percent(part[0]), name)
        if RESERVED.match(safe) or _normal(safe).casefold() in found:
            safe = _percent(name)
        if not 0 < len(os.fsencode(safe)) <= LONGEST:
            raise ValueError(
                f'class {name!r} cannot be the name of a folder: 1 to {LONGEST} bytes, got '
                f'{len(os.fsencode(safe))}'
            )
        found[_normal(safe).casefold()] = safe
    return tuple(found.values())


def _normal(name: str) -> str:
    return unicodedata.normalize('NFC', name)


def _percent(text: str) -> str:
    return ''.join(f'%{byte:02X}' for byte in text.encode())


def _write_named(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    require_holds('imagefolder', artifact, {'imagefolder': IMAGEFOLDER})
    recipe = {**recipes.of(artifact), 'space': 'unit'}
    images = pictures.levels(artifact)
    names = folder_names(recipe['class_names'])
    width = max(5, len(str(images.shape[1] - 1)))
    files = _files(images, lambda c, i: f'{names[c]}/{i:0{width}d}.png', 'PNG')
    return pictures.put(folder, {**files, recipes.FILE: recipes.dumped(recipe)})


def _read_named(path: pathlib.Path, told: Told) -> Artifact:
    """Classes are the folders whose names, or what they are written for, are told."""
    if (path / recipes.FILE).exists():
        recipe = recipes.read(path / recipes.FILE)
        recipes.agree(recipe, told, path / recipes.FILE)
        told = recipes.completed(recipe, told)
    names = {_normal(name): name for name in told.class_names}
    found = {}
    for folder in _folders(path):
        meant = _normal(urllib.parse.unquote(folder))
        name = names.get(meant if meant in names else _normal(folder), folder)
        if name in found:
            raise ValueError(f'{path}: {found[name]} and {folder} are both of class {name!r}')
        found[name] = folder
    return _read(path, found, list(told.class_names), told)


def _write_numbered(
    layout: _Numbered, artifact: Artifact, folder: pathlib.Path
) -> tuple[pathlib.Path, ...]:
    form = {'sre2l': SRE2L, 'rded': RDED}[layout.name]
    require_holds(layout.name, artifact, {layout.name: form})
    recipes.of(artifact)  # refuses what is no set
    images = pictures.levels(artifact)
    own, image = (max(layout.digits, len(str(size - 1))) for size in images.shape[:2])

    def name(c: int, i: int) -> str:
        return f'{layout.prefix}{c:0{own}d}/class{c:0{own}d}_id{i:0{image}d}.jpg'

    return pictures.put(folder, _files(images, name, 'JPEG'))


def _read_numbered(layout: _Numbered, path: pathlib.Path, told: Told) -> Artifact:
    """Classes are counted, so that what is told are their names in that order."""
    found: dict[str | int, str] = {}
    for folder in _folders(path):
        match = re.fullmatch(f'{layout.prefix}([0-9]+)', folder)
        number = int(match[1]) if match else folder
        if number in found:
            raise ValueError(f'{path}: {found[number]} and {folder} are both of class {number}')
        found[number] = folder
    _require_classes(path, found, range(len(told.class_names)))
    for number, folder in found.items():
        for file in images_in(path / folder):
            if (match := NUMBERED.match(file)) and int(match[1]) != number:
                raise ValueError(
                    f'{path / folder / file} is of class {int(match[1])} by its own name, and of '
                    f'class {number} by that of its folder'
                )
    return _read(path, found, range(len(told.class_names)), told)


def _files(images: np.ndarray, name: Callable[[int, int], str], kind: str) -> dict[str, bytes]:
    classes, count, *shape = images.shape
    content = pictures.encoded(images.reshape(classes * count, *shape), kind)
    return {name(i // count, i % count): one for i, one in enumerate(content)}


def _folders(path: pathlib.Path) -> list[str]:
    if not path.is_dir():
        raise ValueError(f'{path} is no folder; expected one with a folder of pictures per class')
    return sorted(f.name for f in path.iterdir() if f.is_dir() and not f.name.startswith('.'))


def _read(path: pathlib.Path, found: Mapping, classes: Sequence, told: Told) -> Artifact:
    """A set of folders by class."""
    _require_classes(path, found, classes)
    files = {found[c]: sorted(images_in(path / found[c]), key=_natural) for c in classes}
    if not any(files.values()):
        raise ValueError(f'{path}: no pictures ({", ".join(SUFFIXES)})')
    pictures.require_equal({name: len(own) for name, own in files.items()}, path)
    flat = [path / folder / file for folder, own in files.items() for file in own]
    images = pictures.decoded(flat, told, path)
    return pictures.assembled(images.reshape(len(classes), -1, *images.shape[1:]), None, told, path)


def _require_classes(path: pathlib.Path, found: Mapping, classes: Sequence) -> None:
    missing = [str(c) for c in classes if c not in found]
    extra = [folder for c, folder in found.items() if c not in classes]
    if missing or extra:
        raise ValueError(
            f'{path}: {len(found)} folders, and {len(classes)} classes were told; missing: '
            f'{_some(missing)}; more: {_some(extra)}'
        )


def _natural(name: str) -> list[tuple[int, str]]:
    """Orders numbers in names by their size, and the rest as text."""
    parts = re.split('([0-9]+)', name)
    return [(int(part) if i % 2 else -1, part) for i, part in enumerate(parts)]


def _some(names: Sequence[str]) -> str:
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    return ', '.join(names[:5]) + more or 'none'


def _numbered(name: str, prefix: str, digits: int) -> Form:
    layout = _Numbered(name, prefix, digits)
    return Form(
        lambda artifact, folder: _write_numbered(layout, artifact, folder),
        lambda path, told: _read_numbered(layout, path, told),
        frozenset(),
    )


IMAGEFOLDER = Form(_write_named, _read_named, frozenset({'mosaics'}))
SRE2L = _numbered('sre2l', 'new', 3)
RDED = _numbered('rded', '', 5)
