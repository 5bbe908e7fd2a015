"""Small charts as SVG within a page, in the colours of its text."""

import math
from collections.abc import Sequence
from html import escape

Part = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 420, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 34
_MANY = 10  # times from the least to the largest value, from which on the axis is logarithmic


def line(parts: Sequence[Part], *, title: str, across: str = 'synthetic-set updates') -> str:
    """One line over steps, logarithmic where it is positive and ranges over a factor of ten.

    Args:
        parts: points (step, value) of each part; parts are not joined.
        title: what the line is, for who cannot see it.
        across: what the steps are.

    Returns:
        An `<svg>` element; '' where there is no point.
    """
    points = [point for part in parts for point in part if all(map(math.isfinite, point))]
    if not points:
        return ''
    steps, values = zip(*points)
    log = min(values) > 0 and max(values) >= _MANY * min(values)
    marks = _powers(min(values), max(values)) if log else ticks(min(values), max(values))
    low, high = min(marks[0], *values), max(marks[-1], *values)
    first, last = min(0, *steps), max(steps)

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (step - first) / ((last - first) or 1)

    def y(value: float) -> float:
        of = math.log if log else float
        share = (of(value) - of(low)) / ((of(high) - of(low)) or 1)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    drawn = [_across(y(mark), f'{mark:g}') for mark in marks]
    drawn += [_below(x(mark), f'{mark:,g}') for mark in ticks(first, last, 5) if mark <= last]
    drawn += [
        f'<polyline class="line" points="{" ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in part)}"/>'
        for part in parts
        if len(part) > 1
    ]
    drawn += [
        f'<circle class="dot" cx="{x(s):.1f}" cy="{y(v):.1f}" r="2.5"/>'
        for part in parts
        if len(part) == 1
        for s, v in part
    ]
    drawn.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end">{escape(across)}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(drawn)}</svg>'
    )


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers from at most `low` to at least `high`, in at most about `most` steps."""
    span = (high - low) or abs(high) or 1.0
    size = 10 ** math.floor(math.log10(span / most))
    step = next(size * by for by in (1, 2, 5, 10) if span / (size * by) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f'{step * i:.12g}') for i in range(first, max(last, first + 1) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Marks of a logarithmic axis: powers of ten, and twos and fives where these are few."""
    least, most = math.floor(math.log10(low)), math.ceil(math.log10(high))
    by = (1, 2, 5) if most - least <= 2 else (1,)
    every = [float(f'{i}e{power}') for power in range(least, most + 1) for i in by]
    inside = [mark for mark in every if low <= mark <= high]
    return inside or [low, high]


def _across(y: float, text: str) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
    )


def _below(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{text}</text>'
