"""Trajectory matching: the objective of MTT and DATM, as a term."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd import parallel, passes
from jaxdd.bound import bind
from jaxdd.checks import one_of
from jaxdd.data import epoch_indices
from jaxdd.losses import normalized_parameter_distance, soft_cross_entropy
from jaxdd.models import from_params
from jaxdd.networks.experts import require_no_batch_norm
from jaxdd.terms import named
from jaxdd.types import (
    Array,
    Augment,
    Expert,
    Metrics,
    Model,
    Observation,
    PRNGKey,
    PyTree,
    Read,
    SyntheticSet,
    Term,
)

GRADIENTS = ('exact', 'tesla')
FEW_STEPS = 10  # more of them, and a longer compilation saves less than 4 % of the work


class Unroll(NamedTuple):
    """A student's training on the synthetic set, through which the gradient goes."""

    num_steps: int  # n, plain SGD steps
    batch_size: int | None = None  # synthetic images per step, all of them by default
    gradient: Literal['exact', 'tesla'] = 'exact'
    # whether the backward pass computes each inner step again, in the memory of one step
    recompute: bool = True


def trajectory_matching(name: str, model: Model, augment: Augment, unroll: Unroll) -> Term:
    """Distance of a student, trained on the synthetic set, from what an expert became in epochs.

    From the expert's theta_0, i = 0 ... n - 1: theta_{i+1} = theta_i - alpha g_i with g_i =
    grad_theta mean CE(f(theta_i, A_i(X_i)), y_i), X_i the next mini-batch of a random order of the
    set; the loss is ||theta_n - theta*||^2 / ||theta_0 - theta*||^2. Cazenavette et al., "Dataset
    Distillation by Matching Training Trajectories" (MTT, CVPR 2022),
    https://arxiv.org/abs/2203.11932. Reads the images themselves; every inner step draws its own
    augmentation.

    Args:
        name: of the metric `loss/<name>`.
        model: the student's architecture; without batch norm.
        augment: of each inner step's images, e.g. `augment.independent(...)`.
        unroll: inner steps, and which gradient they give.

    Raises:
        ValueError: fewer than one inner step or image, an unknown gradient, or a model with batch
            norm. When traced: a feed without experts, or a set without a learning rate.

    Note:
        'exact' differentiates through all inner steps. By default each is computed again in the
        backward pass, which keeps n parameter vectors and one step's graph, so that its memory does
        not grow with n but for those vectors. 'tesla' is the gradient of Cui et al., "Scaling Up
        Dataset Distillation to ImageNet-1K with Constant Memory" (ICML 2023),
        https://arxiv.org/abs/2211.10586: it leaves out how X_i moves the parameters at which later
        gradients are taken. Its error grows with n; docs/trajectories.md has numbers. Their
        released code loses the factor 2 of the square on images; here it is kept.
    """
    _require(unroll)
    require_no_batch_norm(model)

    def loss(observation: Observation, key: PRNGKey) -> tuple[Array, Metrics]:
        expert, synthetic = _given(observation)
        images = observation.images['synthetic', 'raw']
        flat = synthetic._replace(
            images=_image_major(images), labels=_image_major(synthetic.labels)
        )
        end = trained(key, model, augment, unroll, flat, expert.start)
        return normalized_parameter_distance(end, expert.start, expert.target), {}

    return named(name, Term(frozenset({Read('', 'synthetic', 'raw')}), loss))


def trained(
    key: PRNGKey,
    model: Model,
    augment: Augment,
    unroll: Unroll,
    synthetic: SyntheticSet,
    start: PyTree,
) -> PyTree:
    """A student's parameters after its steps on a synthetic set, differentiable.

    Args:
        key: the order of the images and the augmentations follow from it.
        synthetic: images `[N, H, W, C]`, labels `[N, Y]` (probabilities), and the learning rate.
        start: the parameters before the first step.
    """
    k_order, k_augment = jax.random.split(key)
    size = len(synthetic.images)
    # Twice: for a step, whose only traces are its parameters and its gradient, and for each chunk
    # of it, whose graph then stays in a CPU's cache.
    again = functools.partial(jax.checkpoint, prevent_cse=False) if unroll.recompute else _once
    batch_size = min(unroll.batch_size or size, size)

    def slope(params: PyTree, i: Array) -> PyTree:
        images, labels, shares = synthetic.images, synthetic.labels, jnp.ones(size)
        if batch_size < size:  # else every step sees the whole set, whatever its order
            index, shares = epoch_indices(k_order, i, size=size, batch_size=batch_size)
            images, labels = images[index], labels[index]
        shares = shares.astype(labels.dtype) / jnp.sum(shares.astype(labels.dtype))
        images = augment(jax.random.fold_in(k_augment, i), images)
        at = jax.lax.stop_gradient(params) if unroll.gradient == 'tesla' else params
        batch = (parallel.shard_uneven(x) for x in (images, labels, shares))
        return passes.chunked_sum(again(bind(_gradient, model)), *batch, whole=[at])

    def step(params: PyTree, i: Array) -> tuple[PyTree, None]:
        rate, gradient = synthetic.learning_rate, again(slope)(params, i)
        return jax.tree.map(lambda p, g: p - (rate * g).astype(p.dtype), params, gradient), None

    # Nobody asks for the gradient to where the student starts: of few steps the first one stands
    # outside the loop, without its Hessian product, which is a third of its work.
    outside = 1 if unroll.num_steps <= FEW_STEPS else 0
    for i in range(outside):
        start = step(jax.lax.stop_gradient(start), jnp.int32(i))[0]
    return jax.lax.scan(step, start, jnp.arange(outside, unroll.num_steps))[0]


def _once(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    return function


def _gradient(model: Model, images: Array, labels: Array, shares: Array, params: PyTree) -> PyTree:
    """Gradient of sum_i shares_i CE_i to the parameters."""

    def loss(params: PyTree) -> Array:
        return jnp.sum(
            shares * soft_cross_entropy(model.apply(from_params(params), images).logits, labels)
        )

    return jax.grad(loss)(params)


def _given(observation: Observation) -> tuple[Expert, SyntheticSet]:
    """The expert and the set, both of which must be there."""
    expert, synthetic = observation.inputs.expert, observation.synthetic
    if expert is None:
        raise ValueError(
            'trajectory matching follows experts, but the feed has none; use '
            'segments.attach(feed, experts, ...)'
        )
    if synthetic.learning_rate is None:
        raise ValueError(
            'trajectory matching trains students with the learning rate of the set, which has '
            'none; use parametrizations.with_learning_rate(...)'
        )
    return expert, synthetic


def _image_major(x: Array) -> Array:
    """`[K, n, ...]` -> `[n * K, ...]`, so that a split of the images stays a split."""
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])


def _require(unroll: Unroll) -> None:
    one_of('gradient', unroll.gradient, GRADIENTS)
    for name in ('num_steps', 'batch_size'):
        value = getattr(unroll, name)
        if value is not None and value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
