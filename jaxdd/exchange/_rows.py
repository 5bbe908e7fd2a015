"""Images and labels as files of others list them, one row each: checked, and put in the order
of their classes."""

from typing import Any

import numpy as np

from jaxdd.exchange import forms
from jaxdd.exchange.forms import Artifact, Form, Told
from jaxdd.storage import distilled_checks

NEVER = -110.0  # the logit of a class of probability 0: float32 has no number as small as its exp
NEAR = 1e-4  # rows of probabilities sum to 1, give or take


def require_whole(artifact: Artifact, form: Form) -> None:
    """Refuses to write a set into a form that cannot hold all of it.

    Raises:
        ValueError: names what would be lost.
    """
    if lost := forms.missing(artifact, form):
        raise ValueError(
            f'this form cannot hold the set: {"; ".join(lost.values())}; choose another form, or '
            'leave it out of the set first'
        )


def images(rows: np.ndarray, told: Told, where: Any) -> np.ndarray:
    """Images `[N, H, W, C]` float32 of rows `[N, C, H, W]`.

    Raises:
        ValueError: another rank, dtype or number of channels, values that are not finite, or a
            mean and a std of another number of channels.
    """
    if rows.ndim != 4 or rows.shape[1] not in (1, 3) or not rows.size or rows.dtype.kind != 'f':
        swapped = rows.ndim == 4 and rows.shape[-1] in (1, 3)
        hint = '; channels come before height and width: permute(0, 3, 1, 2)' if swapped else ''
        raise ValueError(
            f'{where}: images must be floats [N, 1 or 3, height, width], got {rows.dtype} of shape '
            f'{rows.shape}{hint}'
        )
    if not (finite := np.isfinite(rows).all(axis=(1, 2, 3))).all():
        raise ValueError(f'{where}: image {np.argmin(finite)} holds values that are not finite')
    _require_normalisation(told, rows.shape[1])
    return np.ascontiguousarray(rows.transpose(0, 2, 3, 1), np.float32)


def by_class(rows: np.ndarray, labels: np.ndarray, told: Told, where: Any) -> np.ndarray:
    """Rows `[K n, ...]` as `[K, n, ...]`, those of one class in the order of the file.

    Args:
        labels: `[K n]` integers in 0..K-1, n of each; K is the number of class names.

    Raises:
        ValueError: labels of another shape, kind or range, a class without images, or unequally
            many images per class.
    """
    total = len(told.class_names)
    if labels.shape != rows.shape[:1] or labels.dtype.kind not in 'iu':
        raise ValueError(
            f'{where}: labels must be integers, one for each of {len(rows)} images, got '
            f'{labels.dtype} of shape {labels.shape}'
        )
    if labels.min() < 0 or labels.max() >= total:
        raise ValueError(
            f'{where}: {total} class names are labels 0..{total - 1}, got {labels.min()}..'
            f'{labels.max()}: name the classes of this file'
        )
    counts = np.bincount(labels.astype(np.int64), minlength=total)
    if (counts != counts[0]).any() or not counts[0]:
        few, many = int(np.argmin(counts)), int(np.argmax(counts))
        raise ValueError(
            f'{where}: every class must have as many images as the others, got {counts[few]} of '
            f'class {few} ({told.class_names[few]}) and {counts[many]} of class {many}'
        )
    return rows[np.argsort(labels, kind='stable')].reshape(total, -1, *rows.shape[1:])


def in_order(rows: np.ndarray, told: Told, where: Any) -> np.ndarray:
    """Rows that say nothing of their classes, `[K n, ...]` and class-major, as `[K, n, ...]`.

    Raises:
        ValueError: their number is no multiple of K, the number of class names.
    """
    total = len(told.class_names)
    if not total or len(rows) % total:
        raise ValueError(
            f'{where}: {len(rows)} rows cannot be equally many of {total} classes: name the '
            'classes of this file'
        )
    return rows.reshape(total, -1, *rows.shape[1:])


def soft(rows: np.ndarray, count: int, told: Told, where: Any) -> np.ndarray:
    """Soft labels `[K n, K]` of class-major images as `[K, n, K]`.

    Raises:
        ValueError: another shape or dtype, or values that are not finite.
    """
    wanted = (count, len(told.class_names))
    if rows.shape != wanted or rows.dtype.kind != 'f':
        hint = '; whole classes, one integer per image, are of another form' * (rows.ndim == 1)
        raise ValueError(
            f'{where}: soft labels must be floats {wanted}, a row for each image and a column for '
            f'each class name, got {rows.dtype} of shape {rows.shape}{hint}'
        )
    if not np.isfinite(rows).all():
        raise ValueError(f'{where}: soft labels hold values that are not finite')
    return in_order(rows.astype(np.float32), told, where)


def logits(labels: np.ndarray) -> np.ndarray:
    """Labels `[..., Y]` as logits float32: those of probabilities are their logarithms."""
    if labels.min() < 0 or labels.max() > 1:
        return np.asarray(labels, np.float32)
    with np.errstate(divide='ignore'):
        return np.maximum(np.log(labels, dtype=np.float64), NEVER).astype(np.float32)


def probabilities(labels: np.ndarray) -> np.ndarray:
    """softmax(l) of logits `[..., Y]`, float32; probabilities stay as they are."""
    wide = np.asarray(labels, np.float64)
    if wide.min() >= 0 and (abs(wide.sum(-1) - 1) < NEAR).all():
        return np.asarray(labels, np.float32)
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)


def said(labels: np.ndarray) -> np.ndarray:
    """Logits as they are, but logarithms of probabilities (see `logits`) as probabilities."""
    powers = np.exp(np.minimum(labels, 1, dtype=np.float64))  # above 1: no logarithm of one
    known = (abs(powers.sum(-1) - 1) < NEAR).all()
    return probabilities(labels) if known else labels


def assembled(
    grouped: np.ndarray, labels: np.ndarray | None, told: Told, *, rate: float | None = None
) -> Artifact:
    """`forms.assemble`, of a set that passes every check.

    Raises:
        ValueError: what `forms.assemble` and `distilled_checks.check` refuse.
    """
    _require_normalisation(told, grouped.shape[-1])
    artifact = forms.assemble(grouped, labels, told, learning_rate=rate)
    distilled_checks.check(artifact.synthetic, artifact.about)
    return artifact


def _require_normalisation(told: Told, channels: int) -> None:
    if told.space != 'whitened':
        mean, std = (np.asarray(value, np.float32) for value in (told.mean, told.std))
        distilled_checks.check_normalisation(mean, std, channels)
