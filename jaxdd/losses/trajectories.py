"""How far a student's parameters end from those that an expert reached."""

import jax
import jax.numpy as jnp
import optax

from jaxdd.types import Array, PyTree


def normalized_parameter_distance(params: PyTree, start: PyTree, target: PyTree) -> Array:
    """Squared distance to an expert's parameters, as a share of the way that the expert went.

    ||params - target||^2 / ||start - target||^2, the matching loss of Cazenavette et al., "Dataset
    Distillation by Matching Training Trajectories" (MTT, CVPR 2022),
    https://arxiv.org/abs/2203.11932. Norms run over every parameter of the network, scales and
    biases of norms and the classifier included.

    Args:
        params: where the student is after its steps on the synthetic set.
        start: where student and expert began; a tree like `params`.
        target: where the expert is some epochs later.

    Returns:
        Scalar without a unit: 0 at the target, 1 for a student that did not move.

    Note:
        Nothing is added to the denominator: an expert that did not move gives infinity, or NaN for
        a student that did not move either.
    """
    away, way = (jax.tree.map(jnp.subtract, one, target) for one in (params, start))
    return optax.tree.norm(away, squared=True) / optax.tree.norm(way, squared=True)
