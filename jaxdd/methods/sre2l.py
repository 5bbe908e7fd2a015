"""Squeeze, recover and relabel.

Yin, Xing & Shen, Squeeze, Recover and Relabel: Dataset Condensation at ImageNet Scale From A New
Perspective (SRe2L, NeurIPS 2023), https://arxiv.org/abs/2306.13092.
"""

from jaxdd.methods import _recovery
from jaxdd.networks import pretrained
from jaxdd.parametrizations import Normalisation, pixels
from jaxdd.types import Augment, Curriculum, Method, Model


def sre2l(
    model: Model,
    *,
    augment: Augment | Curriculum,
    box: Normalisation,
    bn_weight: float = 0.01,
    first_bn_weight: float = 10.0,
    tv_weight: float = 0.0,
    norm_weight: float = 0.0,
) -> Method:
    """SRe2L's recovery: free pixels in a box and one squeezed network.

    One augmentation serves the whole batch.

    Distil in chunks (`chunks.run`), each a batch of its own: the moments are those of its images.
    The papers' chunk is one image of each of 100 classes; their optimiser is Adam with b1 0.5, b2
    0.9 and a learning rate that falls to 0 along a cosine.

    Args:
        model: the squeezed network in test mode, with batch norm.
        augment: e.g. `augment.recovery(jitter=4)`; a `Curriculum` for CDA
            (https://arxiv.org/abs/2311.18838).
        box: (mean, std) per channel; images are clipped to pixels in [0, 1] after every step.
        bn_weight, first_bn_weight, tv_weight, norm_weight: see `methods._recovery.objective`.

    Returns:
        A `Method`; its feed must supply the network as `Inputs.pretrained['encoder']`.
    """
    objective = _recovery.objective(
        'sre2l',
        bn_weight=bn_weight,
        first_bn_weight=first_bn_weight,
        tv_weight=tv_weight,
        norm_weight=norm_weight,
    )
    return Method(
        pixels(box), objective, pretrained(), {'encoder': model}, augment, 'joint', 'step'
    )
