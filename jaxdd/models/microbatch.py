"""Large batches through a trained network with little memory, exactly."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdd import passes
from jaxdd.types import Array, Model, Moments, Outputs, Variables


def microbatched(model: Model, size: int) -> Model:
    """The same network in test mode, a part of the batch at a time:
    INFER's 1,000 images of 224x224 in one step.

    Running moments normalise, so images do not interact, and the batch moments of `Outputs` follow
    from those of the parts: with n_p values in part p and N in all, mean = sum_p n_p mean_p / N and
    var = sum_p n_p (var_p + (mean_p - mean)^2) / N. Value and gradient are those of the whole
    batch; activations are those of one part, computed again in the backward pass.

    Args:
        model: in test mode: with batch statistics the parts would be normalised apart.
        size: images per part and device; the last part may be smaller, and a small batch is one
            part.

    Raises:
        ValueError: when traced, a `size` below 1.
    """

    def apply(variables: Variables, images: Array) -> Outputs:
        def part(images: Array):
            out = model.apply(variables, images)
            return (out.logits, out.features, out.maps), out.moments

        (logits, features, maps), groups = passes.microbatched(part, images, per_device=size)
        return Outputs(
            logits,
            features,
            maps,
            {path: _pooled([group[path] for group in groups]) for path in groups[0]},
        )

    return Model(model.init, apply)


def _pooled(groups: Sequence[Moments]) -> Moments:
    """The moments of all parts together; those of one size `[parts, D]` come stacked."""
    if len(groups) == 1:
        return _of_equal(groups[0])
    parts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(_of_equal, groups))
    weights = (parts.count / parts.count.sum()).astype(parts.mean.dtype)[:, None]
    mean = (weights * parts.mean).sum(0)
    var = (weights * (parts.var + jnp.square(parts.mean - mean[None]))).sum(0)
    return Moments(mean, var, parts.count.sum())


def _of_equal(parts: Moments) -> Moments:
    mean = parts.mean.mean(0)
    return Moments(
        mean, parts.var.mean(0) + jnp.square(parts.mean - mean[None]).mean(0), parts.count.sum(0)
    )
