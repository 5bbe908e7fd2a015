"""Gradient matching.

Zhao, Mopuri & Bilen, Dataset Condensation with Gradient Matching (DC, ICLR 2021),
https://arxiv.org/abs/2006.05929; Zhao & Bilen, Dataset Condensation with Differentiable Siamese
Augmentation (DSA, ICML 2021), https://arxiv.org/abs/2102.08259.
"""

from jaxdd.losses import layerwise_cosine_distance
from jaxdd.methods._gradient_matching import Distance, gradient_matching
from jaxdd.networks import resetting, synthetic_batches
from jaxdd.parametrizations import pixels
from jaxdd.types import Augment, Method, Model, Recipe, Supervision


def dc(
    model: Model,
    recipe: Recipe,
    *,
    augment: Augment,
    supervision: Supervision,
    every: int,
    distance: Distance = layerwise_cosine_distance,
    training: Model | None = None,
) -> Method:
    """DC and DSA: free pixels and gradient matching.

    A network trains on the synthetic set between the steps.

    One step on the class sum, then `recipe.num_steps` updates of the network on the synthetic set;
    a new network after every `every` steps. In the papers' words: `every` is the outer loop,
    `recipe.num_steps` the inner one.

    Args:
        model: the encoder, e.g. ConvNet-3; with batch norm in running-moments mode.
        recipe: of the network between steps: SGD with learning rate 0.01, batches of 256 in the
            papers.
        augment: a Siamese transform (`augment.shared`), one draw per class: DSA.
            `augment.identity()`: DC.
        supervision: what the network trains on, `relabel.hard(...)`: with per-image DSA in DSA,
            without in DC.
        every: steps that one network serves.
        distance: of `jaxdd.losses`; DC's code also offers `squared_distance` and `cosine_distance`.
        training: the same architecture in batch-statistics mode, if it has batch norm.

    Returns:
        A `Method`; its feed must supply `Inputs.real`.

    Raises:
        ValueError: `every` below 1.
    """
    grown = resetting(
        training or model,
        recipe,
        every=every,
        draw=synthetic_batches(supervision, recipe.batch_size),
    )
    return Method(
        pixels(),
        gradient_matching('dc', model, distance),
        grown,
        {'encoder': model},
        augment,
        'joint',
    )
