"""Improved distribution matching.

Zhao et al., Improved Distribution Matching for Dataset Condensation (CVPR 2023),
https://arxiv.org/abs/2307.09742.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxdd.losses import mean_feature_distance, soft_cross_entropy
from jaxdd.networks import forgetting, queue, real_batches
from jaxdd.parametrizations import partitioned
from jaxdd.terms import named
from jaxdd.types import Augment, Method, Model, Observation, PRNGKey, Read, Recipe, Term


def objective(*, ce_weight: float) -> Term:
    """Mean features, and the synthetic images' cross-entropy weighted by the encoder's accuracy.

    sum_c ||mean psi(A(real_c)) - mean psi(A(syn_c))||^2 + ce_weight * a * mean CE(A(syn_c), c),
    with a the encoder's running training accuracy in PERCENT. Reads features and logits under one
    shared augmentation A per class; sum over classes.

    Args:
        ce_weight: per percent, as published (0.5: a network with 45 % weighs its cross-entropy 22.5
            times).

    Note:
        The paper does not name the accuracy's unit; percent is what its code multiplies by.
    """
    real, synthetic = Read('encoder', 'real'), Read('encoder', 'synthetic')

    def loss(observation: Observation, key: PRNGKey):
        del key
        target = jax.lax.stop_gradient(observation.outputs[real].features)
        seen = observation.outputs[synthetic]
        distance = mean_feature_distance(
            target, seen.features, real_weights=observation.inputs.real_weights
        ).sum()
        cross_entropy = jnp.mean(
            soft_cross_entropy(seen.logits, observation.synthetic.labels), axis=1
        ).sum()
        percent = 100 * jax.lax.stop_gradient(observation.networks['encoder'].accuracy)
        return distance + ce_weight * percent * cross_entropy, {'loss/cross_entropy': cross_entropy}

    return named('idm', Term(frozenset({real, synthetic}), loss))


def idm(
    model: Model,
    recipe: Recipe,
    *,
    augment: Augment,
    ce_weight: float,
    factor: int = 2,
    max_size: int = 100,
    push_every: int = 30,
    train_count: int = 2,
    reset_every: int | None = None,
    training: Model | None = None,
    classes: Literal['joint', 'sequential'] = 'sequential',
) -> Method:
    """IDM: mosaics of factor x factor tiles and a queue of networks trained on real data.

    Each class takes its own step.

    Args:
        model: the encoder; with batch norm in running-moments mode.
        recipe: of a queue's network after each step: SGD with learning rate 0.01, momentum 0.9,
            weight decay 5e-4, 10 updates in the paper's commands.
        augment: a Siamese transform (`augment.shared`), one draw per class.
        ce_weight: of the cross-entropy, per percent of the encoder's accuracy; see `objective`.
        factor: tiles per side of a stored image; 1: no partition.
        max_size, push_every, train_count: the queue, see `networks.queue`.
        reset_every: steps after which all networks forget their accuracies; None: never.
        training: the same architecture in batch-statistics mode, if it has batch norm.
        classes: 'sequential' as in the authors' code; 'joint' takes one step on the class sum.

    Returns:
        A `Method`; its feed must supply `Inputs.real`, and `Inputs.mixed` with train_count *
        recipe.num_steps mini-batches.

    Raises:
        ValueError: a count or `factor` below 1; from `init_state`: images that `factor` does not
            divide.

    Note:
        All images share one momentum buffer, so with 'sequential' each class's step also moves the
        other classes by what their buffers hold: for ten classes or more nearly plain SGD with
        twice the learning rate. That is the authors' algorithm, reproduced as it is. Their special
        loss for one image per class without partition is not.
    """
    grown = queue(
        training or model,
        recipe,
        max_size=max_size,
        push_every=push_every,
        train_count=train_count,
        draw=real_batches(train_count * recipe.num_steps),
    )
    if reset_every is not None:
        grown = forgetting(grown, every=reset_every)
    return Method(
        partitioned(factor, order='column', shrink='mean'),
        objective(ce_weight=ce_weight),
        grown,
        {'encoder': model},
        augment,
        classes,
    )
