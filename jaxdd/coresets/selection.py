"""Core-sets of a data set: the real images that a rule chooses in the features of a network."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import checks
from jaxdd.coresets import greedy
from jaxdd.data import Spec, chosen_subset, class_members, normalise
from jaxdd.types import Array, Model, PRNGKey, Source, SyntheticSet, Variables

BATCH = 256  # images per forward pass


# (key, features [M, D], valid [M], num=n) -> positions [n]
RULES: dict[str, Callable[..., Array]] = {
    'herding': lambda key, *of_class, num: greedy.herding(*of_class, num=num),
    'k-center': lambda key, *of_class, num: greedy.k_center(*of_class, num=num),
    'k-means': greedy.k_means,
}


def coreset(
    key: PRNGKey,
    rule: str,
    source: Source,
    spec: Spec,
    model: Model,
    variables: Variables,
    *,
    ipc: int,
) -> SyntheticSet:
    """Real images of every class, chosen in the features of one network; the core-set baselines.

    Args:
        key: of what is random in the rule: the first centres of 'k-means', nothing of the others.
        rule: 'herding' (`greedy.herding`), 'k-center' (`greedy.k_center`) or 'k-means'
            (`greedy.k_means`).
        source, spec: the training set.
        model: whose features are looked at, in test mode.
        variables: of the model, trained on real images.
        ipc: images per class, each at most once.

    Returns:
        Normalised images `[Y, ipc, H, W, C]` and one-hot labels, in class order; the images of a
        class in the order in which they were chosen.

    Raises:
        ValueError: an unknown rule; `ipc` below 1 or above the smallest class.
    """
    checks.one_of('rule', rule, RULES)
    members = class_members(source, spec.num_classes, 1)[0]
    checks.images_per_class(ipc, (members >= 0).sum(axis=1))
    chosen = []
    for number, row in enumerate(members):
        features = _features(model, variables, source, spec, row)
        found = _chosen(rule, ipc, jax.random.fold_in(key, number), features, jnp.asarray(row >= 0))
        chosen.append(row[np.asarray(found)])
    return chosen_subset(source, spec, np.stack(chosen))


def _features(
    model: Model, variables: Variables, source: Source, spec: Spec, row: np.ndarray
) -> Array:
    """`[M, D]` of one class, whatever where the row is padded: classes share one program."""
    index = np.resize(row[row >= 0], -(-len(row) // BATCH) * BATCH)
    parts = [
        _forward(model, spec, variables, jnp.asarray(np.asarray(source.images[some])))
        for some in index.reshape(-1, BATCH)
    ]
    return jnp.concatenate(parts)[: len(row)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _forward(model: Model, spec: Spec, variables: Variables, images: Array) -> Array:
    return model.apply(variables, normalise(spec, images)).features


@functools.partial(jax.jit, static_argnums=(0, 1))
def _chosen(rule: str, num: int, key: PRNGKey, features: Array, valid: Array) -> Array:
    return RULES[rule](key, features, valid, num=num)
