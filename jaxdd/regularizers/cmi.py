"""Class-aware conditional mutual information, CMI (ICLR 2025)."""

from jaxdd.losses import conditional_mutual_information
from jaxdd.types import Observation, PRNGKey, Read, Term


def cmi(read: Read = Read('proxy', 'synthetic', 'raw')) -> Term:
    """Minimises I(S; Z | Y) of the synthetic images in a trained network's feature space.

    Zhong et al., Going Beyond Feature Similarity: Effective Dataset Distillation based on
    Class-aware Conditional Mutual Information (ICLR 2025), https://arxiv.org/abs/2412.09945,
    CMI_emp; the mean over images of KL(P_s || Q_y) in nats, i.e. the mean over classes of
    `losses.conditional_mutual_information`.

    Args:
        read: the pass whose features are read; a proxy on un-augmented images by default, as in the
            code.
    """

    def loss(observation: Observation, key: PRNGKey):
        del key
        return conditional_mutual_information(observation.outputs[read].features).mean(), {}

    return Term(frozenset({read}), loss)
