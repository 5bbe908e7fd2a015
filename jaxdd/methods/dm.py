"""Distribution matching. Zhao & Bilen, Dataset Condensation with Distribution Matching (WACV 2023),
https://arxiv.org/abs/2110.04181."""

import jax

from jaxdd.losses import mean_feature_distance
from jaxdd.networks import fresh
from jaxdd.parametrizations import pixels
from jaxdd.terms import named
from jaxdd.types import Augment, Method, Model, Observation, PRNGKey, Read, Term


def objective(name: str = 'dm') -> Term:
    """Squared distance of the class means of features:
    sum_c ||mean psi(A(real_c)) - mean psi(A(syn_c))||^2.

    Reads the encoder's features of real and synthetic images under one shared augmentation A per
    class; sum over classes and features, as in equation 4 of the paper.

    Args:
        name: of the metric `loss/<name>`.
    """
    real, synthetic = Read('encoder', 'real'), Read('encoder', 'synthetic')

    def loss(observation: Observation, key: PRNGKey):
        del key
        target = jax.lax.stop_gradient(observation.outputs[real].features)
        weights = observation.inputs.real_weights
        return mean_feature_distance(
            target, observation.outputs[synthetic].features, real_weights=weights
        ).sum(), {}

    return named(name, Term(frozenset({real, synthetic}), loss))


def dm(model: Model, *, augment: Augment) -> Method:
    """Distribution matching: free pixels, a fresh random network per step, a step on the class sum.

    Args:
        model: the encoder, e.g. ConvNet-3. With batch norm give the batch-statistics mode: all
            classes of a pass are normalised together, as in the authors' code.
        augment: a Siamese transform (`augment.shared`); every class gets its own draw, the same for
            real and synthetic images.

    Returns:
        A `Method`; its feed must supply `Inputs.real`.
    """
    return Method(pixels(), objective(), fresh(model), {'encoder': model}, augment, 'joint')
