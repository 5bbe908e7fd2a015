"""Evaluation: students trained from scratch on a synthetic set, tested on real images."""
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import parallel
from jaxdd.engine import loop
from jaxdd.engine.fit import fit_seeds
from jaxdd.labels import relabel
from jaxdd.types import Accuracy, Array, Batch, Model, PRNGKey, Recipe, Source, Supervision, SyntheticSet, Variables


def evaluate(key: PRNGKey, synthetic: SyntheticSet, test: Source, students: Mapping[str, Model],
             supervision: Supervision, recipe: Recipe | Mapping[str, Recipe], *, num_seeds: int,
             preprocess: Callable[[Array], Array], tested: Mapping[str, Model] | None = None,
             vectorized: bool | None = None, steps_per_call: int = 1,
             callbacks: Sequence[loop.Callback] = (), should_stop: Callable[[], bool] = lambda: False,
             known: Mapping[str, Sequence[float]] = {},
             keep: Callable[[dict[str, list[float]]], None] = lambda per_seed: None) -> dict[str, Accuracy]:
    """Trains students from scratch on the synthetic set and tests the last step of each on real images.

    Args:
        key: student i of every architecture uses `fold_in(key, i)`.
        synthetic: images `[K, n, H, W, C]` and labels `[K, n, Y]`.
        test: real test images, uint8.
        students: name -> architecture in training mode.
        supervision: what a student sees of the set, e.g. `relabel.hard(augment)`.
        recipe: optimiser, number of steps, batch size and loss: one for all, or one per architecture's name.
        num_seeds: students per architecture.
        preprocess: uint8 images -> network input, applied on the device.
        tested: name -> architecture in test mode, where it differs from training (batch norm).
        vectorized: train the seeds as one program; by default on accelerators only (on CPUs a batch of
            networks turns convolutions into slow grouped ones).
        steps_per_call, callbacks, should_stop: as in `loop.run`.
        known: name -> accuracies of the first students, from an evaluation that was stopped; they are not trained
            again.
        keep: told all accuracies so far whenever a student is finished, or those that are one program.

    Returns:
        name -> accuracy: fractions, the population std over seeds. Stopped early: over the finished seeds, and
        without the architectures of which none finished.

    Raises:
        ValueError: `num_seeds` below 1.
        NonFiniteError: a student diverged; names its architecture, its number and the step.
    """
    if num_seeds < 1:
        raise ValueError(f'num_seeds must be at least 1, got {num_seeds}')
    vectorized = not parallel.on_cpu() if vectorized is None else vectorized
    found = {name: list(known.get(name, ()))[:num_seeds] for name in students}
    for name, model in students.items():
        own = recipe if isinstance(recipe, Recipe) else recipe[name]
        sample = student_batches(synthetic, supervision, batch_size=own.batch_size)
        size = num_seeds if vectorized else 1
        for first in range(len(found[name]), num_seeds, size):
            seeds = range(first, min(first + size, num_seeds))
            with _named(name, seeds):
                trained = fit_seeds([jax.random.fold_in(key, i) for i in seeds], model, sample, own,
                                    vectorized=vectorized, steps_per_call=steps_per_call, callbacks=callbacks,
                                    should_stop=should_stop)
            if not trained:
                break
            judge = (tested or {}).get(name, model)
            found[name] += [accuracy(judge, v, test, preprocess=preprocess) for v in trained]
            keep(found)
    return {name: summary(per_seed) for name, per_seed in found.items() if per_seed}


@contextlib.contextmanager
def _named(name: str, seeds: Sequence[int]) -> Iterator[None]:
    """Says which students diverged: the loop knows the metric and the step alone."""
    try:
        yield
    except loop.NonFiniteError as error:
        who = f'student {seeds[0]}' if len(seeds) == 1 else f'one of the students {seeds[0]} to {seeds[-1]}'
        raise loop.NonFiniteError(f'{name}, {who}: {error.what}', 'lower the students\' learning rate') from error


def student_batches(synthetic: SyntheticSet, supervision: Supervision, *, batch_size: int) -> jax.tree_util.Partial:
    """A sampler of a student's mini-batches, `(key, step) -> Batch`, over the arrays of the set and the supervision."""
    arrays = parallel.replicate((relabel.with_arrays(supervision), synthetic))
    return jax.tree_util.Partial(_student_draw(batch_size), *arrays)


def accuracy(model: Model, variables: Variables, test: Source, *, preprocess: Callable[[Array], Array],
             batch_size: int = 500) -> float:
    """Top-1 accuracy on a labelled set, fraction in [0, 1].

    Args:
        model: in test mode.
        batch_size: images per forward pass.
    """
    size = len(test.labels)
    hits = 0
    for start in range(0, size, batch_size):
        index = np.minimum(np.arange(start, start + batch_size), size - 1)
        right = _hits(model, preprocess, variables, jnp.asarray(test.images[index]), jnp.asarray(test.labels[index]))
        hits += int(np.asarray(right)[:min(batch_size, size - start)].sum())
    return hits / size


def summary(per_seed: Sequence[float]) -> Accuracy:
    """Mean and population standard deviation (ddof 0, the papers' convention) over seeds."""
    return Accuracy(float(np.mean(per_seed)), float(np.std(per_seed)), tuple(float(a) for a in per_seed))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _hits(model, preprocess, variables, images, labels):
    return model.apply(variables, parallel.share(preprocess(images))).logits.argmax(-1) == labels


@functools.lru_cache(maxsize=32)  # one function object per batch size, so that it compiles once
def _student_draw(batch_size: int):
    def draw(supervision: Supervision, synthetic: SyntheticSet, key: PRNGKey, step: Array) -> Batch:
        return supervision(key, step, synthetic, batch_size)

    return draw
