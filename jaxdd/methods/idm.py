"""Improved distribution matching.

Zhao et al., Improved Distribution Matching for Dataset Condensation (CVPR 2023),
https://arxiv.org/abs/2307.09742.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxdd.losses import mean_feature_distance, soft_cross_entropy
from jaxdd.networks import Growth, forgetting, queue, real_batches
from jaxdd.parametrizations import partitioned
from jaxdd.terms import named
from jaxdd.types import Array, Augment, Method, Model, Observation, PRNGKey, Read, Recipe, Term


def objective(
    *, ce_weight: float, easiest: int | None = None, only_misclassified: bool = False
) -> Term:
    """Mean features, and the synthetic images' cross-entropy weighted by the encoder's accuracy.

    sum_c ||mean psi(A(real_c)) - mean psi(A(syn_c))||^2 + ce_weight * a * mean CE(A(syn_c), c),
    with a the encoder's running training accuracy in PERCENT. Reads features and logits under one
    shared augmentation A per class; sum over classes.

    Args:
        ce_weight: per percent, as published (0.5: a network with 45 % weighs its cross-entropy 22.5
            times).
        easiest: real images per class that are matched, those of the lowest cross-entropy; None:
            all.
        only_misclassified: whether synthetic images that the encoder classifies correctly have no
            cross-entropy. The mean still divides by all of them.

    Note:
        The authors' code reduces real images to the 2,560 easiest, and spares what is classified
        correctly, for one image per class without partition, and nowhere else.
        The paper does not name the accuracy's unit; percent is what its code multiplies by.
    """
    real, synthetic = Read('encoder', 'real'), Read('encoder', 'synthetic')

    def loss(observation: Observation, key: PRNGKey):
        del key
        target = jax.lax.stop_gradient(observation.outputs[real])
        seen, labels = observation.outputs[synthetic], observation.synthetic.labels
        weights = observation.inputs.real_weights
        if easiest is not None:
            weights = _of_easiest(target.logits, _classes(observation), weights, easiest)
        distance = mean_feature_distance(target.features, seen.features, real_weights=weights).sum()
        values = soft_cross_entropy(seen.logits, labels)
        if only_misclassified:
            values = jnp.where(seen.logits.argmax(-1) == labels.argmax(-1), 0, values)
        cross_entropy = jnp.mean(values, axis=1).sum()
        percent = 100 * jax.lax.stop_gradient(observation.networks['encoder'].accuracy)
        return distance + ce_weight * percent * cross_entropy, {'loss/cross_entropy': cross_entropy}

    return named('idm', Term(frozenset({real, synthetic}), loss))


def _classes(observation: Observation) -> Array:
    """One-hot labels `[K, Y]` of the classes of a step."""
    labels = observation.synthetic.labels
    return jax.nn.one_hot(observation.classes, labels.shape[-1], dtype=labels.dtype)


def _of_easiest(logits: Array, classes: Array, weights: Array | None, count: int) -> Array:
    """Weights `[K, B]` that leave, of each class, the images of lowest cross-entropy."""
    weights = jnp.ones(logits.shape[:2], logits.dtype) if weights is None else weights
    if logits.shape[1] <= count:
        return weights
    values = soft_cross_entropy(logits, jnp.broadcast_to(classes[:, None], logits.shape))
    # what only fills up a class is no image of it
    kept = jax.lax.top_k(-jnp.where(weights > 0, values, jnp.inf), count)[1]
    return weights * jax.vmap(lambda row: jnp.zeros(logits.shape[1]).at[row].set(1))(kept)


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
    growth: Growth = Growth(),
    easiest: int | None = None,
    only_misclassified: bool = False,
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
        max_size, push_every, train_count, growth: the queue, see `networks.queue`.
        reset_every: steps after which all networks forget their accuracies; None: never.
        easiest, only_misclassified: see `objective`.
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
        twice the learning rate. That is the authors' algorithm, reproduced as it is.
    """
    grown = queue(
        training or model,
        recipe,
        max_size=max_size,
        push_every=push_every,
        train_count=train_count,
        growth=growth,
        draw=real_batches(train_count * recipe.num_steps),
    )
    if reset_every is not None:
        grown = forgetting(grown, every=reset_every)
    return Method(
        partitioned(factor, order='column', shrink='mean'),
        objective(ce_weight=ce_weight, easiest=easiest, only_misclassified=only_misclassified),
        grown,
        {'encoder': model},
        augment,
        classes,
    )
