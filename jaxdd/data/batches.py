"""Batches drawn inside the compiled program: class-stratified for matching, epochs for training.

The whole set lies on the devices as uint8; what is drawn follows from (key, step) alone, so a run
resumes at any step without a position to save.
"""

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import checks, parallel
from jaxdd.bound import bind
from jaxdd.data.prefetch import ahead, on_host
from jaxdd.data.specs import Spec, normalise
from jaxdd.types import Array, Batch, Inputs, PRNGKey, Source, Stream, SyntheticSet


def stratified(source: Source, spec: Spec, *, per_class: int) -> jax.tree_util.Partial:
    """A device feed of real images, `per_class` of every class, without replacement within a step.

    A class with fewer gives all of its images, and its mean is over those, as in the papers' code
    (`np.random.permutation(indices_class[c])[:n]`). Its rows repeat them, with weight 0, up to the
    length of the others: of classes of 20 and 2 images, asked for 16, the second has its 2 eight
    times, and weights 1 1 0 ... 0.

    Args:
        source: the training set.
        spec: gives normalisation and number of classes.
        per_class: images per class; B is this, or the size of the largest class where that is less.

    Returns:
        Pure `(key, step) -> Inputs` with `real` `[K, B, H, W, C]` float32, divided among the
        devices along B, and `real_weights` `[K, B]` float32 if a class has fewer than B images.

    Raises:
        ValueError: `per_class` below 1, or a class without images.

    Note:
        Batch moments of a network, and terms that do not look at `Inputs.real_weights`, count the
        repetitions too.
    """
    members, weights, per_class = _prepared(source, spec, per_class)
    draw = bind(_stratified, spec, per_class)
    arrays = (
        resident(source.images),
        jnp.asarray(members),
        None if weights is None else jnp.asarray(weights),
    )
    return jax.tree_util.Partial(draw, *parallel.replicate(arrays))


def drawn_per_class(source: Source, spec: Spec, per_class: int) -> tuple[int, ...]:
    """Different real images of each class in one step of `stratified` or `streamed`:
    as many as asked for, or all.

    Raises:
        ValueError: `per_class` below 1, or a class without images.
    """
    if per_class < 1:
        raise ValueError(f'per_class must be at least 1 real image per class, got {per_class}')
    sizes = class_sizes(source, spec.num_classes)
    if not sizes.all():
        raise ValueError(
            f'class {int(sizes.argmin())} has no images; every class needs at least one'
        )
    return tuple(np.minimum(sizes, per_class).tolist())


def epochs(source: Source, spec: Spec, *, batch_size: int) -> jax.tree_util.Partial:
    """A sampler of mini-batches from shuffled epochs of a labelled set, normalised, one-hot labels.

    Args:
        source, spec: the set, its normalisation and number of classes.
        batch_size: images; a smaller set is one batch.

    Returns:
        Pure `(key, step) -> Batch`; the last batch of an epoch is padded and its padding has weight
        0.
    """
    images, labels = np.asarray(source.images), np.asarray(source.labels, np.int32)
    draw = bind(_epoch_batch, spec, batch_size)
    return jax.tree_util.Partial(draw, *parallel.replicate((resident(images), jnp.asarray(labels))))


