"""Labels recorded once and shown again with the same images, or refused."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment, losses, models, optimizers
from jaxdd.engine import evaluate, fit, loop
from jaxdd.labels import relabel, replay
from jaxdd.types import Recipe, SyntheticSet

SET = SyntheticSet(
    jax.random.normal(jax.random.key(0), (5, 2, 8, 8, 3)),
    jnp.repeat(jnp.eye(5)[:, None], 2, axis=1),
)
NET = models.by_name('convnet_bn', (8, 8, 3), 5, width=4, depth=1)
WEIGHTS = NET.init(jax.random.key(1))
FLIPPED = relabel.hard(augment.independent('flip'))
VIEW = relabel.with_mixing(FLIPPED, augment.cutmix)
TAUGHT = relabel.dynamic(VIEW, [NET], [WEIGHTS])
KEY, STUDENT = jax.random.key(2), jax.random.key(3)
STEPS, BATCH = 5, 4
# as a program of its own, which a student's is too
draw = jax.jit(
    lambda supervision, key, step, size=BATCH: supervision(key, step, SET, size), static_argnums=3
)


@pytest.fixture(scope='module')
def exact():
    return replay.record(KEY, TAUGHT, SET, BATCH, STEPS, dtype='float32')


def test_a_replay_shows_the_first_pass_again_bit_for_bit(exact):
    again = replay.supervision(exact, VIEW)
    taught = relabel.with_arrays(TAUGHT)
    for step in range(STEPS):
        chex.assert_trees_all_equal(draw(again, STUDENT, step), draw(taught, KEY, step))
    seen = relabel.with_arrays(VIEW)
    assert not np.array_equal(draw(seen, STUDENT, 0).images, draw(seen, KEY, 0).images)


def test_half_precision_is_the_default_and_rounds_the_labels(exact):
    half = replay.record(KEY, TAUGHT, SET, BATCH, STEPS)
    assert half.logits.dtype == np.float16 and half.made_with == exact.made_with
    np.testing.assert_array_equal(half.logits, exact.logits.astype(np.float16))
    labels = draw(replay.supervision(half, VIEW), STUDENT, 3).labels
    assert labels.dtype == jnp.float32
    np.testing.assert_array_equal(labels, half.logits[3].astype(np.float32))


def test_the_cut_into_dispatches_does_not_matter(exact):
    cut = replay.record(KEY, TAUGHT, SET, BATCH, STEPS, dtype='float32', steps_per_call=3)
    assert cut.logits.shape == exact.logits.shape == (STEPS, BATCH, 5)
    np.testing.assert_allclose(cut.logits, exact.logits, atol=1e-5)


def test_the_largest_logits_stay_and_the_others_become_their_mean(exact):
    kept = replay.record(KEY, TAUGHT, SET, BATCH, STEPS, dtype='float32', top_k=2)
    assert (
        kept.logits.shape == kept.classes.shape == (STEPS, BATCH, 2)
        and kept.classes.dtype == np.uint16
    )
    order = np.argsort(-exact.logits, axis=-1)
    expected = exact.logits.copy()
    others = np.take_along_axis(exact.logits, order[..., 2:], -1).mean(-1, keepdims=True)
    np.put_along_axis(expected, order[..., 2:], others, -1)
    again = replay.supervision(kept, VIEW)
    labels = np.stack([draw(again, STUDENT, step).labels for step in range(STEPS)])
    np.testing.assert_allclose(labels, expected, atol=1e-5)


def test_bytes_are_counted(exact):
    images = STEPS * BATCH
    assert replay.num_bytes(exact) == 8 + images * 5 * 4
    assert replay.num_bytes(replay.record(KEY, TAUGHT, SET, BATCH, STEPS)) == 8 + images * 5 * 2
    assert replay.num_bytes(
        replay.record(KEY, TAUGHT, SET, BATCH, STEPS, top_k=2)
    ) == 8 + images * (2 * 2 + 2 * 2 + 2)


@pytest.mark.parametrize('top_k', [None, 3])
def test_saved_and_loaded(tmp_path, top_k):
    made = replay.record(KEY, TAUGHT, SET, BATCH, 2, top_k=top_k)
    replay.save(tmp_path / 'deep' / 'labels.npz', made)
    found = replay.load(tmp_path / 'deep' / 'labels.npz')
    assert found.made_with == made.made_with and found.batch_size == BATCH
    chex.assert_trees_all_equal(found[:1] + found[2:5], made[:1] + made[2:5])
    replay.check(found, VIEW, SET, num_steps=2)
    assert sorted(path.name for path in (tmp_path / 'deep').iterdir()) == ['labels.npz']


def test_labels_of_other_images_are_refused(exact):
    replay.check(exact, VIEW, SET, num_steps=STEPS)
    old = exact.made_with
    brighter = SET._replace(images=SET.images.at[4, 1, 0, 0, 0].add(1e-6))
    seldom = relabel.with_mixing(FLIPPED, functools.partial(augment.cutmix, probability=0.2))
    cases = [
        (
            exact._replace(made_with=old._replace(jax='0.1')),
            VIEW,
            SET,
            f'version of JAX: recorded 0.1, found {jax.__version__}',
        ),
        (exact, VIEW, brighter, f"checksum of the set's images: recorded {old.images}, found"),
        (exact, FLIPPED, SET, f'checksum of mini-batches: recorded {old.shown}, found'),
        (exact, seldom, SET, 'checksum of mini-batches'),
        (exact._replace(key=exact.key + 1), VIEW, SET, 'checksum of mini-batches'),
    ]
    foreign = exact._replace(classes=np.full((5, 4, 1), 5, np.uint16))
    with pytest.raises(
        ValueError, match='labels of class 5 were recorded, the set has 5 classes: label again'
    ):
        replay.check(foreign, VIEW, SET, num_steps=STEPS)
    for recorded, view, synthetic, message in cases:
        with pytest.raises(ValueError, match=f'{message}.* Label again'):
            replay.check(recorded, view, synthetic, num_steps=STEPS)


def test_another_random_generator_is_refused(exact):
    with jax.default_prng_impl('rbg'):
        with pytest.raises(ValueError, match='random generator: recorded threefry2x32, found rbg'):
            replay.check(exact, VIEW, SET, num_steps=STEPS)
    with pytest.raises(
        ValueError, match='the key is of the random generator rbg, the default is threefry2x32'
    ):
        replay.record(jax.random.key(0, impl='rbg'), TAUGHT, SET, BATCH, STEPS)


def test_more_steps_than_recorded_are_refused(exact):
    with pytest.raises(
        ValueError,
        match='labels of 5 mini-batches were recorded, the training has 6: train for fewer',
    ):
        replay.check(exact, VIEW, SET, num_steps=6)
    assert np.isnan(draw(replay.supervision(exact, VIEW), STUDENT, STEPS).labels).all()


def test_mini_batches_of_another_size_or_set_are_refused(exact):
    again = replay.supervision(exact, VIEW)
    with pytest.raises(
        ValueError, match='mini-batches of 4 images, these have 3: use the batch size'
    ):
        draw(again, STUDENT, 0, 3)
    wider = SET._replace(labels=jnp.ones((5, 2, 7)))
    with pytest.raises(
        ValueError, match='labels of 5 classes were recorded, the synthetic set has 7'
    ):
        again(STUDENT, 0, wider, BATCH)


@pytest.mark.parametrize(
    'batch_size, num_steps, options, message',
    [
        (0, 1, {}, 'batch_size must be at least 1, got 0'),
        (4, 0, {}, 'num_steps must be at least 1, got 0'),
        (4, 1, {'steps_per_call': 0}, 'steps_per_call must be at least 1'),
        (4, 1, {'dtype': 'int8'}, 'float16'),
        (4, 1, {'top_k': 5}, 'top_k must be between 1 and 4.*got 5'),
        (4, 1, {'top_k': 0}, 'got 0'),
    ],
)
def test_impossible_recordings_are_refused(batch_size, num_steps, options, message):
    with pytest.raises(ValueError, match=message):
        replay.record(KEY, TAUGHT, SET, batch_size, num_steps, **options)


def test_labels_beyond_half_precision_are_refused():
    huge = SET._replace(labels=1e5 * SET.labels)
    with pytest.raises(ValueError, match='mini-batches 0 to 1 are not all finite as float16'):
        replay.record(KEY, relabel.hard(augment.identity()), huge, BATCH, 4, steps_per_call=2)


def test_students_train_on_replayed_labels_and_stop_where_they_end(exact):
    student = models.by_name('convnet', (8, 8, 3), 5, width=4, depth=1)
    recipe = Recipe(
        optimizers.sgd(0.1), STEPS, BATCH, functools.partial(losses.soft_label_kl, temperature=2.0)
    )
    sample = evaluate.student_batches(SET, replay.supervision(exact, VIEW), batch_size=BATCH)
    (trained,) = fit.fit_seeds([STUDENT], student, sample, recipe)
    assert trained.age == STEPS
    with pytest.raises(loop.NonFiniteError, match='step 6'):
        fit.fit_seeds([STUDENT], student, sample, recipe._replace(num_steps=7))
