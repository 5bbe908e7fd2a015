"""Real images that experts classify correctly, with their logits: where DATM starts."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import checks
from jaxdd.data import Spec, chosen_subset, class_members, normalise
from jaxdd.models import from_params
from jaxdd.types import Array, Model, PRNGKey, PyTree, Source, SyntheticSet

BATCH = 256  # images per forward pass


def predicted(
    key: PRNGKey, source: Source, spec: Spec, model: Model, experts: Sequence[PyTree], *, ipc: int
) -> SyntheticSet:
    """Random images that an expert classifies correctly, with their soft labels as logits.

    Of every class in random order the first `ipc` that the first expert gets right; where it runs
    out the next one's, and in the end any others. Guo et al., "Towards Lossless Dataset
    Distillation via Difficulty-Aligned Trajectory Matching" (DATM, ICLR 2024),
    https://arxiv.org/abs/2310.05773.

    Args:
        key: the order of the images.
        source, spec: the training set.
        model: the experts' architecture.
        experts: the last parameters of each.
        ipc: images per class.

    Returns:
        Normalised images `[Y, ipc, H, W, C]` and logits `[Y, ipc, Y]`, for `with_soft_labels`.

    Raises:
        ValueError: no expert, or a class with fewer than `ipc` images.
    """
    if not experts:
        raise ValueError('images are chosen by experts, and there is none; train at least one')
    members = class_members(source, spec.num_classes, ipc)[0]
    checks.images_per_class(ipc, (members >= 0).sum(axis=1))
    chosen = np.stack(
        [
            _of_class(jax.random.fold_in(key, c), source, spec, model, experts, (c, row, ipc))
            for c, row in enumerate(members)
        ]
    )
    images = chosen_subset(source, spec, chosen).images
    classes = np.repeat(np.arange(spec.num_classes), ipc)
    logits = soft_labels(model, experts, images.reshape(-1, *spec.image_shape), classes)
    return SyntheticSet(images, logits.reshape(*chosen.shape, -1))


def soft_labels(
    model: Model, experts: Sequence[PyTree], images: Array, classes: np.ndarray
) -> Array:
    """The mean logits of those experts that are right about an image; of all where none is.

    Args:
        model: the experts' architecture.
        experts: the last parameters of each.
        images: `[N, H, W, C]` normalised.
        classes: `[N]` their classes.

    Returns:
        `[N, Y]`.
    """
    given = np.stack([_logits(model, params, images) for params in experts])
    return jnp.asarray(mean_of_right(given, np.asarray(classes)))


def mean_of_right(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The mean over experts of logits `[E, N, Y]` whose largest is the class `[N]`; `[N, Y]`."""
    right = logits.argmax(-1) == classes
    weights = np.where(right.any(0), right, True)[..., None].astype(logits.dtype)
    return (weights * logits).sum(0) / weights.sum(0)


def _of_class(
    key: PRNGKey,
    source: Source,
    spec: Spec,
    model: Model,
    experts: Sequence[PyTree],
    wanted: tuple[int, np.ndarray, int],
) -> np.ndarray:
    """Indices of the images that are taken of one class."""
    number, members, ipc = wanted
    own = np.asarray(jax.random.permutation(key, members[members >= 0]))
    taken: list[int] = []
    for params in experts:
        for start in range(0, len(own), BATCH):
            if len(taken) == ipc:
                return np.array(taken)
            some = own[start : start + BATCH]
            images = normalise(spec, jnp.asarray(np.asarray(source.images[some])))
            right = some[_logits(model, params, images).argmax(-1) == number]
            taken += [int(i) for i in right if i not in taken][: ipc - len(taken)]
    return np.array((taken + [int(i) for i in own if i not in taken])[:ipc])


def _logits(model: Model, params: PyTree, images: Array) -> np.ndarray:
    """Logits `[N, Y]` of one expert, some images at a time."""
    rows = []
    for start in range(0, len(images), BATCH):
        index = np.minimum(np.arange(start, start + BATCH), len(images) - 1)
        rows.append(np.asarray(_forward(model, params, images[index])))
    return np.concatenate(rows)[: len(images)]


@functools.partial(jax.jit, static_argnums=0)
def _forward(model: Model, params: PyTree, images: Array) -> Array:
    return model.apply(from_params(params), images).logits