def epoch_indices(key: PRNGKey, step: Array, *, size: int, batch_size: int) -> tuple[Array, Array]:
    """Which examples mini-batch number `step` holds when every epoch is a new permutation.

    Args:
        key: constant over the run.
        step: int32, mini-batches drawn before.
        size: examples in the set.
        batch_size: at most this many per batch; the last of an epoch may be short.

    Returns:
        indices `[b]` int32 and weights `[b]` float32 (0 marks padding), b = min(batch_size, size).
    """
    batch_size = min(batch_size, size)
    per_epoch = -(-size // batch_size)
    order = epoch_order(key, step // per_epoch, size=size)
    at = (step % per_epoch) * batch_size + jnp.arange(batch_size)
    # Padding wraps around: copies of one image would distort the moments of batch norm.
    return order[at % size], (at < size).astype(jnp.float32)


def epoch_order(key: PRNGKey, epoch: Array, *, size: int) -> Array:
    """The permutation `[size]` of one epoch of `epoch_indices`."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Mini-batches in one epoch, the short last one included."""
    return -(-size // min(batch_size, size))


def real_subset(key: PRNGKey, source: Source, spec: Spec, *, ipc: int) -> SyntheticSet:
    """Random real images as a synthetic set: the papers' initialisation and the random baseline.

    Args:
        key: which images.
        ipc: images per class, without replacement.

    Returns:
        Normalised images `[Y, ipc, H, W, C]` and one-hot labels, in class order.

    Raises:
        ValueError: `ipc` below 1 or larger than the smallest class.
    """
    members, _ = class_members(source, spec.num_classes, 1)
    checks.images_per_class(ipc, (members >= 0).sum(axis=1))
    keys = jax.random.split(key, spec.num_classes)
    chosen = np.stack(
        [
            np.asarray(jax.random.permutation(k, row[row >= 0]))[:ipc]
            for k, row in zip(keys, members)
        ]
    )
    return chosen_subset(source, spec, chosen)


def chosen_subset(source: Source, spec: Spec, chosen: np.ndarray) -> SyntheticSet:
    """Real images that somebody chose, as a synthetic set.

    Args:
        source, spec: the set.
        chosen: `[Y, n]` indices into it, a row per class.

    Returns:
        Normalised images `[Y, n, H, W, C]` and one-hot labels, in class order.
    """
    images = jnp.asarray(np.asarray(source.images[chosen.ravel()]))
    labels = jax.nn.one_hot(
        jnp.repeat(jnp.arange(spec.num_classes)[:, None], chosen.shape[1], axis=1), spec.num_classes
    )
    return SyntheticSet(normalise(spec, images.reshape(*chosen.shape, *images.shape[1:])), labels)


def streamed(source: Source, spec: Spec, *, per_class: int, prefetch: int = 2) -> Stream:
    """The batches of `stratified`, gathered on the host and sent ahead:
    for sets that do not fit on the devices.

    Of several processes each gathers only the rows of its own devices.

    Args:
        source: the training set; its images may be a memory-mapped array or `FolderImages`.
        spec, per_class: as in `stratified`, whose batches these are for the same key and step.
        prefetch: batches gathered ahead by a background thread; one more lies on the devices.

    Returns:
        A feed that starts at any step.

    Raises:
        ValueError: `per_class` or `prefetch` below 1, or a class without images.
    """
    if prefetch < 1:
        raise ValueError(f'prefetch must be at least 1 batch, got {prefetch}')
    members, weights, per_class = _prepared(source, spec, per_class)
    draw, to_inputs = jax.jit(bind(_draw, per_class)), jax.jit(bind(_inputs, spec))

    def chosen(key: PRNGKey, step: int) -> np.ndarray:
        with parallel.host():
            return np.asarray(draw(members, weights, key, step))

    def start(key: PRNGKey, step: int) -> Iterator[Inputs]:
        own, key = parallel.own_rows(per_class), on_host(key)
        shown = parallel.sent(weights)
        batches = ahead(lambda at: source.images[chosen(key, at)[:, own]], step, prefetch)
        sent = (
            to_inputs(parallel.assemble(np.asarray(images), per_class, 1), shown)
            for images in batches
        )
        # another one lies on the devices meanwhile
        yield from (now for now, _ in itertools.pairwise(sent))

    return Stream(start)


def class_members(source: Source, num_classes: int, per_class: int) -> tuple[np.ndarray, int]:
    """Indices `[Y, largest]` of each class's images, short rows filled with -1, and B.
    B is at most the smallest class."""
    if per_class < 1:
        raise ValueError(f'per_class must be at least 1 real image per class, got {per_class}')
    labels = np.asarray(source.labels)
    rows = [np.flatnonzero(labels == c) for c in range(num_classes)]
    longest = max(len(row) for row in rows)
    members = np.stack(
        [np.pad(row, (0, longest - len(row)), constant_values=-1) for row in rows]
    ).astype(np.int32)
    return members, min(per_class, *(len(row) for row in rows))


def class_sizes(source: Source, num_classes: int) -> np.ndarray:
    """Images of each class, `[Y]`."""
    return np.bincount(np.asarray(source.labels), minlength=num_classes)[:num_classes]


def _prepared(
    source: Source, spec: Spec, per_class: int
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """`class_members`; the weights of a step's images, None where all count;
    and B, as many as a class gives at most."""
    drawn = np.array(drawn_per_class(source, spec, per_class))
    members, per_class = class_members(source, spec.num_classes, 1)[0], int(drawn.max())
    counts = np.arange(per_class)[None] < drawn[:, None]
    return members, None if counts.all() else counts.astype(np.float32), per_class


def _stratified(
    spec: Spec,
    per_class: int,
    images: Array,
    members: Array,
    weights: Array | None,
    key: PRNGKey,
    step: Array,
) -> Inputs:
    # drawn whole on every device: what is divided afterwards must not divide the draw
    index = parallel.replicate(_draw(per_class, members, weights, key, step))
    return _inputs(spec, gathered(spec, images, parallel.shard(index, 1)), weights)


def resident(images: Array | np.ndarray) -> Array:
    """A set's images as they lie on the devices: a row `[H * W * C]` of each, `[N, H * W * C]`.

    An accelerator keeps the two last axes of an array together; rows are what `gathered` reads,
    while images would be laid out anew in every program that looks at them.
    """
    return jnp.asarray(images).reshape(len(images), -1)


def gathered(spec: Spec, rows: Array, index: Array) -> Array:
    """The images `[*index.shape, H, W, C]` that `resident` made rows of."""
    return rows[index].reshape(*index.shape, *spec.image_shape)


def _inputs(spec: Spec, images: Array, weights: Array | None) -> Inputs:
    return Inputs(real=parallel.shard(normalise(spec, images), 1), real_weights=weights)


def _draw(
    per_class: int, members: Array, weights: Array | None, key: PRNGKey, step: Array
) -> Array:
    """Indices `[Y, B]` of one step's images, without replacement;
    short classes over again once they are used up."""
    rank = jax.random.uniform(jax.random.fold_in(key, step), members.shape)
    # cheaper than a permutation per class
    _, place = jax.lax.top_k(jnp.where(members < 0, -1.0, rank), per_class)
    if weights is not None:
        sizes = jnp.sum(weights, axis=1, dtype=jnp.int32)
        place = jnp.take_along_axis(place, jnp.arange(per_class)[None] % sizes[:, None], axis=1)
    return jnp.take_along_axis(members, place, axis=1)


def _epoch_batch(
    spec: Spec, batch_size: int, images: Array, labels: Array, key: PRNGKey, step: Array
) -> Batch:
    index, weights = epoch_indices(key, step, size=images.shape[0], batch_size=batch_size)
    index = parallel.shard(parallel.replicate(index))
    targets = jax.nn.one_hot(labels[index], spec.num_classes)
    return Batch(parallel.shard(normalise(spec, gathered(spec, images, index))), targets, weights)
