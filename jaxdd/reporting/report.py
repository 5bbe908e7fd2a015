"""What a run found, for people: a table for the terminal, a markdown page."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxdd.coresets.selection import RULES
from jaxdd.reporting import tables
from jaxdd.reporting.curves import mean_std

BUDGET = 6  # differences from the published budget that are listed
NAMES = {'random': 'random real images', **{rule: f'{rule} core-set' for rule in RULES}}
COUNTED = ('image bytes', 'label bytes')
CHOSEN = 'best_of/'  # rows of a best test accuracy, which nothing here makes
COMBINED = ('ior', 'hlr', 'lrs')  # as `jaxdd.scores` has them
Results = Mapping[str, Any]


def table(results: Results) -> str:
    """The accuracies as plain text for the terminal, in percent.

    Each training set and student has a line.
    """
    header, rows = accuracy_rows(results)
    return '\n'.join((tables.aligned(header, rows, rule=True), *notes(results)))


def report(results: Results) -> str:
    """The run as a markdown page; a part whose results are missing is left out.

    Args:
        results: any of
            'method', 'plugins' [names], 'dataset', 'ipc', 'seed', 'sets' (how many), 'steps',
                'commit', 'command', 'hardware',
            'accuracy' {'random' | 'distilled' | other: {student: {'mean', 'std', 'per_seed'}}} in
                fractions,
            'protocol' {'name', 'version', 'changed' {setting: {'protocol', 'here'}}, 'epochs',
                'num_seeds', ...},
            'bytes' {'images', 'labels'} of the distilled set, and {'random images', 'random
                labels'}, likewise of other sets,
            'published' {'value', 'std', 'source'} in fractions, for the first student, or None,
            'budget' {field: {'published', 'here'}}, where the run's differs from the published
                one's,
            'students' {student: what tables call it}, 'missing' {row: why it is not there},
                'left_out' {part of the page: why it is not there}, 'warnings' [sentences],
            'scores' {student: any of 'ior', 'hlr', 'lrs' as fractions, and 'protocol', its name},
            'weights' {plug-in: {'value', 'source'}}, 'config' (nested), 'versions' {package:
                version},
            'real_per_class' {'asked', 'least', 'most'}, see `real_per_class`, or None,
            'bibtex' [entries], 'seconds' {stage: s}, 'seconds_per_step', and 'pictures' {title:
            path relative to the page}.
    """
    header, rows = accuracy_rows(results)
    parts = [
        f'# {title(results)}',
        tables.markdown(header, rows),
        '\n\n'.join(notes(results)),
        '\n'.join(facts(results)),
        _pictures(results),
        _weights(results),
        _seconds(results),
        _environment(results),
        _again(results),
        _bibtex(results),
        _settings('Protocol', results.get('protocol')),
        _settings('Configuration', results.get('config')),
    ]
    return '\n\n'.join(part for part in parts if part) + '\n'


def of_real(kind: str) -> str:
    """What tables call a set of real images, 'random' or a core-set by its rule; others as is."""
    return NAMES.get(kind, kind)


def real_per_class(drawn: Mapping[str, int]) -> str:
    """Real images per class and step in words, and what classes give that have fewer.

    Args:
        drawn: 'asked' for; 'least' and 'most' that a class gives.
    """
    fewer = (
        ''
        if drawn['least'] == drawn['asked']
        else (f' (classes with fewer: all of theirs, {drawn["least"]:,} at least)')
    )
    return f'{drawn["asked"]:,}{fewer}'


def protocol(settings: Mapping[str, Any]) -> str:
    """A protocol's name and version, and whatever was changed of it: 'dsa-1000 v1, changed: ...'.

    Args:
        settings: any of 'name', 'version' and 'changed', as for `report`; older records have a name
            alone.
    """
    version = f' v{settings["version"]}' if 'version' in settings else ''
    changed = ', '.join(
        f'{field} {short(one["here"])}' for field, one in (settings.get('changed') or {}).items()
    )
    return f'{settings.get("name", "-")}{version}' + (f', changed: {changed}' if changed else '')


def scores(results: Results) -> list[str]:
    """A sentence per student that has combined scores, with the protocol that they hold under."""
    return [
        f'Scores of {student} under {row["protocol"]}, fractions: '
        + ', '.join(f'{name.upper()} {row[name]:.4f}' for name in COMBINED if name in row)
        + '.'
        for student, row in (results.get('scores') or {}).items()
    ]


def name(results: Results) -> str:
    """The method with its plug-ins, such as 'DM + CC'."""
    return ' + '.join([results.get('method') or 'method', *(results.get('plugins') or [])]).upper()


def title(results: Results) -> str:
    """What was distilled how, into how many images per class."""
    dataset, ipc = results.get('dataset'), results.get('ipc')
    count = f', {ipc} image{"" if ipc == 1 else "s"} per class' if ipc is not None else ''
    return name(results) + (f' on {dataset}' if dataset else '') + count


def notes(results: Results) -> list[str]:
    """Sentences below the table: warnings, rows and parts that are missing, another budget."""
    found = [f'WARNING: {text}.' for text in results.get('warnings') or []]
    found += [
        f'No row for {of_real(key)}: {why}.' for key, why in (results.get('missing') or {}).items()
    ]
    if results.get('published') and (budget := results.get('budget')):
        some = [
            f'{field} {one["here"]} (published: {one["published"]})'
            for field, one in list(budget.items())[:BUDGET]
        ]
        more = f', and {len(budget) - BUDGET} more' if len(budget) > BUDGET else ''
        found.append(f'The published number has another budget: here {", ".join(some)}{more}.')
    found += [
        f'Left out: {part}, because {why}.' for part, why in (results.get('left_out') or {}).items()
    ]
    return found


def accuracy_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the accuracy table.

    Random images come first, the method last, then what was published.
    """
    accuracy, under = results.get('accuracy') or {}, results.get('protocol') or {}
    _require_last(accuracy)
    order = sorted(accuracy, key=lambda key: (key != 'random', key == 'distilled', key))
    fixed = [protocol(under), str(under.get('epochs', '-'))]
    sizes = results.get('bytes') or {}
    called = results.get('students') or {}
    rows = [
        [
            name(results) if key == 'distilled' else of_real(key),
            called.get(student, student),
            _percent(score),
            str(_seeds(score, under)),
            *fixed,
            *_sizes(key, sizes),
        ]
        for key in order
        for student, score in accuracy[key].items()
    ]
    published, ours = results.get('published'), accuracy.get('distilled') or {}
    blank = ['-' for _ in sizes and COUNTED]
    if published:
        source = published.get('source', 'no source given')
        rows.append([f'published ({source})', '-', _percent(published), '-', '-', '-', *blank])
    if published and ours:
        student, score = next(iter(ours.items()))
        points = 100 * (mean_std(score)[0] - mean_std(published)[0])
        budget = ' at another budget' if results.get('budget') else ''
        rows.append(
            [
                f'ours{budget} - published',
                called.get(student, student),
                f'{points:+.2f} points',
                '-',
                '-',
                '-',
                *blank,
            ]
        )
    header = [
        'training set',
        'student',
        'accuracy, %',
        'seeds',
        'protocol',
        'epochs',
        *(COUNTED if sizes else ()),
    ]
    return header, rows


def _require_last(accuracy: Iterable[str]) -> None:
    """Refuses rows that were chosen by their test accuracy and are not named so."""
    for kind in accuracy:
        if 'best' in kind and not kind.startswith(CHOSEN):
            raise ValueError(
                f'{kind} names the best of several test accuracies; what is shown is the last '
                f"step's, and a chosen one only under a name that begins with {CHOSEN}"
            )


def _sizes(key: str, sizes: Mapping[str, int]) -> list[str]:
    """The bytes of one training set's images and labels, if any are known."""
    of = '' if key == 'distilled' else f'{key} '
    keys = f'{of}images', f'{of}labels'
    return [f'{sizes[name]:,}' if name in sizes else '-' for name in keys] if sizes else []


def _seeds(score: Any, protocol: Mapping[str, Any]) -> Any:
    per_seed = score.get('per_seed') if isinstance(score, Mapping) else score.per_seed
    return len(per_seed) if per_seed else protocol.get('num_seeds', '-')


def _percent(score: Any) -> str:
    mean, std = mean_std(score)
    known = (score.get('std') if isinstance(score, Mapping) else score.std) is not None
    return f'{100 * mean:.2f} ± {100 * std:.2f}' if known else f'{100 * mean:.2f}'


def facts(results: Results) -> list[str]:
    """Sentences: what is stored, how many updates and real images a step took, and the seed."""
    lines = []
    if sizes := results.get('bytes'):
        images, labels = sizes.get('images', 0), sizes.get('labels', 0)
        lines.append(f'Stored: {images + labels:,} bytes (images {images:,}, labels {labels:,}).')
    if real := results.get('real_per_class'):
        lines.append(f'Real images per class and step: {real_per_class(real)}.')
    told = {
        'steps': 'Synthetic-set updates: {:,}.',
        'seed': 'Seed: {}.',
        'sets': 'Distilled sets, whose students are counted together: {}.',
        'learned_rate': 'Learned learning rate, with which the students trained: {:.4g}.',
        'whitened': 'The images are ZCA-whitened; the distilled set brings the way back.',
    }
    for key, text in told.items():
        if results.get(key) is not None:
            lines.append(text.format(results[key]))
    return lines + scores(results)


def _weights(results: Results) -> str:
    rows = [
        [name, short(entry.get('value')), entry.get('source', '-')]
        for name, entry in (results.get('weights') or {}).items()
    ]
    return _section('Weights', ['plug-in', 'λ', 'source'], rows)


def _pictures(results: Results) -> str:
    return '\n\n'.join(
        f'![{text}]({path})' for text, path in (results.get('pictures') or {}).items()
    )


def _seconds(results: Results) -> str:
    rows = [
        [stage, f'{value:,.1f}']
        for stage, value in (results.get('seconds') or {}).items()
        if value is not None
    ]
    if results.get('seconds_per_step') is not None:
        rows.append(['one step', f'{results["seconds_per_step"]:.4g}'])
    return _section('Time', ['stage', 'seconds'], rows)


def _environment(results: Results) -> str:
    rows = [[key, str(results[key])] for key in ('hardware', 'commit') if results.get(key)]
    rows += [
        [package, str(version)] for package, version in (results.get('versions') or {}).items()
    ]
    return _section('Made with', ['what', 'which'], rows)


def _again(results: Results) -> str:
    return f'## How to run it again\n\n    {results["command"]}' if results.get('command') else ''


def _bibtex(results: Results) -> str:
    entries = '\n\n'.join(results.get('bibtex', ()))
    return entries and f'## What to cite\n\n```bibtex\n{entries}\n```'


def _settings(title: str, settings: Mapping[str, Any] | None) -> str:
    rows = [[f'`{path}`', short(value)] for path, value in flat(settings or {})]
    return _section(title, ['setting', 'value'], rows)


def flat(settings: Mapping[str, Any], path: str = '') -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted path, value)."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f'{path}{key}.')
        else:
            yield f'{path}{key}', value


def short(value: Any) -> str:
    """A setting as a reader sees it: six digits, lists with blanks."""
    if isinstance(value, (list, tuple)):
        return ' '.join(map(short, value)) or 'none'
    return f'{value:.6g}' if isinstance(value, float) else str(value)


def _section(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A table under its title; nothing where it has no rows."""
    return f'## {title}\n\n{tables.markdown(header, rows)}' if rows else ''
