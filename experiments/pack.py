"""Packs the folder of `experiments.reproduce` into a few files of limited size, to continue on another machine.

    python -m experiments.pack pack runs/cells packed [--limit 38]
    python -m experiments.pack unpack packed runs/cells

Of checkpoints only the newest is taken, of what is finished none. What does not fit is left out whole, and said: a
cell's workdir (it would start anew), a teacher or a proxy (they would be trained again). First come the records and the
random baselines, then unfinished cells, teachers, proxies one by one, finished sets.

`unpack` replaces the cells, teachers and proxies that it brings and leaves the folder's others alone.
"""
import argparse
import io
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from experiments.ledger import RECORD
from jaxdd import records
from jaxdd.files import write_whole

MIB = 2 ** 20
PART = 16 * MIB      # bytes per file
LIMIT = 38           # MiB in all
NUMBERED = ('checkpoints', 'training', 'working')    # folders of checkpoints by step
_BLOCK, _HEADERS = 512, 1536                         # of a tar: what files are padded to, and at most one's headers


class Packed(NamedTuple):
    """What was packed and what was left out: (part of the folder, MiB)."""
    taken: list[tuple[str, float]]
    left: list[tuple[str, float]]


def pack(folder: pathlib.Path, target: pathlib.Path, *, limit: float = LIMIT, part: int = PART) -> Packed:
    """Writes `target/packed-<i>-of-<n>`, a tar cut in pieces, in place of any that are there.

    Args:
        folder: of `experiments.reproduce --out`.
        limit: MiB of all pieces together.
        part: bytes of one.

    Raises:
        ValueError: there is no such folder.
        OSError: the disk refused.
    """
    if not folder.is_dir():
        raise ValueError(f'{folder}: no such folder')
    units = _units(folder)
    sizes = {unit: sum(_taken_by(path) for path in paths) for unit, paths in units.items()}
    done = _finished(folder)
    chosen, left, room = [], [], limit * MIB - 20 * _BLOCK    # a tar ends in up to so many empty blocks
    for unit in sorted(units, key=lambda unit: (_rank(unit, done), _natural(unit))):
        fits = sizes[unit] <= room
        room -= sizes[unit] * fits
        (chosen if fits else left).append(unit)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode='w', format=tarfile.GNU_FORMAT) as tar:
        for unit in chosen:
            for path in units[unit]:
                tar.add(path, str(path.relative_to(folder)), recursive=False)
    _write(content.getvalue(), target, part)
    return Packed(*([('/'.join(unit), sizes[unit] / MIB) for unit in some] for some in (chosen, left)))


