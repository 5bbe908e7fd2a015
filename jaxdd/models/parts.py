"""Large batches through a trained network with little memory, exactly."""
import jax.numpy as jnp

from jaxdd import parallel
from jaxdd.types import Array, Model, Moments, Outputs, Variables


def in_parts(model: Model, size: int) -> Model:
    """The same network in test mode, a part of the batch at a time: INFER's 1,000 images of 224x224 in one step.

    Running moments normalise, so images do not interact, and the batch moments of `Outputs` follow from those of the
    parts: mean = E[mean_p], var = E[var_p] + E[(mean_p - mean)^2] over parts of equal size. Value and gradient are
    those of the whole batch; activations are those of one part, computed again in the backward pass.

    Args:
        model: in test mode: with batch statistics the parts would be normalised apart.
        size: images per part and device; it must divide the batch.
    """
    def apply(variables: Variables, images: Array) -> Outputs:
        def part(images: Array):
            out = model.apply(variables, images)
            return (out.logits, out.features, out.maps), out.moments

        (logits, features, maps), moments = parallel.in_parts(part, images, per_device=size)
        return Outputs(logits, features, maps, {path: _pooled(parts) for path, parts in moments.items()})

    return Model(model.init, apply)


def _pooled(parts: Moments) -> Moments:
    mean = parts.mean.mean(0)
    return Moments(mean, parts.var.mean(0) + jnp.square(parts.mean - mean[None]).mean(0), parts.count.sum(0))
