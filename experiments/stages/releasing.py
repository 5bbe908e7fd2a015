"""A finished run as a set of a catalogue: what its files agree on, and whether it is there."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.configs import finished
from experiments.stages import scores
from jaxdd.exchange import catalogue
from jaxdd.exchange.catalogue import RESULTS, SET, Catalogue
from jaxdd.exchange.forms import Artifact
from jaxdd.reporting import report
from jaxdd.storage import distilled_set, records
from jaxdd.storage.fingerprint import changes

# What both files tell of a run.
SAME = ('method', 'plugins', 'ipc', 'seed', 'steps', 'config')
LABELS = {'static': 'labels.npz', 'replayed': 'replay.npz'}  # that students need beside the set
LISTED = 3  # differences that a message names
RECORD = {
    'type': 'object',
    'required': [*SAME, 'dataset', 'protocol', 'accuracy', 'bytes', 'commit'],
    'properties': {
        'method': records.TEXT,
        'plugins': records.listing(records.TEXT),
        'dataset': records.TEXT,
        'ipc': records.COUNT,
        'seed': records.COUNT,
        'steps': records.COUNT,
        'config': {'type': 'object'},
        'protocol': {
            'type': 'object',
            'required': ['name', 'labels'],
            'properties': {'name': records.TEXT, 'labels': records.TEXT},
        },
        'accuracy': {
            'type': 'object',
            'required': ['distilled'],
            'properties': {'distilled': {**scores.SCORES, 'minProperties': 1}},
        },
        'bytes': {
            'type': 'object',
            'required': ['images', 'labels'],
            'additionalProperties': records.COUNT,
        },
        'commit': records.TEXT,
        'students': records.mapping(records.TEXT),
        'bibtex': records.listing(records.TEXT),
    },
}


class Candidate(NamedTuple):
    """A finished run that a catalogue may hold."""

    workdir: pathlib.Path
    artifact: Artifact
    entry: dict[str, Any]  # as `jaxdd.exchange.catalogue.ENTRY`
    name: str
    files: tuple[str, ...]  # of the workdir, that make the set


def read(workdir: pathlib.Path, label: str = '') -> Candidate:
    """Reads a finished workdir, and checks that its files tell of one run.

    Args:
        label: ends the set's name, where that alone would not tell sets apart.

    Raises:
        ValueError: a file that is missing or damaged, or files of different runs; names them.
    """
    finished.require(workdir, (SET, RESULTS))
    artifact = Artifact(*distilled_set.load_npz(workdir / SET))
    results = records.load(workdir / RESULTS, RECORD) or {}
    require_same(workdir, artifact.about['info'], results)
    entry = entry_of(artifact.about['info'], results)
    beside = LABELS.get(entry['labels'])
    if beside and not (workdir / beside).is_file():
        raise ValueError(
            f'{workdir / beside} is not there, and students need its {entry["labels"]} labels: run '
            'the same command again'
        )
    name = catalogue.name_of(entry) + (f'-{label}' if label else '')
    return Candidate(workdir, artifact, entry, name, (SET, RESULTS, *([beside] if beside else ())))


def require_same(workdir: pathlib.Path, info: dict[str, Any], results: dict[str, Any]) -> None:
    """Refuses a distilled set beside the results of another run.

    Args:
        info: of the set's file.
        results: of `results.json`.

    Raises:
        ValueError: names the files, and where they differ.
    """
    if missing := [name for name in (*SAME, 'format') if name not in info]:
        raise ValueError(
            f'{workdir / SET} does not say its {", ".join(missing)}: a catalogue holds sets that '
            'experiments.run made; run the same command again'
        )
    told = {**{name: info[name] for name in SAME}, 'dataset': info['dataset']['name']}
    if differ := differences(told, {name: results[name] for name in told}):
        raise ValueError(
            f'{workdir / RESULTS} tells of another run than {workdir / SET} does: {differ}. Copy '
            'both from one workdir, or run the same command again'
        )


def differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Where two descriptions differ, in a few words; '' where they do not."""
    found = [f'{path} {new}, not {old}' for path, (old, new) in changes(one, other).items()]
    more = f' and {len(found) - LISTED} more' if len(found) > LISTED else ''
    return '; '.join(found[:LISTED]) + more


def entry_of(info: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """What a catalogue says of a set: of its students the first, at the last step.

    Args:
        info, results: of one run.
    """
    network, accuracy = next(iter(results['accuracy']['distilled'].items()))
    size, labels = results['bytes'], results['protocol']['labels']
    return {
        **{name: results[name] for name in ('dataset', 'method', 'plugins', 'ipc', 'seed')},
        'steps': results['steps'],
        'bytes': {'images': size['images'], 'labels': size['labels']},
        'labels': info['labels']['kind'] if labels == 'hard' else labels,  # DATM's are learned
        'protocol': report.protocol(results['protocol']),
        'accuracy': {
            'network': network,
            'student': results.get('students', {}).get(network, network),
            'mean': accuracy['mean'],
            'std': accuracy['std'],
            'seeds': len(accuracy['per_seed']),
        },
        'commit': results['commit'],
        'licence': info['dataset']['licence'],
        'bibtex': results.get('bibtex', []),
    }


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The runs, each set once.

    Raises:
        ValueError: two different sets of one name; says where they differ and what to do.
    """
    found: dict[str, Candidate] = {}
    for one in candidates:
        if one.name not in found:
            found[one.name] = one
        else:
            require_equal(found[one.name], one)
    return list(found.values())


def existing(output: pathlib.Path) -> Catalogue:
    """The catalogue of a folder; an empty one where there is no folder, or nothing in it.

    Raises:
        ValueError: the folder holds something else, or a damaged catalogue.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return Catalogue({}, {})
    return catalogue.load(output)


def is_there(output: pathlib.Path, before: Catalogue, one: Candidate) -> bool:
    """Whether a catalogue holds a set already.

    Raises:
        ValueError: it holds another one of that name, or files that it does not know.
    """
    folder = output / one.name
    if one.name not in before.sets:
        if folder.exists():
            raise ValueError(
                f'{folder} is there, and {output / catalogue.RECORD} does not know it: move it away'
            )
        return False
    require_equal(read(folder)._replace(name=one.name), one)
    return True


def require_equal(one: Candidate, other: Candidate) -> None:
    """Refuses two different sets of one name.

    The files of results may differ in what a catalogue does not say, such as seconds.

    Raises:
        ValueError: names both workdirs, where the sets differ, and what to do.
    """
    alike = catalogue.digest(one.workdir / SET) == catalogue.digest(other.workdir / SET)
    if alike and one.entry == other.entry:
        return
    told = [{**each.entry, 'info': each.artifact.about['info']} for each in (one, other)]
    differ = differences(*told) or 'other images or labels'
    raise ValueError(
        f'{other.workdir} and {one.workdir} hold different sets, and both are called {one.name} '
        f'({differ}): pack one of them with a --label of its own, or into another --output'
    )


def disagreement(folder: pathlib.Path, name: str, entry: dict[str, Any]) -> list[str]:
    """Where a set whose files are whole is not what `catalogue.json` says; [] where nowhere."""
    if not catalogue.fits(name, entry):
        return [f'renamed: {folder / name} holds {catalogue.name_of(entry)}']
    try:
        found = read(folder / name).entry
    except ValueError as error:
        return [f'unreadable: {error}']
    stated = {key: value for key, value in entry.items() if key != 'smoke'}
    differ = differences(stated, found)
    return [f'other: {folder / name} is not what catalogue.json says: {differ}'] if differ else []
