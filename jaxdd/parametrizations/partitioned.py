"""Every stored image is a mosaic of small ones."""

import functools

import jax.numpy as jnp

from jaxdd.checks import one_of
from jaxdd.parametrizations import mosaics
from jaxdd.parametrizations.pixels import Normalisation, channels_of, check_box
from jaxdd.types import Parametrization, PRNGKey, PyTree, SyntheticSet

ENCODERS = {'mean': mosaics.encode_mean, 'nearest': mosaics.encode_nearest}


FORMS = ('single', 'multi', 'bound')


def partitioned(
    factor: int,
    *,
    order: str,
    shrink: str,
    box: Normalisation | None = None,
    form: str = 'single',
    limit: int | None = None,
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
        form: 'single' decodes at `factor`; 'multi' at every factor from 1 up to it; 'bound' into at
            most `limit` images per class, the first stored ones at the largest factors that fit
            (`mosaics.decode_bounded`), of which students see the 'single' decoding.
        limit: of 'bound', decoded images per class; at least ipc.

    Returns:
        The parametrization. Of 'multi' and 'bound' every decoded image has the label of its class's
        first one.

    Raises:
        ValueError: unknown `order`, `shrink` or `form`, `factor` below 1, or 'bound' without a
            `limit`. From `init`: images per class that are not a multiple of factor**2, a `box` of
            other channels, more stored images than `limit`, or, without a box, a side that `factor`
            does not divide.

    Note:
        IDC's code clips once per outer iteration, i.e. every 100 * K updates; here it is after
        every update. As in its code, sides that `factor` does not divide are padded with grey
        (0.5) when decoded, which needs a box.
    """
    one_of('tile order', order, mosaics.ORDERS)
    one_of('shrink', shrink, ENCODERS)
    one_of('form', form, FORMS)
    if form == 'bound' and limit is None:
        raise ValueError("the form 'bound' needs a limit, the decoded images per class")
    if factor < 1:
        raise ValueError(f'factor must be at least 1 tile per side, got {factor}')

    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        del key
        height, width, channels = initial.images.shape[-3:]
        if not box:
            mosaics.check_factor(height, width, factor)
        images = initial.images
        if box:
            check_box(box, channels)
            images = images * channels_of(box[1], images) + channels_of(box[0], images)
        stored = ENCODERS[shrink](images, factor, order=order)
        if form == 'bound' and stored.shape[1] > limit:
            raise ValueError(
                f'limit must be at least the {stored.shape[1]} stored images per class, got {limit}'
            )
        return {'images': stored}, {'labels': initial.labels}

    def formed(form: str, params: PyTree, fixed: PyTree) -> SyntheticSet:
        stored, labels = params['images'], fixed['labels']
        grey = jnp.full(stored.shape[-1], 0.5, stored.dtype) if box else None
        how = {'order': order, 'padding': grey}
        if form == 'single':
            images = mosaics.decode(stored, factor, **how)
        elif form == 'multi':
            images = mosaics.decode_multi(stored, factor, **how)
        else:
            assert limit is not None  # refused above
            images = mosaics.decode_bounded(stored, factor, limit, **how)
        if form != 'single':
            labels = jnp.repeat(labels[:, :1], images.shape[1], axis=1)
        if box:
            images = (images - channels_of(box[0], images)) / channels_of(box[1], images)
        return SyntheticSet(images, labels)

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        del fixed
        return {'images': jnp.clip(params['images'], 0, 1)} if box else params

    decode, shown = (functools.partial(formed, one) for one in (form, 'single'))
    seen = shown if form == 'bound' else None
    return Parametrization(init, decode, project, seen, by_class=True)
