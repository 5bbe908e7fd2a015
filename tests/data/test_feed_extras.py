"""What a feed supplies beside its class-stratified batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import data, parallel
from jaxdd.types import Source

KEY = jax.random.key(0)
FAKE = data.fake()
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(3, dtype=np.int32), (9, 4, 11)))
NUMBERED = Source(np.tile(np.arange(24, dtype=np.uint8).reshape(-1, 1, 1, 1), (1, 4, 4, 1)), LABELS)
SPEC = data.for_arrays(NUMBERED.images, 3, 'numbered')
FEED = data.stratified(NUMBERED, SPEC, per_class=2)


def identities(images):
    """Which image of NUMBERED each normalised image is."""
    return np.rint(255 * (np.asarray(images)[..., 0, 0, 0] * SPEC.std[0] + SPEC.mean[0])).astype(
        int
    )


@functools.lru_cache
def steps_of(num_batches, batch_size):
    """The inputs `[400, ...]` of 400 steps as a function of (key, first step), compiled once."""
    feed = data.with_minibatches(
        FEED, NUMBERED, SPEC, num_batches=num_batches, batch_size=batch_size
    )
    feed = data.with_candidates(feed, NUMBERED, SPEC)

    def several(key, first):
        inputs = jax.vmap(feed, (None, 0))(key, first + jnp.arange(400))
        return inputs._replace(candidates=feed(key, first).candidates)

    # a program this small costs more to compile well than to run
    return jax.jit(several, compiler_options={'xla_backend_optimization_level': 0})


def drawn(num_batches, batch_size, first=0, key=KEY):
    """Identities [400, S, b] of the mini-batches of 400 steps."""
    return identities(steps_of(num_batches, batch_size)(key, first).mixed.images)


def test_mini_batches_are_normalised_real_images_with_their_labels():
    stratified = data.stratified(FAKE.train, FAKE.spec, per_class=2)
    feed = data.with_minibatches(stratified, FAKE.train, FAKE.spec, num_batches=3, batch_size=5)
    images, labels, weights = jax.jit(feed)(KEY, jnp.int32(7)).mixed
    assert images.shape == (3, 5, 8, 8, 3) and images.dtype == jnp.float32
    assert labels.shape == (3, 5, 3) and weights.shape == (3, 5)
    np.testing.assert_array_equal(weights, 1.0)
    whole = np.asarray(data.normalise(FAKE.spec, FAKE.train.images))
    gaps = np.abs(np.asarray(images).reshape(15, 1, -1) - whole.reshape(1, 60, -1)).max(-1)
    assert gaps.min(1).max() < 1e-5
    np.testing.assert_array_equal(
        labels.reshape(15, 3), np.eye(3)[FAKE.train.labels[gaps.argmin(1)]]
    )


def test_the_rest_of_the_inputs_stays_as_it_is():
    inputs = steps_of(2, 8)(KEY, 3)
    np.testing.assert_array_equal(
        identities(inputs.real[0]), identities(FEED(KEY, jnp.int32(3)).real)
    )
    assert inputs.pretrained == {} and inputs.expert is None


def test_no_image_comes_twice_within_a_step():
    steps = drawn(2, 8).reshape(400, 16)
    assert all(len(set(step)) == 16 for step in steps)
    assert len({tuple(step) for step in steps}) == 400


def test_every_image_is_equally_likely():
    counts = np.bincount(drawn(2, 8).ravel(), minlength=24)
    assert np.abs(counts - 6400 / 24).max() < 5 * np.sqrt(6400 / 24)


def test_a_set_smaller_than_a_step_is_gone_through_again():
    for step in drawn(4, 16)[:20].reshape(20, 64):
        first, second, rest = step[:24], step[24:48], step[48:]
        assert sorted(first) == sorted(second) == list(range(24)) and len(set(rest)) == 16
        assert not np.array_equal(first, second)


def test_a_batch_holds_at_most_the_whole_set():
    steps = drawn(1, 100)
    assert steps.shape == (400, 1, 24)
    assert all(sorted(batch) == list(range(24)) for batch in steps[:, 0])


def test_key_and_step_alone_decide():
    first = drawn(2, 8)
    np.testing.assert_array_equal(first, drawn(2, 8))
    np.testing.assert_array_equal(first[3:], drawn(2, 8, 3)[:-3])
    assert not np.array_equal(first, drawn(2, 8, key=jax.random.key(1)))


@pytest.mark.parametrize('start', [0, 5])
def test_a_stream_gives_the_batches_of_the_device_feed_from_any_step(start):
    batches = data.with_minibatches(
        data.streamed(NUMBERED, SPEC, per_class=2), NUMBERED, SPEC, num_batches=2, batch_size=8
    ).start(KEY, start)
    expected = steps_of(2, 8)(KEY, start)
    for i in range(3):
        inputs = next(batches)
        np.testing.assert_array_equal(identities(inputs.real), identities(expected.real[i]))
        for ours, theirs in zip(inputs.mixed, expected.mixed):
            np.testing.assert_allclose(ours, theirs[i], atol=1e-6)
    batches.close()


def test_eight_devices_draw_what_one_draws():
    alone, options = (
        identities(steps_of(2, 8)(KEY, 4).mixed.images[0]),
        {'num_batches': 2, 'batch_size': 8},
    )
    with parallel.use(parallel.mesh(8)):
        feed = data.with_minibatches(
            data.stratified(NUMBERED, SPEC, per_class=2), NUMBERED, SPEC, **options
        )
        stream = data.with_minibatches(
            data.streamed(NUMBERED, SPEC, per_class=2), NUMBERED, SPEC, **options
        )
        for batch in jax.jit(feed)(KEY, jnp.int32(4)).mixed, next(stream.start(KEY, 4)).mixed:
            assert batch.images.sharding.shard_shape(batch.images.shape) == (2, 1, 4, 4, 1)
            np.testing.assert_array_equal(identities(batch.images), alone)


@pytest.mark.parametrize('wrong', [{'num_batches': 0}, {'batch_size': -1}])
def test_a_step_of_nothing_is_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got {value}'):
        data.with_minibatches(FEED, NUMBERED, SPEC, **{'num_batches': 1, 'batch_size': 1, **wrong})


def test_candidates_are_the_whole_set_by_class():
    images, members = steps_of(2, 8)(KEY, 0).candidates
    np.testing.assert_array_equal(images, NUMBERED.images)
    assert images.dtype == jnp.uint8 and members.shape == (3, 11) and members.dtype == jnp.int32
    for label, row in enumerate(np.asarray(members)):
        np.testing.assert_array_equal(row[row >= 0], np.flatnonzero(LABELS == label))
        np.testing.assert_array_equal(row[: len(row[row >= 0])], row[row >= 0])


def test_candidates_of_a_stream_are_refused():
    stream = data.streamed(NUMBERED, SPEC, per_class=2)
    with pytest.raises(ValueError, match=r'needs it on the devices; use a device feed'):
        data.with_candidates(stream, NUMBERED, SPEC)


def test_the_training_set_lies_on_the_devices_once():
    # no other array has this shape
    images = np.random.default_rng(0).integers(0, 256, (30, 7, 5, 3), np.uint8)
    source = Source(images, np.repeat(np.arange(3, dtype=np.int32), 10))
    spec = data.for_arrays(images, 3, 'once')
    feed = data.stratified(source, spec, per_class=2)
    feed = data.with_minibatches(feed, source, spec, num_batches=2, batch_size=4)
    feed = data.with_candidates(feed, source, spec)
    assert feed(KEY, jnp.int32(0)).candidates.images.shape == images.shape
    copies = {
        array.unsafe_buffer_pointer()
        for array in jax.live_arrays()
        if array.shape == (30, 7 * 5 * 3) and array.dtype == np.uint8
    }
    assert len(copies) == 1
    # not the set of the feed
    other = data.with_candidates(feed, source._replace(images=images[::-1]), spec)
    np.testing.assert_array_equal(other(KEY, jnp.int32(0)).candidates.images, images[::-1])
