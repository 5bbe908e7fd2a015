"""Multi-formation gradient matching.

Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization (IDC, ICML 2022),
https://arxiv.org/abs/2205.14959.
"""

from collections.abc import Sequence
from typing import Literal

import jax

from jaxdd.augment.mixing import Mix
from jaxdd.losses import (
    convolution_cosine_distance,
    layerwise_l1,
    layerwise_l1_mean,
    layerwise_l2,
)
from jaxdd.methods._gradient_matching import Distance, gradient_matching
from jaxdd.methods.dm import objective as feature_matching
from jaxdd.networks import real_batches, resetting
from jaxdd.parametrizations import partitioned
from jaxdd.types import Augment, Method, Model, Recipe

OF_CONVOLUTIONS = (
    layerwise_l1,
    layerwise_l2,
    layerwise_l1_mean,
    convolution_cosine_distance,
)


def idc(
    model: Model,
    recipe: Recipe,
    *,
    augment: Augment,
    box: tuple[Sequence[float], Sequence[float]],
    factor: int = 2,
    every: int = 100,
    train_augment: Augment | None = None,
    mix: Mix | None = None,
    distance: Distance | Literal['features'] = layerwise_l2,
    max_synthetic: int | None = 128,
    form: Literal['single', 'multi', 'bound'] = 'single',
    subset: Literal['match', 'step'] = 'match',
    clip_every: int = 1,
    start: str | None = None,
    training: Model | None = None,
    classes: Literal['joint', 'sequential'] = 'sequential',
) -> Method:
    """IDC: pixels in [0, 1] that decode to factor**2 images, and gradient matching.

    Networks train on real images.

    One optimiser step per class, then `recipe.num_steps` updates of the network on real
    mini-batches (`Inputs.mixed`); a new network after every `every` steps.

    Args:
        model: the encoder; with batch norm in running-moments mode.
        recipe: of the network between steps: SGD with learning rate 0.01, momentum 0.9, weight
            decay 5e-4.
        augment: a Siamese transform, e.g. `augment.shared('color_crop_cutout', mode='IDC')`.
        box: (mean, std) per channel of pixels in [0, 1].
        factor: tiles per side of a stored image; 1 is IDC-I.
        every: steps that one network serves (the paper's inner loop).
        train_augment, mix: of the network's mini-batches, e.g. per-image colour and crop, then
            CutMix.
        distance: of gradients: `layerwise_l2` (the code's 'mse'), `layerwise_l1`,
            `layerwise_l1_mean` or `convolution_cosine_distance`, of convolution kernels only, or
            `squared_distance`, of everything; 'features': no gradients, but the class means of
            features are matched (`dm.objective`), of all decoded images.
        max_synthetic: most decoded images per class and step, a random choice; None: all.
        form: how stored images decode, see `partitioned`: 'single', 'multi', or 'bound' into at
            most `max_synthetic` images per class.
        subset: who sees the random choice: the 'match' alone, or the whole 'step', regularizers too
            (of one class at a time, as in CMI's code).
        clip_every: steps after which pixels are clipped to [0, 1]; the authors' code: `every`.
        start: role of the trained network that the feed supplies for a new network to begin from
            (their ImageNet setting); None: they begin untrained.
        training: the same architecture in batch-statistics mode, if it has batch norm.
        classes: 'sequential' as in the authors' code; 'joint' takes one step on the class sum.

    Returns:
        A `Method`; its feed must supply `Inputs.real` and `Inputs.mixed`.

    Raises:
        ValueError: `every`, `factor` or `clip_every` below 1; a model without convolutions under a
            distance that sees nothing else; form 'bound' without `max_synthetic`.

    Note:
        Sides that `factor` does not divide decode with grey padding, as in the authors' code.
        The authors clip pixels to [0, 1] once per new network; here after every optimiser step,
        unless `clip_every` says otherwise. Their images are not normalised before the CMI term;
        here every network sees normalised images (`models.of_pixels` undoes it for one of them).
    """
    if distance != 'features':
        _require_convolutions(model, distance)
    grown = resetting(
        training or model,
        recipe,
        every=every,
        draw=real_batches(recipe.num_steps, augment=train_augment, mix=mix),
        start=start,
    )
    if clip_every < 1:
        raise ValueError(f'clip_every must be at least 1 step, got {clip_every}')
    if distance == 'features':
        objective = feature_matching('idc')
    else:
        own = max_synthetic if subset == 'match' else None
        objective = gradient_matching('idc', model, distance, max_synthetic=own)
    return Method(
        partitioned(factor, order='row', shrink='nearest', box=box, form=form, limit=max_synthetic),
        objective,
        grown,
        {'encoder': model},
        augment,
        classes,
        looks_at=max_synthetic if subset == 'step' else None,
        project_every=clip_every,
    )


def _require_convolutions(model: Model, distance: Distance) -> None:
    shapes = jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)).params)
    if distance in OF_CONVOLUTIONS and not any(leaf.ndim == 4 for leaf in shapes):
        raise ValueError(
            f'{distance.__name__} compares the gradients of convolutions alone, and this network '
            'has none; use squared_distance or layerwise_cosine_distance, or a convolutional '
            'network'
        )
