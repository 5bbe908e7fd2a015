"""Batches: who is drawn, how often, and that (key, step) alone decide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import data, parallel
from jaxdd.types import Source

KEY = jax.random.key(0)


def source(counts, side=4):
    """Images whose every pixel is their own index, in shuffled class order."""
    labels = np.random.default_rng(0).permutation(
        np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    )
    numbers = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Source(np.tile(numbers, (1, side, side, 1)), labels)


def described(src, num_classes):
    return data.for_arrays(src.images, num_classes, 'numbered')


def identities(spec, images):
    """Which image of `source` each normalised image is."""
    pixels = np.asarray(images)[..., 0, 0, 0] * spec.std[0] + spec.mean[0]
    return np.rint(255 * pixels).astype(int)


@pytest.mark.parametrize('counts', [(6, 6, 6), (5, 11, 7)])
def test_a_step_holds_every_class_without_repetition(counts):
    src = source(counts)
    spec = described(src, 3)
    feed = data.stratified(src, spec, per_class=4)
    batches = jax.jit(jax.vmap(feed, (None, 0)))(KEY, jnp.arange(60)).real
    assert batches.shape == (60, 3, 4, 4, 4, 1) and batches.dtype == jnp.float32
    drawn = identities(spec, batches)
    np.testing.assert_array_equal(
        src.labels[drawn], np.broadcast_to(np.arange(3)[:, None], (60, 3, 4))
    )
    assert all(len(set(row)) == 4 for rows in drawn for row in rows)
    assert set(drawn.ravel()) == set(range(sum(counts)))


def test_every_image_of_a_class_is_equally_likely():
    src = source((5, 9))
    spec = described(src, 2)
    feed = data.stratified(src, spec, per_class=2)
    drawn = identities(spec, jax.jit(jax.vmap(feed, (None, 0)))(KEY, jnp.arange(1000)).real)
    for label, size in ((0, 5), (1, 9)):
        counts = np.bincount(drawn[:, label].ravel(), minlength=14)[src.labels == label]
        assert np.abs(counts - 2000 / size).max() < 5 * np.sqrt(2000 / size)


def test_a_batch_is_a_function_of_key_and_step():
    src = source((8, 8))
    feed = data.stratified(src, described(src, 2), per_class=4)
    first = feed(KEY, jnp.int32(3)).real
    np.testing.assert_array_equal(first, feed(KEY, jnp.int32(3)).real)
    assert not np.array_equal(first, feed(KEY, jnp.int32(4)).real)
    assert not np.array_equal(first, feed(jax.random.key(1), jnp.int32(3)).real)


def test_a_small_class_gives_all_of_its_images_and_no_image_counts_twice():
    """Of classes of 20 and 2 images, asked for 16:
    16 of the first, and the second's 2, of which the rest are copies."""
    src = source((20, 2))
    spec = described(src, 2)
    feed = jax.jit(data.stratified(src, spec, per_class=16))
    for step in range(3):
        inputs = feed(KEY, jnp.int32(step))
        drawn, counts = identities(spec, inputs.real), np.asarray(inputs.real_weights)
        assert inputs.real_weights.dtype == jnp.float32
        np.testing.assert_array_equal(counts, [[1] * 16, [1] * 2 + [0] * 14])
        assert len(set(drawn[0])) == 16 and set(src.labels[drawn[0]]) == {0}
        np.testing.assert_array_equal(np.sort(drawn[1, :2]), np.flatnonzero(src.labels == 1))
        np.testing.assert_array_equal(drawn[1], np.tile(drawn[1, :2], 8))
    assert data.drawn_per_class(src, spec, 16) == (16, 2)


@pytest.mark.parametrize(
    'counts, asked, drawn',
    [
        ((5, 3, 9), 100, (5, 3, 9)),
        ((5, 3, 9), 4, (4, 3, 4)),
        ((5, 3, 9), 3, (3, 3, 3)),
        ((6, 6, 6), 100, (6, 6, 6)),
    ],
)
def test_weights_are_there_where_classes_give_different_numbers(counts, asked, drawn):
    src = source(counts)
    spec = described(src, 3)
    inputs = data.stratified(src, spec, per_class=asked)(KEY, jnp.int32(0))
    assert data.drawn_per_class(src, spec, asked) == drawn and inputs.real.shape[:2] == (
        3,
        max(drawn),
    )
    if min(drawn) == max(drawn):
        assert inputs.real_weights is None
    else:
        np.testing.assert_array_equal(inputs.real_weights.sum(1), drawn)


def test_a_class_without_images_is_refused():
    src = source((5, 0, 5))
    with pytest.raises(ValueError, match='class 1 has no images; every class needs at least one'):
        data.stratified(src, described(src, 3), per_class=2)


def test_a_batch_of_nothing_is_refused():
    src = source((5, 5))
    with pytest.raises(
        ValueError, match='per_class must be at least 1 real image per class, got 0'
    ):
        data.stratified(src, described(src, 2), per_class=0)


def test_values_are_normalised():
    dataset = data.fake()
    spec, train = dataset.spec, dataset.train
    expected = (train.images / 255 - np.array(spec.mean)) / np.array(spec.std)
    real = np.asarray(data.stratified(train, spec, per_class=20)(KEY, jnp.int32(0)).real)
    chosen = data.epochs(train, spec, batch_size=60)(KEY, jnp.int32(0)).images
    for drawn in (real.reshape(-1, 8 * 8 * 3), np.asarray(chosen).reshape(-1, 8 * 8 * 3)):
        whole = expected.reshape(len(expected), -1)
        gaps = np.abs(drawn[:, None] - whole[None]).max(-1)
        np.testing.assert_array_less(gaps.min(1), 1e-4)
        assert sorted(gaps.argmin(1)) == list(range(len(whole)))
    np.testing.assert_allclose(real.mean((0, 1, 2, 3)), 0, atol=0.01)


