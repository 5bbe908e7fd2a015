"""Labels for a distilled set: hard, static, dynamic, or dynamic ones that are recorded and
replayed."""

import io
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from experiments.configs.base import Evaluation
from experiments.stages import students
from jaxdd import data, hosts, parallel
from jaxdd.labels import fkd, relabel, replay
from jaxdd.networks.teachers import Teacher
from jaxdd.storage import distilled_set, npz
from jaxdd.storage.atomic import expanded, write_whole
from jaxdd.types import Supervision, SyntheticSet


class Labelled(NamedTuple):
    """A set with what its students are shown."""

    synthetic: SyntheticSet  # labels: teachers' logits where they are static
    supervision: Supervision
    label_bytes: int  # that must be kept with the images
    recorded: replay.Replay | fkd.Store | None = None


def label(
    key: jax.Array,
    evaluation: Evaluation,
    spec: data.Spec,
    synthetic: SyntheticSet,
    teachers: Sequence[Teacher],
    *,
    path: pathlib.Path | None = None,
) -> Labelled:
    """Attaches the labels that a protocol asks for.

    Args:
        key: of recorded labels.
        teachers: for soft labels, at least one.
        path: where static labels are kept, recorded ones in `replay.npz` beside it; recorded ones
            that lie there are used again if they fit.
    """
    view = students.student_supervision(evaluation, spec)
    models, variables = [t.model for t in teachers], [t.variables for t in teachers]
    if evaluation.labels == 'hard':
        return Labelled(synthetic, view, distilled_set.stored_bytes(synthetic)['labels'])
    if evaluation.labels == 'static':
        taught = relabel.static(models, variables, synthetic)
        kept = parallel.fetched(taught.labels).astype(evaluation.label_dtype)
        if path is not None:
            save_static(path, kept)
        return Labelled(
            taught._replace(labels=jax.numpy.asarray(kept, 'float32')), view, kept.nbytes
        )
    if evaluation.labels == 'stored':
        return _stored(key, evaluation, spec, synthetic, teachers, own=path is not None)
    taught = relabel.dynamic(view, models, variables)
    if evaluation.labels == 'dynamic':
        return Labelled(synthetic, taught, 0)
    return _replayed(key, evaluation, synthetic, view, taught, path)


def _replayed(
    key,
    evaluation: Evaluation,
    synthetic: SyntheticSet,
    view: Supervision,
    taught: Supervision,
    path: pathlib.Path | None,
) -> Labelled:
    num_images = synthetic.images.shape[0] * synthetic.images.shape[1]
    num_steps = students.recipe(evaluation, num_images).num_steps
    path = path and path.with_name('replay.npz')
    if path is not None and hosts.told(path.exists):
        recorded = _checked(path, view, synthetic, num_steps)
    else:
        recorded = replay.record(
            key,
            taught,
            synthetic,
            evaluation.batch_size,
            num_steps,
            dtype=evaluation.label_dtype,
            top_k=evaluation.label_top_k,
        )
        if path is not None:
            replay.save(path, recorded)
    return Labelled(
        synthetic, replay.supervision(recorded, view), replay.num_bytes(recorded), recorded
    )


def _stored(
    key,
    e: Evaluation,
    spec: data.Spec,
    synthetic: SyntheticSet,
    teachers: Sequence[Teacher],
    *,
    own: bool,
) -> Labelled:
    """Labels of a store that lies in a folder, or is recorded into it; of another set than the
    run's own they are recorded and not kept."""
    num_images = synthetic.images.shape[0] * synthetic.images.shape[1]
    size = min(e.batch_size, num_images)
    order = fkd.orders(num_images, size, students.num_epochs(e))
    folder = expanded(str(e.label_store))
    if own and hosts.told(folder.is_dir):
        stored = fkd.read(folder, order, spec.num_classes)
    elif not teachers:
        where = f'{folder} is not there' if own else 'the store holds the labels of one set'
        raise ValueError(
            f'evaluation.label_store: {where}, and without teachers nothing else can be labelled'
        )
    else:
        how = fkd.Mixing(
            e.crop_scale,
            spec.flip,
            e.cutmix_alpha if e.cutmix else None,
            e.mixup or None,
        )
        models, variables = [t.model for t in teachers], [t.variables for t in teachers]
        stored = fkd.record(key, synthetic, models, variables, order=order, how=how)
        if own:
            fkd.write(folder, stored)
    return Labelled(synthetic, fkd.supervision(stored), fkd.num_bytes(stored), stored)


def _checked(
    path: pathlib.Path, view: Supervision, synthetic: SyntheticSet, num_steps: int
) -> replay.Replay:
    recorded = replay.load(path)
    try:
        replay.check(recorded, view, synthetic, num_steps=num_steps)
        return recorded
    except ValueError as error:
        raise ValueError(
            f'{path}: {error} (delete the file, and the same command records new labels)'
        ) from error


def save_static(path: pathlib.Path, logits: np.ndarray) -> None:
    """Writes a set's logits `[K, n, Y]`, one vector per image."""
    content = io.BytesIO()
    np.savez(content, static=logits)
    write_whole(path, content.getvalue())


def load_static(path: pathlib.Path, synthetic: SyntheticSet) -> np.ndarray:
    """Reads what `save_static` wrote for a set.

    Raises:
        ValueError: no such file, a damaged one, or logits of another set.
    """
    again = "run the set's own command again"
    logits = npz.read(path, ('static',), advice=again).get('static')
    if logits is None or logits.dtype.kind != 'f':
        raise ValueError(f'{path} holds no static labels; {again}')
    if logits.shape != synthetic.labels.shape:
        raise ValueError(
            f'{path} holds labels {logits.shape}, the set has {synthetic.labels.shape}; {again}'
        )
    if not np.isfinite(logits).all():
        raise ValueError(f'{path} holds labels that are not finite; {again}')
    return logits.astype(np.float32)


def storable_bytes(evaluation: Evaluation, num_images: int, num_classes: int) -> int:
    """Bytes of every label that a student sees in a training:
    one vector per image and epoch, FKD's cost."""
    itemsize = np.dtype(evaluation.label_dtype).itemsize
    return students.num_epochs(evaluation) * num_images * num_classes * itemsize
