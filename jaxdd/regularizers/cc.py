"""Class centralization, IID (CVPR 2024)."""

from jaxdd.losses import class_centralization
from jaxdd.types import Observation, PRNGKey, Read, Term


def cc(
    read: Read = Read('proxy', 'synthetic', 'augmented'),
    *,
    form: str = 'squared',
    alpha: float = 0.02,
    beta: float = 1.0,
) -> Term:
    """Pulls the synthetic images of a class together in a trained network's feature space.

    Deng et al., Exploiting Inter-sample and Inter-feature Relations in Dataset Distillation (CVPR
    2024), L_CC; the sum over images and classes of `losses.class_centralization`.

    Args:
        read: the pass whose features are centralized; a proxy by default, under the objective's
            augmentation.
        form, alpha, beta: as in `losses.class_centralization`.

    Note:
        The sum over images makes the pull per image independent of n, while DM's shrinks as 1/n:
        the relative strength grows with images per class.
    """

    def loss(observation: Observation, key: PRNGKey):
        del key
        features = observation.outputs[read].features
        return class_centralization(features, form=form, alpha=alpha, beta=beta).sum(), {}

    return Term(frozenset({read}), loss)
