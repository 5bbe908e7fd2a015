"""Label sets in the form that fast knowledge distillation publishes them, read and written.

Shen & Xing, A Fast Knowledge Distillation Framework for Visual Recognition (ECCV 2022),
https://arxiv.org/abs/2112.01528; SRe2L (NeurIPS 2023, https://arxiv.org/abs/2306.13092) and its
successors publish such folders: `epoch_<e>/batch_<i>.tar`, each a torch file with what one
mini-batch was shown (crops, flips, mix) and what a teacher said of it. `replay` keeps a key in
place of what was shown; this form is what other programs read.
"""

import contextlib
import io
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import parallel
from jaxdd.augment import cropping, geometry, mixing
from jaxdd.bound import bind
from jaxdd.labels import relabel
from jaxdd.storage.atomic import write_whole
from jaxdd.types import Array, Batch, Model, PRNGKey, SyntheticSet, Variables

SEED = 42  # of the order of the images, in the authors' code
PARTS = ('crops', 'flips', 'partners', 'lambda', 'box', 'logits')


class Mixing(NamedTuple):
    """How mini-batches are cropped and mixed when they are labelled."""

    scale: float = 0.08  # least area of a crop, as a share of the image's
    flip: bool = True
    cutmix: float | None = 1.0  # alpha; None: no CutMix
    mixup: float | None = None  # alpha, where there is no CutMix; None: no mixing


class Store(NamedTuple):
    """E epochs of S mini-batches of up to b images; the last of an epoch is padded."""

    order: np.ndarray  # [E, S, b] int32, which images; -1 where there are no more
    crop: np.ndarray  # [E, S, b, 4] float32 top / H, left / W, height / H, width / W
    flip: np.ndarray  # [E, S, b] bool
    partner: np.ndarray  # [E, S, b] int32, places within the mini-batch
    lam: np.ndarray  # [E, S] float32; 1 where nothing is blended
    box: np.ndarray  # [E, S, 4] int32, first row and column and those behind the last; 0: none
    logits: np.ndarray  # [E, S, b, Y] float16


