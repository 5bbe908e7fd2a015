"""Teachers: networks squeezed from the real set, or loaded.

Every teacher is validated on real images before use.
"""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxdd import feeds
from jaxdd.augment.mixing import Mix
from jaxdd.bound import bind
from jaxdd.data import Spec, class_members, normalise
from jaxdd.engine import fit, loop
from jaxdd.storage import checkpoint, records, trees
from jaxdd.storage.fingerprint import Store
from jaxdd.types import Array, Augment, Batch, Feed, Model, PRNGKey, Recipe, Source, Variables

NUM_VALIDATED = 1000  # real images that a teacher classifies before it is used
_ENOUGH = 5  # of a class, to tell whether another class's name would fit its predictions better


class Teacher(NamedTuple):
    """A trained network with what it was trained for."""

    name: str  # of the architecture
    model: Model  # in test mode
    variables: Variables
    class_names: tuple[str, ...]  # in label order; () where nobody knows
    mean: tuple[float, ...]  # per channel, of pixels in [0, 1]
    std: tuple[float, ...]
    num_classes: int  # Y
    # on real images when it was made, fraction; None where nobody knows
    accuracy: float | None = None
    zca: str | None = None  # the whitening of the images that it was trained on; None: none


_CARD = records.fields(
    {'zca': records.TEXT},
    name=records.TEXT,
    class_names=records.listing(records.TEXT),
    mean=records.listing({'type': 'number'}),
    std=records.listing(records.AMOUNT),
    num_classes={'type': 'integer', 'minimum': 1},
    accuracy=records.or_none(records.FRACTION),
)


def squeeze(
    key: PRNGKey,
    model: Model,
    feed: Feed[Batch],
    recipe: Recipe,
    *,
    store: Store,
    control: loop.Control = loop.Control(),
) -> Variables | None:
    """Trains one network on real data, or takes it from the folder.

    An interrupted training is continued.

    Args:
        key: initialisation and every draw follow from it.
        model: in batch-statistics mode.
        feed: a pure `(key, step) -> Batch`, or a `Stream` of them.
        recipe: optimiser, number of steps, loss.
        store: where the finished network and the states on the way lie, and everything that
            determines the weights.
        control: as in `loop.run`; its `checkpoint_every` steps lie between states on the way.

    Returns:
        The last weights; None when stopped early, what was reached is kept.
    """
    finished = trees.recall_tree(store.folder / 'network', jax.eval_shape(model.init, key))
    if finished is not None:
        return finished
    with checkpoint.Checkpoints(store.folder / 'training', store.identity, keep=1) as saved:
        state = fit.init_fit(key, model, recipe)
        restored = saved.restore(state)
        state = restored[0] if restored else state
        save = loop.Callback(control.checkpoint_every, lambda state, at, _: saved.save(at, state))
        options = control._replace(callbacks=[*control.callbacks, save]).of_run()
        state = loop.run(
            fit.make_fit_step(model, recipe), state, feed, num_steps=recipe.num_steps, **options
        )
        saved.save(int(state.step), state)
    if int(state.step) < recipe.num_steps:
        return None
    trees.save_tree(store.folder / 'network', state.variables, store.identity)
    return state.variables


def with_augmentation(feed: Feed[Batch], augment: Augment) -> Feed[Batch]:
    """The mini-batches of a feed with augmented images."""
    return feeds.transform(feed, bind(_augmented, augment), keys=_two_keys)


def with_mixing(feed: Feed[Batch], mix: Mix) -> Feed[Batch]:
    """The mini-batches of a feed with mixed images and labels."""
    return feeds.transform(feed, bind(_mixed, mix), keys=_two_keys)


def save(path: str | pathlib.Path, teacher: Teacher) -> None:
    """Writes a teacher as a folder: its weights, and a readable card of what it was trained for."""
    folder = pathlib.Path(path)
    trees.save_tree(folder / 'network', teacher.variables, {'architecture': teacher.name})
    card = {field: getattr(teacher, field) for field in _CARD['required']}
    records.save(folder / 'card.json', card | ({'zca': teacher.zca} if teacher.zca else {}))


def load(path: str | pathlib.Path, build: Callable[[str, int], Model]) -> Teacher:
    """Reads what `save` wrote.

    Args:
        path: the folder.
        build: (architecture, number of classes) -> the model in test mode.

    Raises:
        ValueError: no teacher there, one that is damaged, or weights that do not fit the
            architecture.
    """
    folder = pathlib.Path(path)
    card = records.load(folder / 'card.json', _CARD)
    if card is None:
        raise ValueError(
            f'{folder} holds no teacher: it must be a folder that a run squeezed, with card.json '
            'and network'
        )
    facts: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in card.items()
    }
    model = build(facts['name'], facts['num_classes'])
    variables = trees.load_tree(folder / 'network', jax.eval_shape(model.init, jax.random.key(0)))
    if variables is None:
        raise ValueError(f'{folder} holds a card.json but no network: squeeze the teacher again')
    return Teacher(model=model, variables=variables, **facts)


