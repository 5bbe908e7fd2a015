"""Every pixel of every stored image is a free parameter."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxdd.types import Array, Parametrization, PRNGKey, PyTree, SyntheticSet

# mean and std per channel that normalise a pixel in [0, 1]
Normalisation = tuple[Sequence[float], Sequence[float]]


def pixels(box: Normalisation | None = None) -> Parametrization:
    """Every pixel is a free parameter, labels are fixed (DC, DSA, DM; with a box SRe2L).

    Args:
        box: (mean, std) of each channel; given, `project` clips the normalised pixels to those of
            [0, 1]. None: nothing is clamped.

    Raises:
        ValueError: from `init`: a `box` of other channels.

    Note:
        The matching papers optimise in normalised space without a pixel box: values outside [0, 1]
        are clamped only in pictures. SRe2L clips after every step.
    """

    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        del key
        if box:
            check_box(box, initial.images.shape[-1])
        return {'images': initial.images}, {'labels': initial.labels}

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        return SyntheticSet(params['images'], fixed['labels'])

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        del fixed
        return {'images': clipped(params['images'], box)} if box else params

    return Parametrization(init, decode, project, by_class=True)


def clipped(images: Array, box: Normalisation) -> Array:
    """Normalised images clipped to what pixels in [0, 1] can be:
    [-mean / std, (1 - mean) / std] per channel."""
    # in float32 the bounds would be an ulp off
    mean, std = (np.asarray(values, np.float64) for values in box)
    return jnp.clip(images, channels_of(-mean / std, images), channels_of((1 - mean) / std, images))


def check_box(box: Normalisation, channels: int) -> None:
    """Refuses normalisation constants for another number of channels."""
    mean, std = box
    if (len(mean), len(std)) != (channels, channels):
        raise ValueError(
            f'box must be (mean, std) of the {channels} channels of the images, '
            f'got {len(mean)} means and {len(std)} stds'
        )


def channels_of(values: Sequence[float] | np.ndarray, images: Array) -> Array:
    """One value per channel, as an array that combines with images."""
    return jnp.asarray(values, images.dtype).reshape((1,) * (images.ndim - 1) + (-1,))
