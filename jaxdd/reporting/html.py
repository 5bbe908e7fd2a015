"""A run as one web page that needs nothing beside itself: no script, no font, no file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from jaxdd.reporting import charts, confusion, markup, report, sections
from jaxdd.reporting.charts import Part
from jaxdd.reporting.curves import mean_std

EXTREMES = 10  # classes at either end that are listed where there are too many to list
Results = Mapping[str, Any]
# name of a loss -> (what it measures, how)
MEASURES = {
    'cmi': (
        'Conditional mutual information',
        'I(S; Z | Y) of the distilled images in the features of a network trained on real ones, '
        'nats; the lower, the more alike are the images of a class.',
    ),
    'cm': (
        'Covariance distance',
        'Distance of the local features’ channel covariances, distilled to real, added up over '
        'classes.',
    ),
}
# file name -> section, kind of figure
FIGURES = {
    'grid.png': ('The distilled set', 'paper'),
    'curves.png': ('Losses and accuracy', 'drawn'),
    'embedding.png': ('Where the distilled images lie', 'clear'),
}


def page(
    results: Results,
    pictures: Mapping[str, bytes] = {},
    series: Mapping[str, Sequence[Part]] = {},
) -> str:
    """The run as an HTML document; a part whose results are missing is left out.

    Args:
        results: as `report.report` takes them; beside these 'per_class' and 'confusion' as of
            `confusion.of_students`, and 'embedding' {'network', 'real', 'distilled'}: whose
            features the picture shows, and of how many images.
        pictures: png files by their path in `results['pictures']`, whose titles are captions.
        series: name of a loss -> its points (step, value), a list per part of the run; those of
            `MEASURES` are drawn.
    """
    called = report.title(results)
    parts = [
        _head(results),
        _accuracy(results),
        *_figures(results, pictures),
        _classes(results),
        _measures(results, series),
        _cost(results),
        sections.origin(results),
        sections.citations(results),
        sections.configuration(results),
        sections.footer('students'),
    ]
    return markup.document(called, '\n'.join(part for part in parts if part))


def _head(results: Results) -> str:
    ipc, dataset = results.get('ipc'), results.get('dataset')
    one = ipc == 1
    lead = ''
    if ipc is not None and dataset:
        lead = (
            f'{ipc} synthetic image{"" if one else "s"} per class stand{"s" if one else ""} for '
            f'the training set of {dataset}. Networks that see nothing else are tested on its real '
            'test images.'
        )
    return markup.header(report.title(results), lead, _headline(results))


def _headline(results: Results) -> Iterator[tuple[str, str, str]]:
    """(what, value, unit) of the numbers that a reader looks for first."""
    accuracy = results.get('accuracy') or {}
    ours, random = accuracy.get('distilled') or {}, accuracy.get('random') or {}
    for student, score in list(ours.items())[:1]:
        mean, std = (100 * value for value in mean_std(score))
        yield 'test accuracy', f'{mean:.2f}', f'± {std:.2f} %'
        if student in random:
            gain = mean - 100 * mean_std(random[student])[0]
            yield 'against random images', f'{gain:+.2f}'.replace('-', '−'), 'points'
    if sizes := results.get('bytes'):
        yield 'stored', f'{(sizes.get("images", 0) + sizes.get("labels", 0)) / 1024:,.1f}', 'KiB'
    if results.get('steps') is not None:
        yield 'updates of the set', f'{results["steps"]:,}', ''
    if spent := _seconds(results):
        yield 'time in all', *_duration(sum(spent.values()))


def _accuracy(results: Results) -> str:
    header, rows = report.accuracy_rows(results)
    own = [i for i, row in enumerate(rows) if row[0] == report.name(results)]
    cells = [[_typeset(cell) for cell in row] for row in rows]
    return markup.section(
        'Accuracy',
        markup.table(header, cells, numbers=(2, 3, 5, 6, 7), own=own, kind='scores'),
        *(
            markup.paragraph(text, 'note warning' if text.startswith('WARNING') else 'note')
            for text in report.notes(results)
        ),
    )


def _typeset(cell: str) -> str:
    """A cell as printers set it: nothing where there is nothing, and a minus of its own."""
    blank = '' if cell == '-' else cell.replace(' - ', ' − ')
    return re.sub(r'^-(?=\d)', '−', blank)


def _figures(results: Results, pictures: Mapping[str, bytes]) -> Iterator[str]:
    """The pictures that are there, each in a section of its own."""
    for title, path in (results.get('pictures') or {}).items():
        if content := pictures.get(path):
            section, kind = FIGURES.get(path.rpartition('/')[2], (title, 'paper'))
            caption = f'{title}. {_looked(results) if kind == "clear" else ""}'.strip()
            drawn = markup.picture(content, caption, kind=kind, shown=title != section)
            yield markup.section(section, drawn)


def _looked(results: Results) -> str:
    """Whose features the embedding shows."""
    if not (of := results.get('embedding')):
        return ''
    return (
        f'Stars: {of["distilled"]:,} distilled images; dots: {of["real"]:,} real ones. The network '
        f'is {of["network"]}.'
    )


def _classes(results: Results) -> str:
    found = results.get('per_class')
    if not found:
        return ''
    told = markup.paragraph(_whose(results, found), 'soft')
    bars = f'<div>\n<h3>Accuracy of each class, %</h3>\n{_bars(found)}\n</div>'
    matrix = _matrix(results.get('confusion'), found['classes'])
    inner = f'<div class="pair uneven">\n{bars}\n{matrix}\n</div>' if matrix else bars
    return markup.section('Class by class', told, inner)


def _whose(results: Results, found: Mapping[str, Any]) -> str:
    called = (results.get('students') or {}).get(found['student'], found['student'])
    count = found['seeds']
    return f'{called}; {f"mean of {count} students" if count > 1 else "one student"}.'


def _bars(found: Mapping[str, Any]) -> str:
    """A bar per class; of many classes those at either end."""
    pairs = list(zip(found['classes'], found['accuracy']))
    if len(pairs) <= confusion.MOST:
        return _bar_table(pairs)
    known = sorted((pair for pair in pairs if pair[1] is not None), key=lambda pair: pair[1])
    shares = [share for _, share in known]
    middle = f'Median of {len(known)} classes: {100 * shares[len(shares) // 2]:.1f} %.'
    return (
        f'{markup.paragraph(middle)}\n<div class="pair">\n'
        f'<div><h3>Lowest</h3>{_bar_table(known[:EXTREMES])}</div>\n'
        f'<div><h3>Highest</h3>{_bar_table(known[-EXTREMES:][::-1])}</div>\n</div>'
    )


def _bar_table(pairs: Sequence[tuple[str, float | None]]) -> str:
    rows = ''.join(
        f'<tr><th scope="row" title="{escape(name)}">{escape(name)}</th><td class="track">'
        f'<div><span style="width:{100 * (share or 0):.1f}%"></span></div></td>'
        f'<td class="num">{"–" if share is None else f"{100 * share:.1f}"}</td></tr>'
        for name, share in pairs
    )
    return f'<table class="bars"><tbody>{rows}</tbody></table>'


def _matrix(found: Mapping[str, Any] | None, classes: Sequence[str]) -> str:
    """Percent of each row's test images; empty cells hold none."""
    if not found:
        return ''
    rows = [
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, row))}</tr>'
        for name, row in zip(classes, confusion.shares(found['counts']).tolist())
    ]
    heads = ''.join(f'<th scope="col"><div>{escape(name)}</div></th>' for name in classes)
    kind = 'matrix long' if max(map(len, classes)) > 3 else 'matrix'
    return (
        '<div>\n<h3>Taken for which class, % of a row</h3>\n<div class="wide">'
        f'<table class="{kind}"><thead><tr><th></th>{heads}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>\n'
        f'{markup.paragraph("Rows: true classes. Columns: what the students say.", "soft")}</div>'
    )