def require_fitting(teacher: Teacher, spec: Spec) -> None:
    """Refuses a teacher of other classes, of another class order, normalisation or whitening.

    Raises:
        ValueError: says what the teacher has and what the data has.
    """
    names = teacher.class_names
    if teacher.num_classes != spec.num_classes:
        raise ValueError(
            f'the teacher {teacher.name} knows {teacher.num_classes} classes, the data {spec.name} '
            f'has {spec.num_classes}; squeeze a teacher on this data'
        )
    if names and spec.class_names and tuple(names) != tuple(spec.class_names):
        at = next(i for i, pair in enumerate(zip(names, spec.class_names)) if pair[0] != pair[1])
        raise ValueError(
            f'the teacher {teacher.name} has the classes in another order: class {at} is '
            f'{names[at]!r} for it and {spec.class_names[at]!r} in {spec.name}; reorder the data, '
            'or squeeze a teacher on it'
        )
    if teacher.zca != spec.zca:
        raise ValueError(
            f'the teacher {teacher.name} was trained on images {_whitening(teacher.zca)}, those of '
            f'{spec.name} are {_whitening(spec.zca)}; squeeze a teacher on these'
        )
    if not (
        np.allclose(teacher.mean, spec.mean, atol=1e-4)
        and np.allclose(teacher.std, spec.std, atol=1e-4)
    ):
        raise ValueError(
            f'the teacher {teacher.name} was trained on images with mean {_short(teacher.mean)} '
            f'and std {_short(teacher.std)}, but {spec.name} is normalised with '
            f'{_short(spec.mean)} and {_short(spec.std)}; use the same mean and std for both'
        )


def validate(
    teacher: Teacher, source: Source, spec: Spec, *, own: bool = False, batch_size: int = 100
) -> float:
    """A teacher's accuracy on `num_validated` real images (every class alike):
    a condition of its use.

    Args:
        teacher: see `require_fitting`, which is called first.
        source: real images, the training half.
        own: it was squeezed on these very images, so that its classes have their order, however
            little it has learnt.
        batch_size: images per forward pass.

    Returns:
        Top-1 accuracy, fraction in [0, 1].

    Raises:
        ValueError: the predictions fit the classes twice as well in another order, or the accuracy
            is far below the recorded one.
    """
    require_fitting(teacher, spec)
    chosen = _validated_on(source, spec)
    per_class = chosen.shape[1]
    predicted = np.concatenate(
        [
            _predicted(teacher.model, spec, teacher.variables, jnp.asarray(source.images[part]))
            for part in np.array_split(chosen.ravel(), -(-chosen.size // batch_size))
        ]
    )
    labels = np.repeat(np.arange(spec.num_classes), per_class)
    accuracy = float(np.mean(predicted == labels))
    if per_class >= _ENOUGH and not own:
        _require_order(teacher, predicted, labels, accuracy, spec.num_classes)
    if teacher.accuracy is not None:
        allowed = (
            0.8 * teacher.accuracy
            - 3 * (teacher.accuracy * (1 - teacher.accuracy) / len(labels)) ** 0.5
        )
        if accuracy < allowed:
            raise ValueError(
                f'the teacher {teacher.name} classifies {accuracy:.1%} of {len(labels)} real '
                f'images of {spec.name} correctly, its record says {teacher.accuracy:.1%}: another '
                'class order, normalisation or image size; it is not used'
            )
    return accuracy


def num_validated(source: Source, spec: Spec) -> int:
    """How many real images `validate` looks at:
    1,000, fewer where a class has fewer than its part of them."""
    return _validated_on(source, spec).size


def _augmented(augment: Augment, batch: Batch, key: PRNGKey, step: Array) -> Batch:
    return batch._replace(images=augment(jax.random.fold_in(key, step), batch.images))


def _mixed(mix: Mix, batch: Batch, key: PRNGKey, step: Array) -> Batch:
    images, labels = mix(jax.random.fold_in(key, step), batch.images, batch.labels)
    return batch._replace(images=images, labels=labels)


def _two_keys(key: PRNGKey) -> tuple[PRNGKey, PRNGKey]:
    k_batch, k_view = jax.random.split(key)
    return k_batch, k_view


def _validated_on(source: Source, spec: Spec) -> np.ndarray:
    """Indices `[Y, n]`, the first images of every class alike."""
    members, _ = class_members(source, spec.num_classes, 1)
    return members[
        :, : min(max(1, NUM_VALIDATED // spec.num_classes), int((members >= 0).sum(1).min()))
    ]


def _require_order(
    teacher: Teacher, predicted: np.ndarray, labels: np.ndarray, accuracy: float, num_classes: int
) -> None:
    table = np.zeros((num_classes, num_classes), int)
    np.add.at(table, (labels, predicted), 1)
    best = table[linear_sum_assignment(table, maximize=True)].sum() / len(labels)
    if best > 2 * accuracy and best - accuracy > 0.2:
        raise ValueError(
            f'the teacher {teacher.name} classifies {accuracy:.1%} of {len(labels)} real images '
            f'correctly, and {best:.1%} if its classes were in another order: teacher and data '
            'number the classes differently; it is not used'
        )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predicted(model: Model, spec: Spec, variables: Variables, images: Array) -> Array:
    return model.apply(variables, normalise(spec, images)).logits.argmax(-1)


def _whitening(zca: str | None) -> str:
    return f'whitened by ZCA ({zca})' if zca else 'without whitening'


def _short(values: Sequence[float]) -> str:
    return '(' + ', '.join(f'{value:.4g}' for value in values) + ')'
