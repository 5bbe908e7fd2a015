"""A folder of distilled sets that can be put anywhere: packed, listed, and checked.

    python -m experiments.catalogue pack runs/dm runs/dm-iid --output sets --form hub --score
    python -m experiments.catalogue list sets
    python -m experiments.catalogue check sets --score

`pack` takes the workdirs of finished runs and refuses one whose files do not tell of one run; a
catalogue that is there already is extended. `check` compares every file's SHA-256 and opens every
set; with `--score` it also trains students under the budget that `pack --score` trained them under,
and compares. Exit code 0: all is well; 1: something is not as it was; 2: wrong input; 3: stopped.
"""

import argparse
import json
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from experiments.configs import base
from experiments.configs.rules import refuse
from experiments.stages import releasing, rescoring, scores, workplace
from experiments.stages.releasing import Candidate
from experiments.stages.rescoring import EPOCHS, SEEDS, Budget
from jaxdd import hosts
from jaxdd.engine.distill import NonFiniteError
from jaxdd.exchange import catalogue, registry
from jaxdd.exchange.catalogue import SET, Catalogue
from jaxdd.reporting import release
from jaxdd.storage import locks, records
from jaxdd.storage.atomic import expanded, write_whole

PROGRAM = 'python -m experiments.catalogue'
NOT_AS_IT_WAS, STOPPED = 1, 3


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 all is well, 1 something is not as it was, 2 wrong
    input, 3 stopped."""
    options = _parser().parse_args(list(argv))
    try:
        return options.act(options)
    except rescoring.Stopped:
        print('stopped; nothing was written, and the same command begins again')
        return STOPPED
    except (ValueError, NonFiniteError, OSError, jax.errors.JaxRuntimeError) as error:
        return hosts.failed(error)


def listed(options: argparse.Namespace) -> int:
    """Prints every set of a catalogue."""
    found = lines(catalogue.load(expanded(options.folder)))
    print(as_json(found) if options.json else release.table(found))
    return 0


def pack(options: argparse.Namespace) -> int:
    """Writes a catalogue of finished runs, or extends one."""
    _require(options)
    output = expanded(options.output).resolve()
    candidates = releasing.distinct(
        [releasing.read(expanded(w), options.label) for w in options.workdirs]
    )
    stop = workplace.begun(None, base.Hosts(), output.parent) if options.score else None
    with locks.alone(output.parent, name=f'.{output.name}.lock'):
        catalogue.restore(output)
        before = releasing.existing(output)
        new = {one.name for one in candidates if not releasing.is_there(output, before, one)}
        with catalogue.replacing(output) as folder:
            sets, written = dict(before.sets), []
            for one in candidates:
                if one.name in new:
                    written += _copy(one, folder / one.name)
                    sets[one.name] = one.entry
                written += _write_forms(options, one, folder / one.name)
            if stop is not None:
                for one in candidates:
                    sets[one.name] = _scored(options, folder / one.name, sets[one.name], stop)
            _finish(folder, before, sets, written)
    print(
        f'{output}: {len(new)} sets added, {len(candidates) - len(new)} were there, '
        f'{len(sets)} in all'
    )
    return 0


def check(options: argparse.Namespace) -> int:
    """Says whether a catalogue is as it was packed."""
    _require(options)
    folder = expanded(options.folder)
    try:
        found = catalogue.load(folder)
    except records.Damaged as error:
        print(f'changed: {error}\n{catalogue.AGAIN}')
        return NOT_AS_IT_WAS
    wrong = catalogue.faults(folder, found)
    said = [f'{what}: {folder / path}' for path, what in wrong.items()]
    for name, entry in found.sets.items():
        own = {path for path in wrong if path.startswith(f'{name}/') and wrong[path] != 'extra'}
        said += [] if own else releasing.disagreement(folder, name, entry)
    print(
        '\n'.join((*said, f'{len(found.files)} files, {len(found.sets)} sets, {len(said)} wrong'))
    )
    if said:
        print(f'what is missing or changed: {catalogue.AGAIN}; what is extra: move it away')
        if options.score:
            print('no student was trained: first the files must be as they were')
        return NOT_AS_IT_WAS
    return _scores_again(options, folder, found) if options.score else 0


def lines(found: Catalogue) -> list[release.Line]:
    """The sets of a catalogue by name."""
    return [
        release.Line(
            name, found.sets[name], found.files[f'{name}/{SET}'], catalogue.forms_of(found, name)
        )
        for name in sorted(found.sets)
    ]


def as_json(found: Sequence[release.Line]) -> str:
    """Every set with all that is known of it, as a list."""
    rows = [
        {'name': one.name, **one.entry, 'forms': one.forms, 'sha256': one.sha256} for one in found
    ]
    return json.dumps(rows, indent=2)


def _copy(one: Candidate, folder: pathlib.Path) -> list[pathlib.Path]:
    """Copies the files of a set, bit for bit; returns the copies."""
    folder.mkdir()
    return [shutil.copyfile(one.workdir / name, folder / name) for name in one.files]


def _write_forms(
    options: argparse.Namespace, one: Candidate, folder: pathlib.Path
) -> Iterator[pathlib.Path]:
    """Writes the forms that were asked for and are not there; yields their files.

    Raises:
        ValueError: a form that cannot hold the set, unless such ones are to be skipped.
    """
    for form in options.form:
        target = folder / form
        if form == 'npz' or target.exists():
            continue
        try:
            yield from registry.write(form, one.artifact, target, decoded=options.decoded)
        except ValueError as error:
            told = f'{one.name} as {form}: {str(error).replace("decoded=True", "--decoded")}'
            if not options.skip:
                raise ValueError(f'{told}; --skip leaves out what cannot be') from error
            shutil.rmtree(target, ignore_errors=True)
            print(f'skipped: {told}')


def _scored(
    options: argparse.Namespace, folder: pathlib.Path, entry: dict[str, Any], stop: scores.Stop
) -> dict[str, Any]:
    """A set's entry with its score under the budget that was asked for.

    Raises:
        ValueError: students that cannot be trained here, unless such sets are to be skipped.
    """
    before = entry.get('smoke')
    if before and (before['epochs'], len(before['per_seed'])) == (options.epochs, options.seeds):
        return entry
    try:
        network = entry['accuracy']['network']
        found = rescoring.score(_budget(options), folder / SET, network, None, stop)
        return {**entry, 'smoke': found}
    except ValueError as error:
        if not options.skip:
            raise ValueError(
                f'{folder.name} cannot be scored: {error}; --skip leaves its score out'
            ) from error
        print(f'skipped: no score of {folder.name}: {error}')
        return entry


def _finish(
    folder: pathlib.Path,
    before: Catalogue,
    sets: dict[str, dict[str, Any]],
    written: Sequence[pathlib.Path],
) -> None:
    """Writes the page and the record; what was there before keeps its digests."""
    files = {path.relative_to(folder).as_posix(): catalogue.digest(path) for path in written}
    found = Catalogue(sets, {**before.files, **files})
    write_whole(folder / catalogue.PAGE, release.page(lines(found)).encode())
    found.files[catalogue.PAGE] = catalogue.digest(folder / catalogue.PAGE)
    catalogue.save(folder, found)


def _scores_again(options: argparse.Namespace, folder: pathlib.Path, found: Catalogue) -> int:
    """Trains students again and compares.

    Raises:
        ValueError: no set was scored when it was packed, or one under another budget.
    """
    scored = {name: entry for name, entry in found.sets.items() if 'smoke' in entry}
    if not scored:
        raise ValueError(f'no set of {folder} has a score: pack it with --score')
    for name, entry in scored.items():
        epochs = entry['smoke']['epochs']
        other = epochs != options.epochs
        refuse('epochs', options.epochs, f'{epochs}, as {name} was scored with', other)
    for name in sorted(found.sets.keys() - scored):
        print(f'{name}: not compared, it was packed without --score')
    stop = workplace.begun(None, base.Hosts(), folder)
    budget = _budget(options)
    codes = [_score_again(budget, folder / name, scored[name]['smoke'], stop) for name in scored]
    return NOT_AS_IT_WAS if NOT_AS_IT_WAS in codes else max(codes)


def _score_again(
    budget: Budget, folder: pathlib.Path, then: dict[str, Any], stop: scores.Stop
) -> int:
    """Trains one set's students again; returns the exit code."""
    try:
        now = rescoring.score(budget, folder / SET, then['network'], then['precision'], stop)
    except (ValueError, OSError) as error:
        return hosts.failed(ValueError(f'{folder.name} was not compared: {error}'))
    found = rescoring.compared(now['per_seed'], then['per_seed'])
    print(f'{folder.name}: {rescoring.said(now, then, found)}')
    return 0 if found.holds else NOT_AS_IT_WAS


