"""Local covariance matching, IID (CVPR 2024)."""

import jax

from jaxdd.losses import local_covariance_distance
from jaxdd.types import Observation, PRNGKey, Read, Term


def cm(
    real: Read = Read('encoder', 'real'),
    synthetic: Read = Read('encoder', 'synthetic'),
    *,
    descriptor: str = 'channel',
) -> Term:
    """Matches the channel covariance of local features, synthetic to real.

    Deng et al., Exploiting Inter-sample and Inter-feature Relations in Dataset Distillation (CVPR
    2024), L_CM; the sum over classes of `losses.local_covariance_distance`. On DM and IDM it shares
    their forward passes.

    Args:
        real: the pass that gives the target maps; no gradient flows through it.
        synthetic: the pass that is matched to it.
        descriptor: as in `losses.local_covariance_distance`.
    """

    def loss(observation: Observation, key: PRNGKey):
        del key
        target = jax.lax.stop_gradient(observation.outputs[real].maps)
        weights = observation.inputs.real_weights
        return local_covariance_distance(
            target,
            observation.outputs[synthetic].maps,
            real_weights=weights,
            descriptor=descriptor,
        ).sum(), {}

    return Term(frozenset({real, synthetic}), loss)
