"""Confusion counts of students: what a record keeps of them, and what they say of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST = 20  # classes of a matrix that is kept; of more, the diagonal and the sums of rows

Kept = Mapping[str, Sequence]


def kept(counts: np.ndarray) -> dict[str, list]:
    """What a record keeps of one student's counts.

    Args:
        counts: `[Y, Y]`, rows are the labels, columns what the student says.

    Returns:
        'right' `[Y]` and 'total' `[Y]`, test images per class; of at most `MOST` classes the
        'counts' `[Y, Y]`, too.
    """
    found = {'right': np.diag(counts).tolist(), 'total': counts.sum(axis=1).tolist()}
    return {**found, 'counts': counts.tolist()} if len(counts) <= MOST else found


def of_students(student: str, several: Sequence[Kept | None], classes: Sequence[str]) -> dict:
    """The parts of a run's results that tell of classes; {} where a student's counts are unknown.

    Args:
        student: the architecture.
        several: of every student, as `kept` gives it; None: unknown.
        classes: Y names.

    Returns:
        'per_class' {'student', 'seeds', 'classes', 'accuracy' [Y], fractions, None of a class
        without test images}, and 'confusion' {'student', 'seeds', 'counts' [Y, Y]}, added up over
        the students, where all of them have it.
    """
    known = [one for one in several if one is not None]
    if not known or len(known) < len(several):
        return {}
    who = {'student': student, 'seeds': len(known)}
    right, total = (np.sum([one[name] for one in known], axis=0) for name in ('right', 'total'))
    shares = [int(r) / int(t) if t else None for r, t in zip(right, total)]
    found: dict[str, Any] = {
        'per_class': {**who, 'classes': list(classes), 'accuracy': shares},
    }
    if all('counts' in one for one in known):
        added = np.sum([one['counts'] for one in known], axis=0)
        found['confusion'] = {**who, 'counts': added.tolist()}
    return found


def pooled(several: Sequence[Mapping[str, Any]]) -> dict:
    """The parts of `of_students` of several sets as one; a part that a set lacks is left out.

    Args:
        several: results, whose students are as many and see the same test images.
    """
    first, found = several[0], {}
    for part in ('per_class', 'confusion'):
        if not all(each.get(part) for each in several):
            continue
        parts = [each[part] for each in several]
        found[part] = {**first[part], 'seeds': sum(one['seeds'] for one in parts)}
        if part == 'confusion':
            found[part]['counts'] = np.sum([one['counts'] for one in parts], axis=0).tolist()
        else:
            columns = zip(*(one['accuracy'] for one in parts))
            found[part]['accuracy'] = [
                None if None in column else sum(column) / len(column) for column in columns
            ]
    return found


def shares(counts: Sequence[Sequence[int]]) -> np.ndarray:
    """Counts `[Y, Y]` as fractions of each row; zeros where a class has no test images."""
    found = np.array(counts, float)
    return found / np.maximum(found.sum(axis=1, keepdims=True), 1)
