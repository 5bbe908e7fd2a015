"""Class-incremental learning for people: accuracy over the number of classes seen."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxdd.reporting import markup, sections, tables
from jaxdd.reporting import report as of_runs
from jaxdd.reporting.curves import BLUE, GREY, save

Results = Mapping[str, Any]
_CAPTION = 'Accuracy over the number of classes seen'
_COLORS = {'random': GREY, 'distilled': BLUE}


def table(results: Results) -> str:
    """A line per memory as plain text: accuracy after every task, in percent."""
    return tables.aligned(*_rows(results), rule=True)


def report(results: Results, picture: str) -> str:
    """The curves as a markdown page.

    Args:
        results: 'method', 'plugins', 'dataset', 'ipc', 'command', 'hardware', 'commit', 'versions'
            {package: version}, 'protocol' {'name', ...}, 'steps per task', 'seen' [classes after
            each task], 'orders' [the classes, one list per order], and 'accuracy' {memory:
            [order][task][student]}, fractions; 'distillation' {'beta', 'temperature'} where
            students go on from the task before.
        picture: path of the figure, relative to the page.
    """
    header, rows = _rows(results)
    return '\n\n'.join(
        (
            f'# {_title(results)}, {results["ipc"]} images per class in memory',
            tables.markdown(header, rows, numbers=range(1, len(header))),
            f'![{_CAPTION}]({picture})',
            '\n'.join(
                (*_facts(results), f'Made with {results["hardware"]}, commit {results["commit"]}.')
            ),
            f'## How to run it again\n\n    {results["command"]}\n',
        )
    )


def page(results: Results, picture: bytes) -> str:
    """The curves as an HTML document that needs nothing beside itself.

    Args:
        results: as for `report`; beside these, where they are, 'config' and 'bibtex'.
        picture: the figure, png.
    """
    header, rows = _rows(results)
    accuracy = markup.table(
        header, rows, numbers=range(1, len(header)), own=[len(rows) - 1], kind='memories'
    )
    orders = [[str(i), ' '.join(map(str, one))] for i, one in enumerate(results['orders'], start=1)]
    told = (markup.paragraph(fact, 'note') for fact in _facts(results))
    parts = (
        markup.header(_title(results), _lead(results), _headline(results)),
        markup.section('Accuracy, %', accuracy, *told),
        markup.section('As classes come in', markup.picture(picture, _CAPTION, kind='drawn')),
        sections.origin(results),
        sections.citations(results),
        sections.configuration(results),
        markup.folded('Orders of the classes', markup.table(['order', 'classes'], orders)),
        sections.footer('orders and students'),
    )
    return markup.document(_title(results), '\n'.join(part for part in parts if part))


def _title(results: Results) -> str:
    return f'{_name(results)} in {len(results["seen"])} tasks on {results["dataset"]}'


def _lead(results: Results) -> str:
    return (
        f'Classes of {results["dataset"]} come in, a task at a time. The memory keeps '
        f'{results["ipc"]} images of each, and networks that see nothing else are tested on the '
        'real test images of all classes so far.'
    )


def _headline(results: Results) -> Iterator[tuple[str, str, str]]:
    """(what, value, unit) of the numbers that a reader looks for first."""
    last = {kind: (means[-1], stds[-1]) for kind, _, means, stds in summaries(results)}
    mean, std = last['distilled']
    yield f'accuracy on all {results["seen"][-1]} classes', f'{mean:.2f}', f'± {std:.2f} %'
    for kind in sorted(last.keys() - {'distilled'}, key=lambda kind: (kind != 'random', kind)):
        gain = f'{mean - last[kind][0]:+.2f}'.replace('-', '−')
        yield f'against {of_runs.of_real(kind)}', gain, 'points'


def _facts(results: Results) -> list[str]:
    """What the numbers are, a sentence or two each."""
    protocol = results['protocol']
    return [
        f'Orders of the classes: {len(results["orders"])}, students each: {protocol["num_seeds"]}; '
        'mean ± population std over both, last step, test images of all classes seen.',
        f'Protocol {of_runs.protocol(protocol)}: {_meeting(results.get("distillation"))}',
        f'Synthetic-set updates per task: {results["steps per task"]:,}.',
    ]


def _meeting(distillation: Mapping[str, float] | None) -> str:
    """How a student meets a task."""
    if distillation is None:
        return 'each student starts anew and trains on the memory alone.'
    return (
        'each student goes on from the task before, on the memory, with '
        f'{distillation["beta"]:g} times the divergence from what it said then (temperature '
        f'{distillation["temperature"]:g}).'
    )


def curves_png(
    path: str | os.PathLike, results: Results, others: Mapping[str, Results] | None = None
) -> None:
    """Draws accuracy over the number of classes seen, a line with its std per memory.

    Args:
        path: the png file; written through a temporary file.
        results: as for `report`.
        others: name -> results of other methods on the same tasks, whose distilled memories are
            drawn beside these.
    """
    figure = Figure(figsize=(6, 4), layout='constrained')
    FigureCanvasAgg(figure)
    axis, seen = figure.subplots(), results['seen']
    lines = list(summaries(results))
    for name, other in (others or {}).items():
        lines += [(name, name, *found[2:]) for found in summaries(other) if found[0] == 'distilled']
    for i, (kind, called, means, stds) in enumerate(lines):
        color = _COLORS.get(kind, f'C{i + 1}')
        axis.plot(seen, means, color=color, marker='o', markersize=4, linewidth=1.4, label=called)
        axis.fill_between(seen, means - stds, means + stds, color=color, alpha=0.15, linewidth=0)
    axis.set_xticks(seen)
    axis.set_xlabel('classes seen')
    axis.set_title(
        'test accuracy, % (mean ± std over orders and students)', loc='left', fontsize=10
    )
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(fontsize=9, framealpha=0.9, edgecolor='none')
    save(path, figure)


def _rows(results: Results) -> tuple[list[str], list[list[str]]]:
    header = ['memory', *(f'{seen} classes, %' for seen in results['seen'])]
    rows = [
        [called, *(f'{mean:.2f} ± {std:.2f}' for mean, std in zip(means, stds))]
        for _, called, means, stds in summaries(results)
    ]
    return header, rows


def summaries(results: Results) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """(memory, what it is called, means, stds) in percent by task; the method last."""
    accuracy: Mapping[str, Sequence] = results['accuracy']
    for kind in sorted(accuracy, key=lambda key: (key != 'random', key == 'distilled', key)):
        # [order, task, student]
        found = 100 * np.array(accuracy[kind], float)
        called = _name(results) if kind == 'distilled' else of_runs.of_real(kind)
        yield kind, called, found.mean((0, 2)), found.std((0, 2))


def _name(results: Results) -> str:
    return ' + '.join([results['method'], *results['plugins']]).upper()