def unpack(source: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Brings what `pack` wrote into a folder; returns the parts of it that were replaced or made.

    Raises:
        ValueError: a piece is missing or torn; the folder is as it was.
        OSError: the disk refused.
    """
    content = io.BytesIO(_read(source))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix='.unpacking-') as scratch:
        try:
            with tarfile.open(fileobj=content) as tar:
                tar.extractall(scratch, filter='data')
        except tarfile.TarError as error:
            raise ValueError(f'{source} cannot be unpacked ({error}); pack again') from error
        units = sorted(_units(pathlib.Path(scratch)))
        for unit in units:
            new, old = pathlib.Path(scratch, *unit), folder.joinpath(*unit)
            if old.is_dir():
                shutil.rmtree(old)
            old.parent.mkdir(parents=True, exist_ok=True)
            os.replace(new, old)
    return ['/'.join(unit) for unit in units]


def _units(folder: pathlib.Path) -> dict[tuple[str, ...], list[pathlib.Path]]:
    """The files that are worth taking, by the part of the folder that is of use as a whole only."""
    units: dict[tuple[str, ...], list[pathlib.Path]] = {}
    done = _finished(folder)
    for path in sorted(folder.rglob('*')):
        words = path.relative_to(folder).parts
        if path.is_file() and not _superfluous(folder, words, done):
            units.setdefault(_unit(words), []).append(path)
    return units


def _unit(words: tuple[str, ...]) -> tuple[str, ...]:
    depth = {('cache', 'proxies'): 4, ('cache', 'teachers'): 3, ('cache', 'random'): 3}.get(words[:2], 1)
    return words[:2] if words[0] == 'results' else words[:depth]


def _superfluous(folder: pathlib.Path, words: tuple[str, ...], done: set[str]) -> bool:
    """A file that is half-written, of an older checkpoint, or of a checkpoint that nothing continues any more."""
    if any(word.startswith(('.', 'unreadable-')) or '.orbax-checkpoint-tmp' in word for word in words):
        return True
    at = next((i for i, word in enumerate(words[:-1]) if word in NUMBERED), None)
    if at is None:
        return False
    where = folder.joinpath(*words[:at + 1])
    if words[at] == 'training' and (where.parent / 'card.json').exists() or words[at] == 'checkpoints' and (
            words[0] in done):
        return True
    steps = [int(child.name) for child in where.iterdir() if child.name.isdigit()]
    return words[at + 1].isdigit() and int(words[at + 1]) != max(steps)


def _finished(folder: pathlib.Path) -> set[str]:
    """The workdirs that a record was made of."""
    found = (records.recall(path, RECORD) for path in (folder / 'results').glob('*.json'))
    return {record['workdir'] for record in found if record is not None}


def _rank(unit: tuple[str, ...], done: set[str]) -> int:
    order = {'results': 0, 'random': 1, 'teachers': 3, 'proxies': 4}
    kind = unit[1] if unit[0] == 'cache' and len(unit) > 1 else unit[0]
    return order.get(kind, 5 if unit[0] in done else 2)


def _natural(unit: tuple[str, ...]) -> list[tuple[int, str]]:
    """Proxy 10 after proxy 9."""
    return [(int(word), '') if word.isdigit() else (-1, word) for word in unit]


def _taken_by(path: pathlib.Path) -> int:
    return _HEADERS + -(-path.stat().st_size // _BLOCK) * _BLOCK


def _write(content: bytes, target: pathlib.Path, part: int) -> None:
    pieces = [content[start:start + part] for start in range(0, len(content), part)]
    for old in target.glob('packed-*-of-*'):
        old.unlink()
    for i, piece in enumerate(pieces, 1):
        write_whole(target / f'packed-{i}-of-{len(pieces)}', piece)


def _read(source: pathlib.Path) -> bytes:
    found = sorted(path.name for path in source.glob('packed-*-of-*'))
    if not found:
        raise ValueError(f'{source} holds no packed-<i>-of-<n>, as `experiments.pack pack` writes them')
    count = int(found[0].rpartition('-')[2])
    wanted = [f'packed-{i}-of-{count}' for i in range(1, count + 1)]
    if sorted(wanted) != found:
        raise ValueError(f'{source} must hold {", ".join(wanted)}, it holds {", ".join(found)}')
    return b''.join((source / name).read_bytes() for name in wanted)


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 done, 2 wrong input or a full disk."""
    parser = argparse.ArgumentParser(prog='python -m experiments.pack', description='Packs a folder of cells.')
    verbs = parser.add_subparsers(dest='verb', required=True)
    one, other = verbs.add_parser('pack'), verbs.add_parser('unpack')
    one.add_argument('folder', type=pathlib.Path)
    one.add_argument('target', type=pathlib.Path)
    one.add_argument('--limit', type=float, default=LIMIT, metavar='MIB', help='of all files (default: %(default)s)')
    other.add_argument('source', type=pathlib.Path)
    other.add_argument('folder', type=pathlib.Path)
    options = parser.parse_args(argv)
    try:
        if options.verb == 'unpack':
            print('\n'.join(unpack(options.source, options.folder)))
            return 0
        packed = pack(options.folder, options.target, limit=options.limit)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for words, units in (('packed', packed.taken), ('LEFT OUT', packed.left)):
        for unit, size in units:
            print(f'{words}  {size:7.2f} MiB  {unit}')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
