"""What is learned beside the images: the students' learning rate, and their labels."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdd.types import Parametrization, PRNGKey, PyTree, SyntheticSet

RATE, LABELS = 'learning_rate', 'labels'  # the names of what is moved beside the images


def with_learning_rate(parametrization: Parametrization, start: float) -> Parametrization:
    """The learning rate of the students is learned, too.

    Cazenavette et al., "Dataset Distillation by Matching Training Trajectories" (MTT, CVPR 2022),
    https://arxiv.org/abs/2203.11932: one trainable step size for all inner steps. params gain
    {'learning_rate': scalar}, which `SyntheticSet.learning_rate` shows.

    Args:
        parametrization: of the images, with a dict as params.
        start: the rate before the first step.

    Raises:
        ValueError: `start` is not above 0.

    Note:
        Nothing keeps the rate above 0. A run stops at the step that takes it there
        (`loop.NonFiniteError`), as the authors' run would go on without learning.
    """
    if not start > 0:
        raise ValueError(f'the learning rate must start above 0, got {start}')

    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        params, fixed = parametrization.init(key, initial)
        return {**params, RATE: jnp.asarray(start, initial.images.dtype)}, fixed

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        made = parametrization.decode(_without(params, RATE), fixed)
        return made._replace(learning_rate=params[RATE])

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        return {**parametrization.project(_without(params, RATE), fixed), RATE: params[RATE]}

    return Parametrization(init, decode, project)


def with_soft_labels(parametrization: Parametrization) -> Parametrization:
    """The labels are learned, too: probabilities softmax(l) of logits l that are moved.

    Guo et al., "Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching"
    (DATM, ICLR 2024), https://arxiv.org/abs/2310.05773. `init` takes the logits as the labels of
    the initial set `[K, n, Y]` (`coresets.predicted`); params gain {'labels': logits}.

    Args:
        parametrization: of the images, with dicts as params and as what is fixed, whose 'labels'
            are those that it was given.
    """

    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        params, fixed = parametrization.init(key, initial)
        return {**params, LABELS: fixed[LABELS]}, _without(fixed, LABELS)

    def shown(params: PyTree, fixed: PyTree) -> PyTree:
        return {**fixed, LABELS: jax.nn.softmax(params[LABELS])}

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        return parametrization.decode(_without(params, LABELS), shown(params, fixed))

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        inner = parametrization.project(_without(params, LABELS), shown(params, fixed))
        return {**inner, LABELS: params[LABELS]}

    return Parametrization(init, decode, project)


def _without(tree: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: leaf for other, leaf in tree.items() if other != name}
