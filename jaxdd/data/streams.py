"""Shuffled epochs of sets that lie on disk:
images are decoded and cropped on the host while the devices train."""

import collections
import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxdd import checks, parallel
from jaxdd.bound import bind
from jaxdd.data.batches import epoch_order, steps_per_epoch
from jaxdd.data.image_files import TRIES, FolderImages, cores, resized_crop
from jaxdd.data.prefetch import ahead, on_host
from jaxdd.data.specs import Spec, normalise
from jaxdd.types import Array, Batch, PRNGKey, Source, Stream

_VIEW = 0x51E3  # separates crops and flips from the order of the images
CROPS = (None, 'resized')


class HostBatch(NamedTuple):
    """One mini-batch of b images as it leaves the host."""

    images: np.ndarray  # [rows, H, W, C] uint8, the rows of this process
    labels: np.ndarray  # [b] int32
    weights: np.ndarray  # [b] float32, 0 for the padding of a short last batch
    mirrored: np.ndarray  # [b] bool, which images the devices will mirror


class _Plan(NamedTuple):
    index: np.ndarray  # [b]
    weights: np.ndarray  # [b]
    draws: np.ndarray  # [b, TRIES, 4] uniform in [0, 1), for the crops
    mirrored: np.ndarray  # [b]


def epochs_stream(
    source: Source,
    spec: Spec,
    *,
    batch_size: int,
    crop: str | None = None,
    flip: bool | None = None,
    scale: tuple[float, float] = (0.08, 1.0),
    workers: int | None = None,
    prefetch: int = 2,
) -> Stream:
    """The mini-batches of `epochs`, decoded on the host ahead of time:
    for sets that do not fit on the devices.

    The same images in the same order as `epochs` gives for the same key and step; crops and flips
    follow from (key, step) as well, so a run resumes at any step. Of several processes each decodes
    only the rows of its own devices. The batches go into `loop.run` with the step of
    `fit.make_fit_step`.

    Args:
        source: the training set; its images may be an array, memory-mapped, or `FolderImages`.
        spec: gives image shape, normalisation and number of classes.
        batch_size: b, images; at most the size of the set.
        crop: 'resized' shows a random-resized crop of every image (see `lazy.crop_box`), cut from
            the file at its own resolution where the images are `FolderImages`; None shows the
            images as they are.
        flip: whether half of the images, at random, are mirrored; None = with `crop` where
            `spec.flip` allows it.
        scale: least and largest area of a crop, fractions of the image's.
        workers: decoding threads; None = one per usable core.
        prefetch: batches that are decoded ahead; one more lies on the devices.

    Returns:
        A feed of `Batch`, images `[b, H, W, C]` float32 divided among the devices.

    Raises:
        ValueError: an unknown `crop`, a `scale` that is no interval within (0, 1], or another
            number below 1.
    """
    check(batch_size=batch_size, crop=crop, scale=scale, workers=workers, prefetch=prefetch)
    batch_size = min(batch_size, len(source.labels))
    flip = crop is not None and spec.flip if flip is None else flip
    to_batch = jax.jit(bind(_to_batch, spec, flip))

    def start(key: PRNGKey, step: int) -> Iterator[Batch]:
        batches = host_batches(
            key,
            step,
            source,
            spec,
            batch_size=batch_size,
            crop=crop,
            scale=scale,
            workers=workers,
            prefetch=prefetch,
            rows=parallel.own_rows(batch_size),
        )
        sent = (
            to_batch(parallel.assemble(images, batch_size), *parallel.sent(rest))
            for images, *rest in batches
        )
        # another one lies on the devices meanwhile
        yield from (now for now, _ in itertools.pairwise(sent))

    return Stream(start)


