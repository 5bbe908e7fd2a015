"""Gradient matching: the objective of DC, DSA and IDC, as a term."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdd import passes
from jaxdd.losses import soft_cross_entropy
from jaxdd.parametrizations import subset
from jaxdd.terms import named
from jaxdd.types import (
    Array,
    Metrics,
    Model,
    Observation,
    PRNGKey,
    PyTree,
    Read,
    SyntheticSet,
    Term,
    Variables,
)

Distance = Callable[[PyTree, PyTree], Array]  # (real gradient, synthetic gradient) -> scalar
Real = tuple[Array, Array | None]  # images [K, B, H, W, C], weights [K, B]; K of one left out
OneClass = Callable[..., Array]  # (images, encoder, labels, real, real label) -> scalar


def gradient_matching(
    name: str, model: Model, distance: Distance, *, max_synthetic: int | None = None
) -> Term:
    """Distance of the gradients that real and synthetic images give the encoder, class by class.

    sum_c D(grad_theta mean CE(real_c), grad_theta mean CE(synthetic_c)); Zhao, Mopuri & Bilen,
    Dataset Condensation with Gradient Matching (ICLR 2021), https://arxiv.org/abs/2006.05929. Real
    gradients are constants; with `Inputs.real_weights` their mean is sum_b w_b CE_b / sum_b w_b.
    Reads the images themselves under one shared augmentation per class; sum over classes.

    Args:
        name: of the metric `loss/<name>`.
        model: the encoder's architecture; with batch norm by running moments.
        distance: of `jaxdd.losses`, e.g. `layerwise_cosine_distance`.
        max_synthetic: most synthetic images per class and step, a new random choice each time
            (IDC's 128); None: all.

    Note:
        The gradient to the images is computed class by class next to the loss, so that memory does
        not grow with the number of classes; the term can be differentiated once, with respect to
        the images.
    """
    reads = frozenset({Read('', 'real'), Read('', 'synthetic')})

    def loss(observation: Observation, key: PRNGKey) -> tuple[Array, Metrics]:
        images, labels = observation.images['synthetic', 'augmented'], observation.synthetic.labels
        targets, encoder = observation.images['real', 'augmented'], observation.networks['encoder']
        classes = _classes(observation)
        if max_synthetic is not None:
            given = SyntheticSet(images, labels)
            images, labels, _ = subset.of_each_class(key, classes, given, max_synthetic)
        real_labels = jax.nn.one_hot(classes, labels.shape[-1], dtype=labels.dtype)
        one = functools.partial(_one_class, model, distance)
        real = jax.lax.stop_gradient(targets), observation.inputs.real_weights
        return _sum_over_classes(one, images, encoder, labels, real, real_labels), {}

    return named(name, Term(reads, loss))


def _classes(observation: Observation) -> Array:
    if observation.classes is None:
        raise ValueError(
            'gradient matching goes class by class, but the observation does not say which classes '
            'it holds; give `Observation.classes`, as `distill.observe` does'
        )
    return observation.classes


def _one_class(
    model: Model,
    distance: Distance,
    images: Array,
    encoder: Variables,
    labels: Array,
    real: Real,
    real_label: Array,
) -> Array:
    def gradient(size: int, images: Array, labels: Array, shares: Array | None = None) -> PyTree:
        def cross_entropy(params: PyTree) -> Array:
            logits = model.apply(encoder._replace(params=params), images).logits
            values = soft_cross_entropy(logits, labels)
            return jnp.sum(values if shares is None else shares * values) / size

        return jax.grad(cross_entropy)(encoder.params)

    targets, weights = real
    batch, size = (
        (targets, jnp.broadcast_to(real_label, (len(targets), *real_label.shape))),
        len(targets),
    )
    if weights is not None:
        weights = weights.astype(real_label.dtype)
        batch, size = (*batch, weights / weights.sum()), 1
    target = passes.chunked_sum(functools.partial(gradient, size), *batch)
    return distance(jax.lax.stop_gradient(target), gradient(len(images), images, labels))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_over_classes(
    function: OneClass,
    images: Array,
    encoder: Variables,
    labels: Array,
    real: Real,
    real_labels: Array,
) -> Array:
    """Sum over the leading axis of `function(images_c, encoder, labels_c, ...)`,
    one compiled body for all classes."""
    return jnp.sum(
        jax.lax.map(
            lambda one: function(one[0], encoder, *one[1:]), (images, labels, real, real_labels)
        )
    )


def _forward(
    function: OneClass,
    images: Array,
    encoder: Variables,
    labels: Array,
    real: Real,
    real_labels: Array,
) -> tuple[Array, Array]:
    def one(batch: Any) -> tuple[Array, Array]:
        return jax.value_and_grad(function)(batch[0], encoder, *batch[1:])

    values, gradients = jax.lax.map(one, (images, labels, real, real_labels))
    return jnp.sum(values), gradients


def _backward(
    function: OneClass, gradients: Array, cotangent: Array
) -> tuple[Array, None, None, None, None]:
    del function
    return cotangent * gradients, None, None, None, None


_sum_over_classes.defvjp(_forward, _backward)
