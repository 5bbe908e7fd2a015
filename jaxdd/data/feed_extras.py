"""What a feed supplies beside the class-stratified batch:
mini-batches of all classes, the whole set to choose from."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import feeds, parallel
from jaxdd.bound import bind
from jaxdd.data.batches import class_members, gathered, resident
from jaxdd.data.prefetch import ahead, on_host
from jaxdd.data.specs import Spec, normalise
from jaxdd.types import Array, Batch, Candidates, Feed, Inputs, PRNGKey, Source, Stream

_AHEAD = 2  # steps whose mini-batches a stream gathers before they are asked for
_MIXED = 0x3123D  # separates these draws from those of the class-stratified batch


def with_minibatches(
    feed: Feed[Inputs], source: Source, spec: Spec, *, num_batches: int, batch_size: int
) -> Feed[Inputs]:
    """A feed that also supplies random mini-batches of real images with one-hot labels:
    encoders train on them.

    Args:
        feed: a device feed, e.g. `stratified(...)`, or a `Stream`.
        source: the training set.
        spec: gives normalisation and number of classes.
        num_batches: S, mini-batches per step.
        batch_size: b, images; at most the size of the set. Within a step no image comes twice, if
            the set has S * b of them.

    Returns:
        The feed with `Inputs.mixed`: images `[S, b, H, W, C]` float32 divided among the devices
        along b, labels `[S, b, Y]`, weights `[S, b]` all 1.

    Raises:
        ValueError: `num_batches` or `batch_size` below 1.
    """
    for name, value in (('num_batches', num_batches), ('batch_size', batch_size)):
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    shape = num_batches, min(batch_size, len(source.labels))
    if feeds.comes_from_host(feed):
        return _mixed_stream(feed, source, spec, shape)
    images, labels = _resident(source, feed), parallel.replicate(jnp.asarray(source.labels))
    return feeds.transform(feed, bind(_with_minibatches, spec, shape), images, labels)


def with_candidates(feed: Feed[Inputs], source: Source, spec: Spec) -> Feed[Inputs]:
    """A feed that also supplies the whole set.

    Some methods choose their real images from it (`representative`).

    Raises:
        ValueError: a `Stream`, whose set does not lie on the devices.
    """
    if feeds.comes_from_host(feed):
        raise ValueError(
            'representative sampling looks at the whole set at once and needs it on the devices; '
            'use a device feed (data.stratified)'
        )
    rows = class_members(source, spec.num_classes, 1)[0]
    candidates = _resident(source, feed), parallel.replicate(jnp.asarray(rows))
    return feeds.transform(feed, bind(_with_candidates, spec), candidates)


def _resident(source: Source, feed) -> Array:
    """The set's images on the devices:
    the feed's own copy where it has one, so that a run holds no second."""
    rows = np.asarray(source.images).reshape(len(source.images), -1)
    for leaf in jax.tree.leaves(feed):
        if (leaf.shape, leaf.dtype) == (rows.shape, rows.dtype) and np.array_equal(leaf, rows):
            return leaf
    return parallel.replicate(resident(rows))


def _mixed_stream(feed: Stream, source: Source, spec: Spec, shape: tuple[int, int]) -> Stream:
    pick, to_batch = jax.jit(bind(_pick, len(source.labels), shape)), jax.jit(bind(_batch, spec))
    labels = np.asarray(source.labels)

    def gather(own: np.ndarray, key: PRNGKey, step: int) -> tuple[np.ndarray, np.ndarray]:
        with parallel.host():
            index = np.asarray(pick(key, step))
        return np.asarray(source.images[index[:, own]]), labels[index]

    def start(key: PRNGKey, step: int) -> Iterator[Inputs]:
        batches = ahead(
            functools.partial(gather, parallel.own_rows(shape[1]), on_host(key)), step, _AHEAD
        )
        for inputs, (images, of_them) in zip(feed.start(key, step), batches):
            shown = parallel.assemble(images, shape[1], 1), parallel.sent(of_them)
            yield inputs._replace(mixed=to_batch(*shown))

    return Stream(start)


def _with_candidates(
    spec: Spec, arrays: tuple[Array, Array], inputs: Inputs, key: PRNGKey, step: Array
) -> Inputs:
    del key, step
    rows, members = arrays
    images = rows.reshape(len(rows), *spec.image_shape)
    return inputs._replace(candidates=Candidates(images, members))


def _with_minibatches(
    spec: Spec,
    shape: tuple[int, int],
    images: Array,
    labels: Array,
    inputs: Inputs,
    key: PRNGKey,
    step: Array,
) -> Inputs:
    index = parallel.replicate(_pick(len(labels), shape, key, step))
    shown = gathered(spec, images, parallel.shard(index, 1))
    return inputs._replace(mixed=_batch(spec, shown, labels[index]))


def _pick(size: int, shape: tuple[int, int], key: PRNGKey, step: Array) -> Array:
    """Indices `[S, b]`: the start of a permutation of the set, or of as many as it takes."""
    key = jax.random.fold_in(jax.random.fold_in(key, _MIXED), step)
    total = shape[0] * shape[1]
    rounds = -(-total // size)
    orders = [jax.random.permutation(jax.random.fold_in(key, i), size) for i in range(rounds)]
    return jnp.concatenate(orders)[:total].reshape(shape)


def _batch(spec: Spec, images: Array, labels: Array) -> Batch:
    return Batch(
        parallel.shard(normalise(spec, images), 1),
        jax.nn.one_hot(labels, spec.num_classes),
        jnp.ones(labels.shape),
    )
