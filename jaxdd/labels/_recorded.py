"""Recorded labels and their file; `labels.replay` makes and shows them."""

import io
import json
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.storage import npz
from jaxdd.storage.atomic import write_whole

ADVICE = 'delete the file and label again'


class MadeWith(NamedTuple):
    """What the images that a key draws depend on, as it was when labels were recorded."""

    jax: str  # version
    prng: str  # name of the generator
    platform: str  # 'cpu', 'gpu', 'tpu'
    images: int  # CRC-32 of the synthetic set's images
    shown: int  # CRC-32 of the images of a few mini-batches, as shown


class Replay(NamedTuple):
    """The labels of S mini-batches of b images, on the host."""

    key: np.ndarray  # uint32, which draws the images
    batch_size: int  # as asked for; b is the set's size where that is less
    logits: np.ndarray  # [S, b, k] float16 or float32; k = Y, or the largest k
    classes: np.ndarray | None  # [S, b, k] uint16, whose logits these are; None = all, in order
    rest: np.ndarray | None  # [S, b] mean of the logits that were dropped
    made_with: MadeWith


def num_bytes(replay: Replay) -> int:
    """Bytes that have to be kept: key and labels."""
    return sum(
        x.nbytes for x in (replay.key, replay.logits, replay.classes, replay.rest) if x is not None
    )


def save(path: str | os.PathLike, replay: Replay) -> None:
    """Writes a replay as one `.npz` file, whole or not at all."""
    arrays = {
        name: getattr(replay, name)
        for name in ('key', 'logits', 'classes', 'rest')
        if getattr(replay, name) is not None
    }
    about = json.dumps({'batch_size': replay.batch_size, **replay.made_with._asdict()})
    content = io.BytesIO()
    np.savez(content, about=np.array(about), **arrays)
    write_whole(path, content.getvalue())


def load(path: str | os.PathLike) -> Replay:
    """Reads what `save` wrote; no code of the file runs.

    Raises:
        ValueError: a file that is absent, damaged or something else, or fields that do not belong
            together.
    """
    fields = npz.read(path, ('about', 'key', 'logits', 'classes', 'rest'), advice=ADVICE)
    try:
        if missing := [name for name in ('about', 'key', 'logits') if name not in fields]:
            raise ValueError(f'it lacks {", ".join(missing)}')
        about = {**json.loads(str(fields['about']))}
        found = Replay(
            fields['key'],
            about.pop('batch_size'),
            fields['logits'],
            fields.get('classes'),
            fields.get('rest'),
            MadeWith(**about),
        )
        _require_whole(found)
        return found
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f'{path} holds no recorded labels ({error}); {ADVICE}') from error


def _require_whole(replay: Replay) -> None:
    """Refuses fields that `record` never returns together."""
    logits, classes, rest = replay.logits, replay.classes, replay.rest
    # raises where it is none
    jax.random.wrap_key_data(jnp.asarray(replay.key), impl=replay.made_with.prng)
    if not isinstance(replay.batch_size, int) or replay.batch_size < 1:
        raise ValueError(f'batch_size must be at least 1, got {replay.batch_size!r}')
    if logits.ndim != 3 or not logits.size or logits.dtype not in (np.float16, np.float32):
        raise ValueError(
            'logits must be [S, b, k] float16 or float32, at least one, got '
            f'{logits.dtype} of shape {logits.shape}'
        )
    if (classes is None) != (rest is None):
        raise ValueError('classes and rest belong together, it has one of them')
    if classes is not None and (
        classes.shape != logits.shape
        or classes.dtype != np.uint16
        or rest.shape != logits.shape[:2]
        or rest.dtype != logits.dtype
    ):
        raise ValueError(
            f'classes must be {logits.shape} uint16 and rest {logits.shape[:2]} {logits.dtype}, '
            f'got {classes.dtype} of shape {classes.shape} and {rest.dtype} of shape {rest.shape}'
        )
    if not np.isfinite(logits).all() or rest is not None and not np.isfinite(rest).all():
        raise ValueError('its labels are not all finite')