def orders(num_images: int, batch_size: int, num_epochs: int) -> np.ndarray:
    """The images of every mini-batch as torch's sampler draws them, in `Store.order`.

    Note:
        The order is not in the files: whoever reads them must draw it again, with a version of
        torch whose `RandomSampler` draws alike. Those since 1.12 do; needs torch.
    """
    torch = _torch()
    sampler = torch.utils.data.RandomSampler(
        range(num_images), generator=torch.Generator().manual_seed(SEED)
    )
    count = -(-num_images // batch_size)
    rows = np.full((num_epochs, count * batch_size), -1, np.int32)
    for row in rows:
        row[:num_images] = list(sampler)
    return rows.reshape(num_epochs, count, batch_size)


def record(
    key: PRNGKey,
    synthetic: SyntheticSet,
    models: Sequence[Model],
    variables: Sequence[Variables],
    *,
    order: np.ndarray,
    how: Mixing = Mixing(),
) -> Store:
    """Labels every mini-batch of a training: the mean of the teachers' logits, as float16.

    Args:
        key: of crops, flips and mixes.
        synthetic: images `[K, n, H, W, C]`, class-major as the files' image numbers count them.
        models, variables: of the teachers, in test mode.
        order: see `orders`.
        how: crops and mixes.
    """
    num_epochs, count, batch_size = order.shape
    size = synthetic.images.shape[2:4]
    draw = jax.jit(lambda key: _draws(key, batch_size, size, how))
    show = jax.jit(_shown)
    rows: list[list[np.ndarray]] = [[] for _ in Store._fields[1:]]
    for step in range(num_epochs * count):
        epoch, place = divmod(step, count)
        left = int((order[epoch, place] >= 0).sum())
        k_step = jax.random.fold_in(key, step)
        drawn = draw(k_step)
        partner = np.arange(batch_size)  # padding is its own partner
        own = jax.random.permutation(jax.random.fold_in(k_step, left), left)
        partner[:left] = np.asarray(own)
        drawn = drawn._replace(partner=jnp.asarray(partner, jnp.int32))
        images = show(synthetic.images, jnp.asarray(order[epoch, place]), drawn)
        logits = relabel.mean_logits(tuple(models), tuple(variables), images)
        for found, one in zip(rows, (*drawn[1:6], logits)):
            found.append(parallel.fetched(one))
    shape = (num_epochs, count)
    stacked = [np.stack(row).reshape(*shape, *row[0].shape) for row in rows]
    stored = Store(order, *stacked)
    return stored._replace(logits=_half(stored.logits))


def supervision(store: Store) -> jax.tree_util.Partial:
    """Shows the recorded mini-batches with the logits kept; a student's own key is ignored.

    Mini-batches beyond the recorded ones have NaN labels, at which a training stops.
    """
    return jax.tree_util.Partial(bind(_replayed), jax.tree.map(jnp.asarray, store))


def read(folder: str | os.PathLike, order: np.ndarray, num_classes: int) -> Store:
    """Reads the epochs that a training needs.

    Args:
        folder: holds `epoch_<e>/batch_<i>.tar`, from 0 on.
        order: see `orders`; its shape says how many mini-batches of how many images there must be.
        num_classes: Y.

    Raises:
        ValueError: a file that is missing, cannot be read without running its code, or holds
            something else. Needs torch.
    """
    num_epochs, count, batch_size = order.shape
    rows: list[list[np.ndarray]] = [[] for _ in Store._fields[1:]]
    for epoch in range(num_epochs):
        for place in range(count):
            left = int((order[epoch, place] >= 0).sum())
            path = pathlib.Path(folder) / f'epoch_{epoch}' / f'batch_{place}.tar'
            for found, one in zip(rows, _batch(path, left, batch_size, num_classes)):
                found.append(one)
    shape = (num_epochs, count)
    return Store(order, *(np.stack(row).reshape(*shape, *row[0].shape) for row in rows))


def write(folder: str | os.PathLike, store: Store) -> None:
    """Writes `epoch_<e>/batch_<i>.tar`, each file whole or not at all; needs torch."""
    torch = _torch()
    for epoch, place in np.ndindex(store.order.shape[:2]):
        left = int((store.order[epoch, place] >= 0).sum())
        crop, flip, partner, lam, box, logits = (part[epoch, place] for part in store[1:])
        parts = [
            torch.from_numpy(crop[:left].copy()),
            torch.from_numpy(flip[:left].copy()),
            torch.from_numpy(partner[:left].astype(np.int64)),
            float(lam),
            [int(edge) for edge in box] if box.any() else None,
            torch.from_numpy(logits[:left].copy()),
        ]
        content = io.BytesIO()
        torch.save(parts, content)
        path = pathlib.Path(folder) / f'epoch_{epoch}' / f'batch_{place}.tar'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())


def num_bytes(store: Store) -> int:
    """Bytes of the labels and of what was shown."""
    return sum(part.nbytes for part in store)


def _draws(key: PRNGKey, count: int, size: tuple[int, ...], how: Mixing) -> Store:
    """What one mini-batch undergoes; `order`, `partner` and `logits` are left empty."""
    k_crop, k_flip, k_lam, k_centre = jax.random.split(key, 4)
    crop = cropping.draw_resized_crop(k_crop, count, size, scale=(how.scale, 1.0))
    flip = geometry.draw_flip(k_flip, count) & how.flip
    lam, box = jnp.float32(1), jnp.zeros(4, jnp.int32)
    if how.cutmix is not None:
        share = jax.random.beta(k_lam, how.cutmix, how.cutmix, (), jnp.float32)
        centre = jax.random.randint(k_centre, (2,), 0, jnp.array(size, jnp.int32), jnp.int32)
        box = jnp.concatenate(mixing.box(share, centre, size))
    elif how.mixup is not None:
        lam = jax.random.beta(k_lam, how.mixup, how.mixup, (), jnp.float32)
    sides = jnp.array([*size, *size], jnp.float32)[None]
    nothing = jnp.zeros(0)
    return Store(nothing, crop / sides, flip, nothing, lam, box, nothing)