@pytest.mark.parametrize('size, batch_size', [(10, 3), (10, 5), (10, 10), (10, 99), (1, 1), (7, 1)])
def test_an_epoch_covers_every_index_once(size, batch_size):
    per_epoch = data.steps_per_epoch(size, batch_size)
    assert per_epoch == int(np.ceil(size / min(batch_size, size)))
    epochs = []
    for epoch in range(3):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        rows = [
            data.epoch_indices(KEY, jnp.int32(s), size=size, batch_size=batch_size) for s in steps
        ]
        assert all(
            index.shape == weights.shape == (min(batch_size, size),) for index, weights in rows
        )
        kept = np.concatenate(
            [np.asarray(index)[np.asarray(weights) == 1] for index, weights in rows]
        )
        assert sorted(kept) == list(range(size))
        epochs.append(tuple(kept))
    assert size == 1 or len(set(epochs)) == 3


def test_only_the_last_batch_is_padded_with_other_images():
    for step, filled in ((0, 4), (1, 4), (2, 2), (3, 4), (5, 2)):
        index, weights = data.epoch_indices(KEY, jnp.int32(step), size=10, batch_size=4)
        np.testing.assert_array_equal(weights, [1.0] * filled + [0.0] * (4 - filled))
        assert weights.dtype == jnp.float32 and index.min() >= 0 and index.max() < 10
        assert len(set(np.asarray(index))) == 4


def test_epochs_pair_images_with_their_labels():
    src = source((5, 3, 9))
    spec = described(src, 3)
    sample = jax.jit(data.epochs(src, spec, batch_size=6))
    batches = [sample(KEY, jnp.int32(step)) for step in range(3)]
    drawn = [identities(spec, b.images)[np.asarray(b.weights) == 1] for b in batches]
    assert sorted(np.concatenate(drawn)) == list(range(17))
    for b in batches:
        np.testing.assert_array_equal(b.labels, np.eye(3)[src.labels[identities(spec, b.images)]])


def test_a_real_subset_is_ordered_and_without_repetition():
    src = source((5, 4, 9))
    spec = described(src, 3)
    subset = data.real_subset(KEY, src, spec, ipc=4)
    drawn = identities(spec, subset.images)
    np.testing.assert_array_equal(src.labels[drawn], np.repeat(np.arange(3)[:, None], 4, 1))
    assert all(len(set(row)) == 4 for row in drawn)
    np.testing.assert_array_equal(subset.labels, np.eye(3)[src.labels[drawn]])
    assert subset.learning_rate is None
    other = data.real_subset(jax.random.key(1), src, spec, ipc=4)
    np.testing.assert_array_equal(subset.images, data.real_subset(KEY, src, spec, ipc=4).images)
    assert not np.array_equal(subset.images, other.images)


@pytest.mark.parametrize('ipc', [0, -2, 4])
def test_a_real_subset_beyond_the_smallest_class_is_refused(ipc):
    src = source((5, 3))
    with pytest.raises(ValueError, match=rf'class 1 has 3 images\), got {ipc}'):
        data.real_subset(KEY, src, described(src, 2), ipc=ipc)


@pytest.mark.parametrize('per_class', [16, 24])
def test_eight_devices_draw_what_one_draws(per_class):
    src = source((20, 17, 30))
    spec = described(src, 3)

    def drawn():
        feeds = (
            data.stratified(src, spec, per_class=per_class),
            data.epochs(src, spec, batch_size=16),
        )
        return [jax.jit(feed)(KEY, jnp.int32(4)) for feed in feeds]

    alone = drawn()
    with parallel.use(parallel.mesh(8)):
        together = drawn()
        assert together[0].real.addressable_shards[0].data.shape == (3, per_class // 8, 4, 4, 1)
        assert together[1].images.addressable_shards[0].data.shape == (2, 4, 4, 1)
    jax.tree.map(np.testing.assert_array_equal, together, alone)


@pytest.mark.parametrize('counts', [(20, 20, 20), (9, 2, 20)])
def test_a_stream_gives_the_batches_of_the_device_feed_from_any_step(counts):
    key, src = jax.random.key(3), source(counts)
    options = {'source': src, 'spec': described(src, 3), 'per_class': 4}
    feed, stream = data.stratified(**options), data.streamed(**options)
    for first in (0, 5):
        batches = stream.start(key, first)
        for step in range(first, first + 4):
            ours, expected = next(batches), feed(key, jnp.int32(step))
            np.testing.assert_allclose(ours.real, expected.real, atol=1e-6)
            jax.tree.map(np.testing.assert_array_equal, ours.real_weights, expected.real_weights)
            assert (ours.real_weights is None) == (min(counts) >= 4)
        batches.close()


def test_a_stream_is_split_among_devices():
    fake = data.fake()
    with parallel.use(parallel.mesh(4)):
        batch = next(
            data.streamed(fake.train, fake.spec, per_class=4).start(jax.random.key(0), 0)
        ).real
    assert batch.sharding.shard_shape(batch.shape)[1] == 1


@pytest.mark.parametrize('wrong', [{'per_class': 0}, {'per_class': 4, 'prefetch': 0}])
def test_a_stream_refuses_nothing_to_do(wrong):
    fake = data.fake()
    with pytest.raises(ValueError, match='must be at least 1'):
        data.streamed(fake.train, fake.spec, **wrong)
