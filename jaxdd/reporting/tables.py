"""Tables as text: aligned for a terminal, or Markdown for a page."""

from collections.abc import Iterable, Sequence


def aligned(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    rule: bool = False,
    numbers: Iterable[int] = (),
) -> str:
    """Columns of equal width, two spaces apart.

    Args:
        header: the first line.
        rows: the other lines, of as many cells.
        rule: whether dashes stand below the header.
        numbers: columns that are set to the right.
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if rule:
        lines.insert(1, ['-' * width for width in widths])
    right = set(numbers)
    sides = [str.rjust if column in right else str.ljust for column in range(len(widths))]
    return '\n'.join(
        '  '.join(side(cell, width) for side, cell, width in zip(sides, line, widths)).rstrip()
        for line in lines
    )


def markdown(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()
) -> str:
    """A Markdown table; a bar within a cell is escaped.

    Args:
        header: the names of the columns.
        rows: cells, as many as names.
        numbers: columns that are set to the right.
    """
    lines = [
        '| ' + ' | '.join(str(cell).replace('|', '\\|') for cell in line) + ' |'
        for line in (header, *rows)
    ]
    right = set(numbers)
    marks = ' | '.join('---:' if column in right else '---' for column in range(len(header)))
    return '\n'.join([lines[0], f'| {marks} |', *lines[1:]])
