"""What is learned: how stored parameters become the synthetic images."""
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxdd import tiles
from jaxdd.checks import one_of
from jaxdd.types import Array, Parametrization, PRNGKey, PyTree, SyntheticSet

ENCODERS = {'mean': tiles.encode_mean, 'nearest': tiles.encode_nearest}


Box = tuple[Sequence[float], Sequence[float]]    # mean and std per channel that normalise a pixel in [0, 1]


def pixels(box: Box | None = None) -> Parametrization:
    """Every pixel is a free parameter, labels are fixed (DC, DSA, DM; with a box SRe2L).

    Args:
        box: (mean, std) of each channel; given, `project` clips the normalised pixels to those of [0, 1]. None:
            nothing is clamped.

    Raises:
        ValueError: from `init`: a `box` of other channels.

    Note:
        The matching papers optimise in normalised space without a pixel box: values outside [0, 1] are clamped
        only in pictures. SRe2L clips after every step.
    """
    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        del key
        if box:
            _check_box(box, initial.images.shape[-1])
        return {'images': initial.images}, {'labels': initial.labels}

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        return SyntheticSet(params['images'], fixed['labels'])

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        del fixed
        return {'images': clipped(params['images'], box)} if box else params

    return Parametrization(init, decode, project)


def compensated() -> Parametrization:
    """Natural images are kept, and one additive image for all classes is learned (INFER's compensator).

    s_{c,i} = x_{c,i} + u_i: image i of every class shares the compensator u_i, which costs 1/Y of an image per class.
    Zhang et al., Breaking Class Barriers (INFER, ICLR 2025), https://arxiv.org/abs/2408.06927.

    params: {'compensators': `[n, H, W, C]`, zero at the start}, fixed: {'images': `[K, n, H, W, C]`, 'labels'}.

    Note:
        Nothing is clipped while distilling, as in the authors' code, whose clip never reaches the compensator; clip
        the decoded images once, when they are stored (`clipped`).
    """
    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        del key
        return ({'compensators': jnp.zeros_like(initial.images[0])},
                {'images': initial.images, 'labels': initial.labels})

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        return SyntheticSet(fixed['images'] + params['compensators'][None], fixed['labels'])

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        del fixed
        return params

    return Parametrization(init, decode, project)


def clipped(images: Array, box: Box) -> Array:
    """Normalised images clipped to what pixels in [0, 1] can be: [-mean / std, (1 - mean) / std] per channel."""
    mean, std = (np.asarray(values, np.float64) for values in box)    # in float32 the bounds would be an ulp off
    return jnp.clip(images, _channels(-mean / std, images), _channels((1 - mean) / std, images))


def partitioned(factor: int, *, order: str, shrink: str,
                box: Box | None = None) -> Parametrization:
    """Every stored image is a mosaic of factor x factor small ones, which decoding enlarges (IDM, IDC).

    n = factor**2 * ipc images from the memory of ipc: decoded image tile * ipc + i is tile number `tile` of
    stored image i, enlarged bilinearly. Zhao et al., "Improved Distribution Matching for Dataset
    Condensation", CVPR 2023, https://arxiv.org/abs/2307.09742; Kim et al., "Dataset Condensation via
    Efficient Synthetic-Data Parameterization", ICML 2022, https://arxiv.org/abs/2205.14959.

    `init` takes n images per class; each fills the tile from which `decode` returns it at the same index,
    with its label. params: {'images': `[K, ipc, H, W, C]`}, fixed: {'labels': `[K, n, Y]`}.

    Args:
        factor: tiles per side; 1 stores plain images (IDC-I).
        order: of the tiles: 'column' (IDM) or 'row' (IDC); see `tiles.decode`.
        shrink: how `init` makes tiles: 'mean' averages blocks (IDM), 'nearest' skips pixels (IDC).
        box: (mean, std) of each channel that normalise a pixel in [0, 1]. Given, pixels are stored, `project`
            clips them to [0, 1] and decoded images are normalised (IDC). None: stored as normalised and
            unbounded (IDM).

    Returns:
        The parametrization, for sides that `factor` divides.

    Raises:
        ValueError: unknown `order` or `shrink`, or `factor` below 1. From `init`: a side that `factor` does
            not divide, images per class that are not a multiple of factor**2, or a `box` of other channels.

    Note:
        IDC's code clips once per outer iteration, i.e. every 100 * K updates; here it is after every update.
        It pads sides that `factor` does not divide; `tiles.decode` can, this parametrization refuses them.
    """
    one_of('tile order', order, tiles.ORDERS)
    one_of('shrink', shrink, ENCODERS)
    if factor < 1:
        raise ValueError(f'factor must be at least 1 tile per side, got {factor}')

    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        del key
        height, width, channels = initial.images.shape[-3:]
        tiles.check_factor(height, width, factor)
        images = initial.images
        if box:
            _check_box(box, channels)
            images = images * _channels(box[1], images) + _channels(box[0], images)
        return {'images': ENCODERS[shrink](images, factor, order=order)}, {'labels': initial.labels}

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        images = tiles.decode(params['images'], factor, order=order)
        if box:
            images = (images - _channels(box[0], images)) / _channels(box[1], images)
        return SyntheticSet(images, fixed['labels'])

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        del fixed
        return {'images': jnp.clip(params['images'], 0, 1)} if box else params

    return Parametrization(init, decode, project)


def _check_box(box: Box, channels: int) -> None:
    """Refuses normalisation constants for another number of channels."""
    mean, std = box
    if (len(mean), len(std)) != (channels, channels):
        raise ValueError(f'box must be (mean, std) of the {channels} channels of the images, '
                         f'got {len(mean)} means and {len(std)} stds')


def _channels(values: Sequence[float], images: Array) -> Array:
    """One value per channel, as an array that combines with images."""
    return jnp.asarray(values, images.dtype).reshape((1,) * (images.ndim - 1) + (-1,))
