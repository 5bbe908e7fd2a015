"""Every stored image is a mosaic of small ones."""

import jax.numpy as jnp

from jaxdd.checks import one_of
from jaxdd.parametrizations import mosaics
from jaxdd.parametrizations.pixels import Normalisation, channels_of, check_box
from jaxdd.types import Parametrization, PRNGKey, PyTree, SyntheticSet

ENCODERS = {'mean': mosaics.encode_mean, 'nearest': mosaics.encode_nearest}


def partitioned(
    factor: int, *, order: str, shrink: str, box: Normalisation | None = None
) -> Parametrization:
    """Every stored image is a mosaic of factor x factor small ones.

    Decoding enlarges them (IDM, IDC).

    n = factor**2 * ipc images from the memory of ipc: decoded image tile * ipc + i is tile number
    `tile` of stored image i, enlarged bilinearly. Zhao et al., "Improved Distribution Matching for
    Dataset Condensation", CVPR 2023, https://arxiv.org/abs/2307.09742; Kim et al., "Dataset
    Condensation via Efficient Synthetic-Data Parameterization", ICML 2022,
    https://arxiv.org/abs/2205.14959.

    `init` takes n images per class; each fills the tile from which `decode` returns it at the same
    index, with its label. params: {'images': `[K, ipc, H, W, C]`}, fixed: {'labels': `[K, n, Y]`}.

    Args:
        factor: tiles per side; 1 stores plain images (IDC-I).
        order: of the tiles: 'column' (IDM) or 'row' (IDC); see `mosaics.decode`.
        shrink: how `init` makes tiles: 'mean' averages blocks (IDM), 'nearest' skips pixels (IDC).
        box: (mean, std) of each channel that normalise a pixel in [0, 1]. Given, pixels are stored,
            `project` clips them to [0, 1] and decoded images are normalised (IDC). None: stored as
            normalised and unbounded (IDM).

    Returns:
        The parametrization, for sides that `factor` divides.

    Raises:
        ValueError: unknown `order` or `shrink`, or `factor` below 1. From `init`: a side that
            `factor` does not divide, images per class that are not a multiple of factor**2, or a
            `box` of other channels.

    Note:
        IDC's code clips once per outer iteration, i.e. every 100 * K updates; here it is after
        every update. It pads sides that `factor` does not divide; `mosaics.decode` can, this
        parametrization refuses them.
    """
    one_of('tile order', order, mosaics.ORDERS)
    one_of('shrink', shrink, ENCODERS)
    if factor < 1:
        raise ValueError(f'factor must be at least 1 tile per side, got {factor}')

    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        del key
        height, width, channels = initial.images.shape[-3:]
        mosaics.check_factor(height, width, factor)
        images = initial.images
        if box:
            check_box(box, channels)
            images = images * channels_of(box[1], images) + channels_of(box[0], images)
        return {'images': ENCODERS[shrink](images, factor, order=order)}, {'labels': initial.labels}

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        images = mosaics.decode(params['images'], factor, order=order)
        if box:
            images = (images - channels_of(box[0], images)) / channels_of(box[1], images)
        return SyntheticSet(images, fixed['labels'])

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        del fixed
        return {'images': jnp.clip(params['images'], 0, 1)} if box else params

    return Parametrization(init, decode, project)
