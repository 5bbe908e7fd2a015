"""A random part of a decoded set."""

import jax

from jaxdd.types import Array, PRNGKey, SyntheticSet


def of_each_class(key: PRNGKey, classes: Array, synthetic: SyntheticSet, size: int) -> SyntheticSet:
    """Some images of every class at random, with their labels (IDC's 128 per class and step).

    Args:
        key: class c draws with `fold_in(key, c)`.
        classes: `[K]` int32, which classes the set holds.
        synthetic: images `[K, n, ...]`.
        size: images per class, none twice; the set comes back unchanged where it has no more.
    """
    count = synthetic.images.shape[1]
    if count <= size:
        return synthetic
    keys = jax.vmap(lambda c: jax.random.fold_in(key, c))(classes)
    index = jax.vmap(lambda k: jax.random.permutation(k, count)[:size])(keys)
    images, labels = (
        jax.vmap(lambda rows, i: rows[i])(each, index)
        for each in (synthetic.images, synthetic.labels)
    )
    return synthetic._replace(images=images, labels=labels)
