"""Shows what `experiments.speed.benchmark` measured: terminal lines, a Markdown table, a figure.

Command:   python -m experiments.speed.report FILE.json --markdown FILE.md --figure FILE.png
"""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from jaxdd.reporting import tables
from jaxdd.storage import records
from jaxdd.storage.atomic import write_whole

MEASURED = {'type': 'object', 'required': ['ceiling GFLOP/s', 'workloads']}
_COLOURS = ('#1f5fa8', '#e08a2c', '#4b9e5f', '#8a8a8a')
_TICKS = (0.25, 0.5, 1, 2, 3, 5, 10, 20, 50)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a measurement that was written earlier, and writes what is asked for."""
    parser = argparse.ArgumentParser(
        prog='python -m experiments.speed.report', description=__doc__.partition('\n')[0]
    )
    parser.add_argument('result', help='what `experiments.speed.benchmark --json` wrote')
    add_outputs(parser)
    options = parser.parse_args(arguments)
    try:
        found = records.load(options.result, MEASURED)
        if found is None:
            raise FileNotFoundError(f'{options.result} does not exist')
        show(found, options)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The options that `show` reads."""
    parser.add_argument(
        '--markdown', metavar='FILE', help='also write a Markdown table to this file'
    )
    parser.add_argument('--figure', metavar='FILE', help='also draw the ratios into this PNG file')


def show(result: dict, options: argparse.Namespace) -> None:
    """Prints the table and writes the other outputs."""
    print('\n'.join(table(result)))
    if options.markdown:
        write_whole(options.markdown, ('\n'.join(markdown(result)) + '\n').encode())
    if options.figure:
        figure(options.figure, result)


def table(result: dict) -> list[str]:
    """Lines to print."""
    ceiling = result['ceiling GFLOP/s']
    lines = [
        *where(result),
        f'float32 matrix product, GFLOP/s: ours {ceiling["ours"]:.0f}, theirs '
        f'{ceiling["theirs"]:.0f}',
        '',
        (
            f'{"workload":12} {"steps/call":>10} {"theirs s":>9} {"ours s":>9} '
            f'{"ratio min/median/max":>21} {"compile s":>9} {"temp MB":>8} {"GFLOP":>7} '
            f'{"theirs":>7} {"ours":>6}  of the ceiling'
        ),
    ]
    for name, size, found, ours in _rows(result):
        lines.append(
            f'{name:12} {size:>10} {found["theirs"]["seconds per step"]:9.4f} '
            f'{ours["seconds per step"]:9.4f} {_ratios(ours):>21} {ours["compile seconds"]:9.1f} '
            f'{ours["temporary bytes"] / 1e6:8.0f} {found["FLOPs"] / 1e9:7.1f} '
            f'{found["theirs"]["of the ceiling"]:7.0%} {ours["of the ceiling"]:6.0%}'
        )
    return lines


def markdown(result: dict) -> list[str]:
    """A table for a page, where it was measured above it."""
    header = (
        'workload',
        'theirs, s',
        'ours, s',
        'ratio min/median/max',
        'compile, s',
        'temp, MB',
        'GFLOP',
        'of the ceiling, theirs/ours',
    )
    rows = []
    for name, size, found, ours in _rows(result):
        label = name if size == '1' else f'{name}, {size} steps per call'
        cells = (
            label,
            f'{found["theirs"]["seconds per step"]:.3g}',
            f'{ours["seconds per step"]:.3g}',
            _ratios(ours),
            f'{ours["compile seconds"]:.1f}',
            f'{ours["temporary bytes"] / 1e6:.0f}',
            f'{found["FLOPs"] / 1e9:.3g}',
            f'{found["theirs"]["of the ceiling"]:.0%} / {ours["of the ceiling"]:.0%}',
        )
        rows.append(cells)
    table = tables.markdown(header, rows, numbers=range(1, len(header)))
    return [', '.join(where(result)) + '.', '', *table.splitlines()]


def figure(path: str, result: dict) -> None:
    """Draws the ratios: medians with bars from the least to the largest, a group per workload,
    a line at 1."""
    names = list(result['workloads'])
    sizes = list(dict.fromkeys(size for _, size, _, _ in _rows(result)))
    drawing = Figure(figsize=(max(5.0, 1.6 + 0.95 * len(names)), 3.6), layout='constrained')
    FigureCanvasAgg(drawing)
    axis, width = drawing.subplots(), 0.5 / len(sizes)
    for i, size in enumerate(sizes):
        rows = [
            (names.index(name), ours['ratio'])
            for name, own, _, ours in _rows(result)
            if own == size
        ]
        x = [at + (i - (len(sizes) - 1) / 2) * width for at, _ in rows]
        medians = [ratio['median'] for _, ratio in rows]
        spread = [
            [ratio['median'] - ratio['min'] for _, ratio in rows],
            [ratio['max'] - ratio['median'] for _, ratio in rows],
        ]
        # Points: on a logarithmic axis the length of a bar would mean nothing.
        axis.errorbar(
            x,
            medians,
            spread,
            fmt='o',
            color=_COLOURS[i % len(_COLOURS)],
            markersize=6,
            elinewidth=1.5,
            capsize=4,
            label=f'{size} step{"" if size == "1" else "s"} per call',
        )
        for at, (_, ratio) in zip(x, rows):
            axis.annotate(
                f'{ratio["median"]:.2g}',
                (at, ratio['max']),
                (0, 4),
                textcoords='offset points',
                ha='center',
                fontsize=7,
            )
    _finish(axis, names, result)
    content = io.BytesIO()
    drawing.savefig(content, dpi=130, format='png')
    write_whole(path, content.getvalue())


def _finish(axis: Any, names: list[str], result: dict) -> None:
    ratios = [ours['ratio'] for _, _, _, ours in _rows(result)]
    axis.axhline(1, color='#333333', linewidth=1)
    axis.set_yscale('log')
    low, high = (
        min(0.8, *(0.8 * ratio['min'] for ratio in ratios)),
        max(2.0, *(1.3 * r['max'] for r in ratios)),
    )
    axis.set_ylim(low, high)
    axis.set_yticks([tick for tick in _TICKS if low <= tick <= high])
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_xticks(range(len(names)), names, fontsize=9)
    axis.set_ylabel("PyTorch's seconds / ours")
    axis.set_title('\n'.join(where(result)), loc='left', fontsize=8)
    axis.grid(axis='y', alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[['top', 'right']].set_visible(False)
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.legend(
        fontsize=8, frameon=False, loc='lower right', bbox_to_anchor=(1, 1), borderaxespad=0
    )


def where(result: dict) -> list[str]:
    """Where and how it was measured, in two parts."""
    versions = result['versions']
    return [
        f'{result["hardware"]}, {result["cores"]} cores, load {result["load"][0]:.1f}, '
        f'jax {versions["jax"]}, torch {versions["torch"]} on {result["theirs on"]}',
        f'commit {result["commit"]}, rounds: {result["repeats"]}, '
        + ('nothing drawn within a step' if result['plain'] else 'draws and augmentation included'),
    ]


def _ratios(ours: dict) -> str:
    return '/'.join(f'{ours["ratio"][key]:.2f}' for key in ('min', 'median', 'max'))


def _rows(result: dict) -> Iterator[tuple[str, str, dict, dict]]:
    """(workload, steps per call, what was found, ours of that size)."""
    for name, found in result['workloads'].items():
        for size, ours in found['ours'].items():
            yield name, size, found, ours


if __name__ == '__main__':
    sys.exit(main())