def host_batches(
    key: PRNGKey,
    step: int,
    source: Source,
    spec: Spec,
    *,
    batch_size: int,
    crop: str | None = None,
    scale: tuple[float, float] = (0.08, 1.0),
    workers: int | None = None,
    prefetch: int = 2,
    rows: np.ndarray | None = None,
) -> Iterator[HostBatch]:
    """What `epochs_stream` does on the host:
    mini-batches from `step` on, without end, not yet normalised.

    Args:
        key, step, source, spec, batch_size, crop, scale, workers, prefetch: as in `epochs_stream`.
        rows: which of the b images of every batch to decode, ascending; None = all.
    """
    check(batch_size=batch_size, crop=crop, scale=scale, workers=workers, prefetch=prefetch)
    labels, workers = np.asarray(source.labels, np.int32), workers or cores()
    batch_size = min(batch_size, len(labels))
    rows = np.arange(batch_size) if rows is None else rows
    view = _viewer(source.images, spec.image_shape, crop, scale)
    waiting: collections.deque[tuple[_Plan, np.ndarray, list[Future]]] = collections.deque()
    plans = ahead(_planner(on_host(key), len(labels), batch_size), step, prefetch)
    pool = ThreadPoolExecutor(workers)
    try:
        for plan in plans:
            images = np.empty((len(rows), *spec.image_shape), np.uint8)
            # Several per core, so that no core waits for the last one of a batch.
            parts = [
                part for part in np.array_split(np.arange(len(rows)), 4 * workers) if len(part)
            ]
            waiting.append(
                (
                    plan,
                    images,
                    [pool.submit(_fill, images, view, plan, rows, part) for part in parts],
                )
            )
            if len(waiting) > prefetch:
                plan, images, futures = waiting.popleft()
                for future in futures:
                    future.result()
                yield HostBatch(images, labels[plan.index], plan.weights, plan.mirrored)
    finally:
        pool.shutdown(cancel_futures=True)


def check(
    *,
    batch_size: int,
    crop: str | None,
    scale: tuple[float, float],
    workers: int | None,
    prefetch: int,
) -> None:
    """Refuses what `epochs_stream` cannot do.

    Raises:
        ValueError: see there.
    """
    checks.one_of('crop', crop, CROPS)
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(
            f'scale is the least and the largest area of a crop, fractions of the image with '
            f'0 < least <= largest <= 1, got {tuple(scale)}'
        )
    for name, value in (('batch_size', batch_size), ('workers', workers), ('prefetch', prefetch)):
        if value is not None and value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')


def _planner(key: PRNGKey, size: int, batch_size: int) -> Callable[[int], _Plan]:
    """Which images and which random numbers each step has;
    the order of an epoch is worked out once."""
    words, per_epoch = (
        np.asarray(jax.random.key_data(key)).ravel().tolist(),
        steps_per_epoch(size, batch_size),
    )

    @functools.lru_cache(maxsize=1)
    def order(epoch: int) -> np.ndarray:
        with parallel.host():
            return np.asarray(epoch_order(key, epoch, size=size))

    def plan(step: int) -> _Plan:
        at = (step % per_epoch) * batch_size + np.arange(batch_size)
        # every process draws for the whole batch
        rng = np.random.default_rng([_VIEW, *words, step])
        return _Plan(
            order(step // per_epoch)[at % size],
            (at < size).astype(np.float32),
            rng.random((batch_size, TRIES, 4)),
            rng.random(batch_size) < 0.5,
        )

    return plan


def _viewer(
    images: Any, shape: tuple[int, int, int], crop: str | None, scale: tuple[float, float]
) -> Callable[[int, np.ndarray], np.ndarray]:
    """(index, draws `[TRIES, 4]`) -> what is shown of an image, `[H, W, C]` uint8."""
    if crop is None:
        return lambda index, draws: images[index]
    if isinstance(images, FolderImages):
        return lambda index, draws: images.crop(index, draws, shape[:2], scale)

    def cropped(index: int, draws: np.ndarray) -> np.ndarray:
        image = images[index]
        picture = Image.fromarray(np.asarray(image[..., 0] if shape[-1] == 1 else image))
        return np.asarray(resized_crop(picture, draws, shape[:2], scale)).reshape(shape)

    return cropped


def _fill(
    images: np.ndarray,
    view: Callable[[int, np.ndarray], np.ndarray],
    plan: _Plan,
    rows: np.ndarray,
    part: np.ndarray,
) -> None:
    for i in part:
        images[i] = view(plan.index[rows[i]], plan.draws[rows[i]])


def _to_batch(
    spec: Spec, flip: bool, images: Array, labels: Array, weights: Array, mirrored: Array
) -> Batch:
    images = parallel.shard(normalise(spec, images))
    if flip:
        images = jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return Batch(images, jax.nn.one_hot(labels, spec.num_classes), weights)
