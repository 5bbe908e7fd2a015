"""One additive image for all classes is learned, natural images are kept."""

import jax.numpy as jnp

from jaxdd.types import Parametrization, PRNGKey, PyTree, SyntheticSet


def compensated() -> Parametrization:
    """Natural images stay, and one additive image for all classes is learned (INFER's compensator).

    s_{c,i} = x_{c,i} + u_i: image i of every class shares the compensator u_i, which costs 1/Y of
    an image per class. Zhang et al., Breaking Class Barriers (INFER, ICLR 2025),
    https://arxiv.org/abs/2408.06927.

    params: {'compensators': `[n, H, W, C]`, zero at the start}, fixed: {'images': `[K, n, H, W,
    C]`, 'labels'}.

    Note:
        Nothing is clipped while distilling, as in the authors' code, whose clip never reaches the
        compensator; clip the decoded images once, when they are stored (`clipped`).
    """

    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        del key
        return (
            {'compensators': jnp.zeros_like(initial.images[0])},
            {'images': initial.images, 'labels': initial.labels},
        )

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        return SyntheticSet(fixed['images'] + params['compensators'][None], fixed['labels'])

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        del fixed
        return params

    return Parametrization(init, decode, project)