def _shown(images: Array, index: Array, drawn: Store) -> Array:
    """Images `[b, H, W, C]` as one mini-batch was shown them."""
    images = images.reshape(-1, *images.shape[2:])[jnp.maximum(index, 0)]
    size = images.shape[1:3]
    boxes = jnp.round(drawn.crop * jnp.array([*size, *size], jnp.float32)[None]).astype(jnp.int32)
    images = geometry.flip(cropping.resized_crop(images, boxes, size), drawn.flip)
    none = jnp.zeros((len(images), 1))  # labels are the teachers'
    images, _ = mixing.blend(images, none, drawn.partner, jnp.where(drawn.box.any(), 1, drawn.lam))
    region = mixing.Box(drawn.box[:2], drawn.box[2:])
    return mixing.paste(images, none, drawn.partner, region)[0]


def _replayed(
    store: Store, key: PRNGKey, step: Array, synthetic: SyntheticSet, batch_size: int
) -> Batch:
    del key
    epochs, count, size = store.order.shape
    if size != batch_size:
        raise ValueError(
            f'labels were recorded for mini-batches of {size} images, the training has '
            f'{batch_size}: use the batch size of the recording'
        )
    if store.logits.shape[-1] != synthetic.labels.shape[-1]:
        raise ValueError(
            f'labels of {store.logits.shape[-1]} classes were recorded, the synthetic set has '
            f'{synthetic.labels.shape[-1]}'
        )
    at = jnp.minimum(step, epochs * count - 1)
    now = jax.tree.map(lambda part: part[at // count, at % count], store)
    images = _shown(synthetic.images, now.order, now)
    labels = jnp.where(step < epochs * count, now.logits.astype(jnp.float32), jnp.nan)
    return Batch(images, labels, (now.order >= 0).astype(images.dtype))


def _batch(
    path: pathlib.Path, left: int, batch_size: int, num_classes: int
) -> tuple[np.ndarray, ...]:
    """One file, padded to `batch_size` images."""
    parts = _loaded(path)
    try:
        crop, flip, partner, logits = (np.asarray(parts[i]) for i in (0, 1, 2, 5))
        lam = np.float32(1 if parts[3] is None else parts[3])
        box = np.asarray([0] * 4 if parts[4] is None else parts[4], np.int32)
        shapes = {'crops': (crop, 4), 'logits': (logits, num_classes)}
        for name, (found, width) in shapes.items():
            if found.shape != (left, width):
                raise ValueError(f'{name} must be ({left}, {width}), got {found.shape}')
        if flip.shape != (left,) or partner.shape != (left,) or box.shape != (4,):
            raise ValueError(f'flips and partners must be {left} numbers, the box four')
        if not (np.sort(partner) == np.arange(left)).all() or not np.isfinite(logits).all():
            raise ValueError('partners must be a permutation, logits finite numbers')
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f'{path} holds other labels than were asked for: {error}') from error
    padded = batch_size - left
    return (
        np.pad(crop.astype(np.float32), ((0, padded), (0, 0)), constant_values=1),
        np.pad(flip.astype(bool), (0, padded)),
        np.concatenate([partner, np.arange(left, batch_size)]).astype(np.int32),
        lam,
        box,
        _half(np.pad(logits, ((0, padded), (0, 0)))),
    )


def _loaded(path: pathlib.Path) -> Sequence[Any]:
    """The six parts of a file; no code of it runs."""
    if not path.is_file():
        raise ValueError(
            f'{path} is not there; a training needs the labels of every epoch: train for fewer, '
            'or record them'
        )
    torch = _torch()
    scalar = np._core.multiarray.scalar  # lambda and box were drawn with NumPy
    known = [scalar, np.dtype, type(np.dtype('f8')), type(np.dtype('i8'))]
    try:
        with torch.serialization.safe_globals(known), contextlib.redirect_stderr(io.StringIO()):
            parts = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # of many kinds
        raise ValueError(f'{path} cannot be read: {str(error).splitlines()[0]}') from error
    if not isinstance(parts, list | tuple) or len(parts) != len(PARTS):
        raise ValueError(f'{path} must hold {", ".join(PARTS)}, and holds something else')
    return parts


def _half(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over='ignore'):
        kept = np.asarray(logits, np.float16)
    if not np.isfinite(kept).all():
        raise ValueError('labels are not all finite as float16: look at the teachers')
    return kept


def _torch() -> Any:
    try:
        import torch
        import torch.utils.data
    except ImportError as error:
        raise ValueError(
            'label stores of fast knowledge distillation are torch files in the order of its '
            'sampler, and torch is not installed; use replayed labels instead'
        ) from error
    return torch