def _cell(share: float) -> str:
    percent = 100 * share
    text = '' if percent == 0 else '&lt;1' if percent < 0.5 else f'{percent:.0f}'
    deep = ' class="deep"' if percent > 55 else ''
    return f'<td{deep} style="--v:{percent:.0f}%">{text}</td>'


def _measures(results: Results, series: Mapping[str, Sequence[Part]]) -> str:
    """What the regularizers measured on the way, and their weights."""
    drawn = [
        _measure(name, series[name], results.get('sets', 1))
        for name in MEASURES
        if name in series and any(series[name])
    ]
    weights = [
        [plugin, report.short(entry['value']), entry.get('source', '–')]
        for plugin, entry in (results.get('weights') or {}).items()
        if entry.get('value') is not None
    ]
    return markup.section(
        'Regularizers over time' if drawn else 'Regularizers',
        f'<div class="pair">\n{"".join(drawn)}\n</div>' if drawn else '',
        markup.table(['plug-in', 'weight λ', 'source'], weights, numbers=(1,), kind='narrow'),
    )


def _measure(name: str, parts: Sequence[Part], sets: int) -> str:
    title, how = MEASURES[name]
    values = [value for part in parts for _, value in part]
    ends = f'From {values[0]:.3g} to {values[-1]:.3g}. ' if len(values) > 1 else ''
    ends = f'A line for each of {sets} distilled sets. ' if sets > 1 else ends
    return (
        f'<figure>\n<h3>{escape(title)}</h3>\n{charts.line(parts, title=title)}'
        f'<figcaption>{escape(ends + how)}</figcaption>\n</figure>\n'
    )


def _cost(results: Results) -> str:
    sizes = [[name, f'{count:,}'] for name, count in (results.get('bytes') or {}).items() if count]
    spent = [
        [stage, f'{value:,.1f}']
        for stage, value in (results.get('seconds') or {}).items()
        if value is not None
    ]
    if results.get('seconds_per_step') is not None:
        spent.append(['one update of the set', f'{results["seconds_per_step"]:.4g}'])
    pair = ''.join(
        f'<div>{markup.table(header, rows, numbers=(1,))}</div>'
        for header, rows in ((['stage', 'seconds'], spent), (['kept', 'bytes'], sizes))
        if rows
    )
    told = ' '.join(text for text in report.facts(results) if not text.startswith('Stored'))
    return markup.section(
        'What it took', markup.paragraph(told), f'<div class="pair">{pair}</div>' if pair else ''
    )


def _seconds(results: Results) -> dict[str, float]:
    """Seconds of the stages; a part of a stage, named in brackets, is not counted twice."""
    stages = (results.get('seconds') or {}).items()
    return {name: value for name, value in stages if value is not None and '(' not in name}


def _duration(seconds: float) -> tuple[str, str]:
    """A time in the unit that suits it."""
    if seconds < 120:
        return f'{seconds:.0f}', 's'
    return (f'{seconds / 60:.0f}', 'min') if seconds < 7200 else (f'{seconds / 3600:.1f}', 'h')
