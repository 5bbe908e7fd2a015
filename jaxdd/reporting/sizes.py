"""Bytes of a distilled set against the accuracy of its students."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jaxdd.reporting.curves import GREY, mean_std, save

MARKERS = 'Ds^v'


class Point(NamedTuple):
    """One way to keep a set."""

    size: int  # bytes, at least 1
    accuracy: Any  # `Accuracy` or {'mean', 'std'}, fractions
    text: str = ''  # beside the point


def sizes_png(
    path: str | os.PathLike,
    lines: Mapping[str, Sequence[Point]],
    marks: Mapping[str, Point] = {},
    *,
    title: str = '',
) -> None:
    """Draws accuracies over bytes, which are logarithmic.

    Args:
        path: the png file; written through a temporary file.
        lines: {name: points}, joined in the order of their sizes; bars are ± one std.
        marks: {name: a point that stands alone}; the first one's accuracy is a dashed line.
        title: above the figure.
    """
    figure = Figure(figsize=(6.4, 4), layout='constrained')
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for number, (name, points) in enumerate(lines.items()):
        _draw(axis, name, sorted(points, key=lambda point: point.size), f'C{number}', 'o-')
    for number, (name, point) in enumerate(marks.items()):
        _draw(axis, name, [point], f'C{len(lines) + number}', MARKERS[number % len(MARKERS)])
        if not number:
            level = 100 * mean_std(point.accuracy)[0]
            axis.axhline(level, color=GREY, linestyle='--', linewidth=1, zorder=0)
    axis.set_xscale('log')
    axis.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,.0f}'))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel('bytes of images and labels')
    axis.set_ylabel('test accuracy, % (mean ± std over seeds)')
    axis.set_title(title, loc='left', fontsize=9)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(fontsize=8, framealpha=0.9, edgecolor='none', loc='lower right')
    save(path, figure)


def _draw(axis: Axes, name: str, points: Sequence[Point], color: str, style: str) -> None:
    means, stds = zip(*(mean_std(point.accuracy) for point in points))
    axis.errorbar(
        [point.size for point in points],
        [100 * mean for mean in means],
        [100 * std for std in stds],
        color=color,
        fmt=style,
        markersize=4.5,
        linewidth=1.2,
        capsize=3,
        label=name,
    )
    for point, mean in zip(points, means):
        axis.annotate(
            point.text,
            (point.size, 100 * mean),
            xytext=(4, -10),
            textcoords='offset points',
            fontsize=7,
            color=color,
        )
