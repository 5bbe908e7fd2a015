"""What a run found, as curves: every loss, and the accuracies measured on the way."""

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxdd.storage.atomic import write_whole

BLUE, GREY = '#1f5fa8', '#8a8a8a'


def curves_png(
    path: str | os.PathLike,
    history: Sequence[Mapping[str, float]],
    accuracies: Mapping[int, Mapping[str, Any]],
    *,
    random: Mapping[str, Any] | None = None,
    marks: Mapping[int, str] | None = None,
) -> None:
    """Draws every loss over the run in a panel of its own, and the accuracies measured on the way.

    A panel is logarithmic where the loss is positive and ranges over more than a factor of 10.

    Args:
        path: the png file; written through a temporary file.
        history: rows of {'step': synthetic-set updates, 'loss/<name>': value,
            'accuracy/<name>': fraction}; other metrics are not drawn.
        accuracies: {step: {student: `Accuracy` or {'mean', 'std'}}}, fractions; may be empty.
        random: {student: the same} of random real images, drawn as a horizontal line.
        marks: {step: what begins there}, drawn as vertical lines through the losses: independent
            parts of a run, whose curves have nothing to do with each other; '' for a line without a
            name.
    """
    drawn = ('loss/', 'accuracy/')
    names = sorted({name for row in history for name in row if name.startswith(drawn)})
    panels = len(names) + bool(accuracies or random)
    columns = min(max(panels, 1), 3)
    lines = -(-max(panels, 1) // columns)
    figure = Figure(figsize=(4.2 * columns, 3 * lines), layout='constrained')
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for name, axis in zip(names, axes):
        _loss_panel(
            axis, name, [(row['step'], row[name]) for row in history if name in row], marks or {}
        )
    if panels > len(names):
        _accuracy_panel(axes[len(names)], accuracies, random or {})
    for axis in axes[:panels]:
        axis.set_xlabel('synthetic-set updates')
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[['top', 'right']].set_visible(False)
    for axis in axes[panels:]:
        axis.set_visible(False)
    save(path, figure)


def parts(
    points: Sequence[tuple[float, float]], marks: Mapping[int, str]
) -> list[list[tuple[float, float]]]:
    """Points (step, value) of each independent part of a run, which no line joins.

    Args:
        points: in the order of their steps.
        marks: {step: what begins there}; a point at a mark's step is still of the part before.
    """
    ends = np.searchsorted([step for step, _ in points], sorted(marks), side='right')
    return [list(points[a:b]) for a, b in zip([0, *ends], [*ends, len(points)])]


def save(path: str | os.PathLike, figure: Figure) -> None:
    """Writes a figure as a png file, through a temporary file."""
    content = io.BytesIO()
    figure.savefig(content, dpi=130, format='png')
    write_whole(path, content.getvalue())


def mean_std(score: Any) -> tuple[float, float]:
    """Of an `Accuracy`, or of its record; 0 where a std is not known."""
    if isinstance(score, Mapping):
        mean, std = score.get('mean', score.get('value')), score.get('std')
    else:
        mean, std = score.mean, score.std
    return float(mean), float(std or 0)


def _loss_panel(
    axis: Axes, name: str, points: Sequence[tuple[float, float]], marks: Mapping[int, str]
) -> None:
    steps, values = np.array(points, float).T
    starts = sorted(marks)
    for part in parts(points, marks):
        axis.plot(
            *(np.array(part, float).reshape(-1, 2).T),
            color=BLUE,
            linewidth=1,
            marker='o' if len(part) < 3 else None,
            markersize=4,
        )
    for at in starts:
        axis.axvline(
            at,
            color=GREY,
            linewidth=1.2 if marks[at] else 0.5,
            linestyle='-' if marks[at] else ':',
        )
        axis.annotate(
            f' {marks[at]}',
            (at, 1),
            xycoords=('data', 'axes fraction'),
            fontsize=7,
            color=GREY,
            va='top',
        )
    if values.min() > 0 and values.max() > 10 * values.min():
        axis.set_yscale('log')
    axis.set_title(name.removeprefix('loss/') + ' loss', loc='left', fontsize=10)


def _accuracy_panel(
    axis: Axes, accuracies: Mapping[int, Mapping[str, Any]], random: Mapping[str, Any]
) -> None:
    students = sorted(
        {student for scores in accuracies.values() for student in scores} | set(random)
    )
    for i, student in enumerate(students):
        color, of = (f'C{i}', f', {student}') if len(students) > 1 else (BLUE, '')
        points = [
            (step, *mean_std(scores[student]))
            for step, scores in sorted(accuracies.items())
            if student in scores
        ]
        if points:
            steps, means, stds = np.array(points, float).T
            axis.errorbar(
                steps,
                100 * means,
                100 * stds,
                color=color,
                marker='o',
                markersize=4,
                linewidth=1.2,
                capsize=3,
                label=f'distilled{of}',
            )
        if student in random:
            mean, std = mean_std(random[student])
            axis.axhline(
                100 * mean,
                color=color if len(students) > 1 else GREY,
                linestyle='--',
                linewidth=1.2,
                label=f'random real images{of}',
            )
            axis.axhspan(
                100 * (mean - std), 100 * (mean + std), color=GREY, alpha=0.15, linewidth=0
            )
    axis.set_xlim(left=0, right=1.05 * max([*accuracies, 1]))
    axis.set_xlabel('synthetic-set updates')
    axis.set_title('test accuracy, % (mean ± std over seeds)', loc='left', fontsize=10)
    axis.legend(fontsize=8, framealpha=0.9, edgecolor='none')