def _budget(options: argparse.Namespace) -> Budget:
    return Budget(options.epochs, options.seeds, options.data_dir, options.num_devices)


def _require(options: argparse.Namespace) -> None:
    refuse('epochs', options.epochs, 'at least 1', options.epochs < 1)
    refuse('seeds', options.seeds, 'at least 1', options.seeds < 1)
    label = getattr(options, 'label', '')
    plain = re.fullmatch(r'[A-Za-z0-9_.-]*', label) is not None
    refuse('label', label, 'letters, digits, and any of _ . -', not plain)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=str(__doc__).partition('\n')[0])
    acts = parser.add_subparsers(required=True, metavar='ACT')
    one = acts.add_parser('list', help='every set of a catalogue')
    one.set_defaults(act=listed)
    one.add_argument('folder', metavar='FOLDER')
    one.add_argument('--json', action='store_true', help='all that is known, as JSON')
    one = acts.add_parser('pack', help='writes or extends a catalogue of finished runs')
    one.set_defaults(act=pack)
    one.add_argument('workdirs', nargs='+', metavar='WORKDIR', help='of finished runs')
    one.add_argument('--output', required=True, metavar='FOLDER', help='the catalogue')
    one.add_argument(
        '--form', nargs='+', default=[], choices=registry.FORMS, help='written beside npz'
    )
    one.add_argument('--decoded', action='store_true', help='forms hold mosaics cut into images')
    one.add_argument('--label', default='', help='ends the names of these sets')
    one.add_argument(
        '--skip', action='store_true', help='leave out forms and scores that cannot be'
    )
    _add_scores(one, 'train students, for `check --score` to compare with')
    one = acts.add_parser('check', help='whether a catalogue is as it was packed')
    one.set_defaults(act=check)
    one.add_argument('folder', metavar='FOLDER')
    _add_scores(one, 'train students again and compare')
    return parser


def _add_scores(parser: argparse.ArgumentParser, purpose: str) -> None:
    parser.add_argument('--score', action='store_true', help=purpose)
    parser.add_argument('--epochs', type=int, default=EPOCHS, help=f'of a student ({EPOCHS})')
    parser.add_argument('--seeds', type=int, default=SEEDS, help=f'students of a set ({SEEDS})')
    parser.add_argument('--data-dir', help='folder of the prepared data sets')
    parser.add_argument('--num-devices', type=int, help='default: all')


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
