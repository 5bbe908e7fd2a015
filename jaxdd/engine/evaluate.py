"""Evaluation: students trained from scratch on a synthetic set, tested on real images."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import parallel
from jaxdd.bound import bind
from jaxdd.engine import loop
from jaxdd.engine.fit import fit_seeds
from jaxdd.labels import relabel
from jaxdd.types import (
    Accuracy,
    Array,
    Batch,
    Model,
    PRNGKey,
    Recipe,
    Source,
    Supervision,
    SyntheticSet,
    Variables,
)


class Student(NamedTuple):
    """One architecture, with how it is trained and tested."""

    model: Model  # in training mode
    supervision: Supervision  # which images and labels it sees, e.g. `relabel.hard(augment)`
    recipe: Recipe
    tested: Model | None = None  # in test mode, where that differs (batch norm)
    name: str = 'network'  # for messages


class Finished(NamedTuple):
    """A student after its last step."""

    counts: np.ndarray  # [Y, Y] test images, by label and by what it says
    variables: Variables


def evaluate(
    key: PRNGKey,
    synthetic: SyntheticSet,
    test: Source,
    student: Student,
    *,
    num_seeds: int,
    preprocess: Callable[[Array], Array],
    control: loop.Control = loop.Control(),
) -> Accuracy:
    """Trains students from scratch on the synthetic set.

    The last step of each is tested on real images.

    Args:
        key: student i uses `fold_in(key, i)`.
        synthetic: images `[K, n, H, W, C]` and labels `[K, n, Y]`.
        test: real test images, uint8.
        student: its architecture, supervision and recipe.
        num_seeds: students.
        preprocess: uint8 images -> network input, applied on the device.
        control: as in `fit.fit_seeds`.

    Returns:
        Fractions, the population std over seeds. Stopped early: over the finished students.

    Raises:
        ValueError: `num_seeds` below 1; or stopped before a student was finished.
        NonFiniteError: a student diverged; names its architecture, its number and the step.
    """
    if num_seeds < 1:
        raise ValueError(f'num_seeds must be at least 1, got {num_seeds}')
    return summary(
        [
            one
            for some in accuracies(
                key,
                synthetic,
                test,
                student,
                seeds=range(num_seeds),
                preprocess=preprocess,
                control=control,
            )
            for one in some
        ]
    )


def accuracies(
    key: PRNGKey,
    synthetic: SyntheticSet,
    test: Source,
    student: Student,
    *,
    seeds: Sequence[int],
    preprocess: Callable[[Array], Array],
    control: loop.Control = loop.Control(),
) -> Iterator[list[float]]:
    """The accuracies of `finished`'s students, fractions, as they are finished."""
    for some in finished(
        key, synthetic, test, student, seeds=seeds, preprocess=preprocess, control=control
    ):
        yield [share(one.counts) for one in some]


def finished(
    key: PRNGKey,
    synthetic: SyntheticSet,
    test: Source,
    student: Student,
    *,
    seeds: Sequence[int],
    preprocess: Callable[[Array], Array],
    control: loop.Control = loop.Control(),
) -> Iterator[list[Finished]]:
    """The students of `evaluate`, as they are finished: what is known need not be trained again.

    Args:
        seeds: numbers i of the students; the others as in `evaluate`.

    Yields:
        The next students: those that are one program, or one. Ends when stopped.

    Raises:
        NonFiniteError: as `evaluate` does.
    """
    sample = student_batches(synthetic, student.supervision, batch_size=student.recipe.batch_size)
    size = loop.num_together(control, 1 if parallel.on_cpu() else len(seeds))
    for group in (seeds[first : first + size] for first in range(0, len(seeds), size)):
        with loop.naming(_who(student.name, group), "lower the students' learning rate"):
            trained = fit_seeds(
                [jax.random.fold_in(key, i) for i in group],
                student.model,
                sample,
                student.recipe,
                control=control._replace(together=size),
            )
        if not trained:
            return
        model = student.tested or student.model
        yield [Finished(confusion(model, v, test, preprocess=preprocess), v) for v in trained]


def _who(name: str, seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f'{name}, student {seeds[0]}'
    return f'{name}, one of the students {seeds[0]} to {seeds[-1]}'


def student_batches(
    synthetic: SyntheticSet, supervision: Supervision, *, batch_size: int
) -> jax.tree_util.Partial:
    """A sampler of a student's mini-batches, `(key, step) -> Batch`.

    Its arrays are the set's and the supervision's.
    """
    arrays = parallel.replicate((relabel.with_arrays(supervision), synthetic))
    return jax.tree_util.Partial(bind(_student_draw, batch_size), *arrays)


def accuracy(
    model: Model,
    variables: Variables,
    test: Source,
    *,
    preprocess: Callable[[Array], Array],
    batch_size: int = 500,
) -> float:
    """Top-1 accuracy on a labelled set, fraction in [0, 1]; the arguments as in `confusion`."""
    return share(confusion(model, variables, test, preprocess=preprocess, batch_size=batch_size))


def confusion(
    model: Model,
    variables: Variables,
    test: Source,
    *,
    preprocess: Callable[[Array], Array],
    batch_size: int = 500,
) -> np.ndarray:
    """How many images of each class a network takes for which.

    Args:
        model: in test mode.
        batch_size: images per forward pass.

    Returns:
        Counts `[Y, Y]` int64: rows are the labels, columns what the network says (top 1).
    """
    size, counts = len(test.labels), np.zeros((), int)
    for start in range(0, size, batch_size):
        index = np.minimum(np.arange(start, start + batch_size), size - 1)
        found = _said(model, preprocess, variables, jnp.asarray(test.images[index]))
        own = slice(min(batch_size, size - start))  # the last batch is filled up
        said, classes = parallel.fetched(found[0])[own], int(parallel.fetched(found[1]))
        pairs = np.asarray(test.labels[index[own]]).astype(int) * classes + said
        counts = counts + np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return counts


def share(counts: np.ndarray) -> float:
    """The accuracy that confusion counts `[Y, Y]` hold, fraction in [0, 1]."""
    return int(np.trace(counts)) / int(np.sum(counts))


def summary(per_seed: Sequence[float]) -> Accuracy:
    """Mean and population standard deviation (ddof 0, the papers' convention) over seeds.

    Raises:
        ValueError: no accuracy.
    """
    if not len(per_seed):
        raise ValueError('there is no accuracy to take the mean of: no student was finished')
    return Accuracy(
        float(np.mean(per_seed)), float(np.std(per_seed)), tuple(float(a) for a in per_seed)
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _said(model, preprocess, variables, images):
    """The class `[N]` that a network says of each image, and the number of classes Y."""
    logits = model.apply(variables, parallel.shard_uneven(preprocess(images))).logits
    return logits.argmax(-1), logits.shape[-1]


def _student_draw(
    batch_size: int, supervision: Supervision, synthetic: SyntheticSet, key: PRNGKey, step: Array
) -> Batch:
    return supervision(key, step, synthetic, batch_size)
