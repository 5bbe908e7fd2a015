"""Representative sampling: what a method is matched against, and when that changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd import augment, data, models
from jaxdd.coresets import kmeans
from jaxdd.coresets.dream import representative
from jaxdd.engine.distill import init_state, make_step
from jaxdd.methods import dm
from jaxdd.types import Inputs, Read, Source, Term

FAKE = data.fake()
KEPT = np.flatnonzero((FAKE.train.labels != 1) | (np.cumsum(FAKE.train.labels == 1) <= 13))
TRAIN = Source(FAKE.train.images[KEPT], FAKE.train.labels[KEPT])  # classes of 20, 13 and 20 images
# programs this small cost more to compile well than to run
quick = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
MODEL = models.by_name('mlp', (8, 8, 3), 3, width=16)
KEY = jax.random.key(0)
FEED = jax.jit(
    data.with_candidates(data.stratified(TRAIN, FAKE.spec, per_class=4), TRAIN, FAKE.spec)
)
INITIAL = data.real_subset(KEY, TRAIN, FAKE.spec, ipc=2)
SGD = optax.sgd(0.1)
CLASSES = np.repeat([[0], [1], [2]], 4, axis=1)
OPTIONS = {'num_classes': 3, 'per_class': 4, 'every': 3, 'iterations': 5}


def preprocess(images):
    return data.normalise(FAKE.spec, images)


NORMALISED = np.asarray(preprocess(TRAIN.images)).reshape(len(KEPT), -1)


def seen_batch(observation, key):
    """An objective that reports what it is matched against;
    summed over class steps it is the whole batch."""
    del key
    real = observation.images['real', 'raw']
    whole = jnp.zeros((3, *real.shape[1:])).at[observation.classes].set(real)
    return observation.images['synthetic', 'raw'].sum(), {'real': whole}


def method(classes='joint', **options):
    reporting = Term(frozenset({Read('', 'real', 'raw'), Read('', 'synthetic', 'raw')}), seen_batch)
    base = dm(MODEL, augment=augment.identity())._replace(objective=reporting, classes=classes)
    return representative(base, preprocess=preprocess, **{**OPTIONS, **options})


def run(method, num_steps):
    """States before and after each step, and what each step was matched against."""
    step, rows, batches, traces = (
        make_step(method, SGD),
        [init_state(KEY, method, SGD, INITIAL)],
        [],
        [],
    )

    def drawn(state):
        traces.append(1)
        return step(state, FEED(KEY, state.step))

    compiled = quick(drawn)
    for _ in range(num_steps):
        state, metrics = compiled(rows[-1])
        rows.append(state)
        batches.append(np.asarray(metrics['real']))
    assert len(traces) == 1
    return rows, batches


@pytest.fixture(scope='module')
def joint():
    return run(method(), 8)


def identities(batch):
    """Which training image each image [K, B, ...] of a batch is."""
    gaps = np.abs(batch.reshape(12, 1, -1) - NORMALISED[None]).max(-1)
    assert gaps.min(1).max() < 1e-5
    return gaps.argmin(1).reshape(3, 4)


def test_the_first_step_is_matched_against_the_feed(joint):
    rows, batches = joint
    np.testing.assert_allclose(batches[0], FEED(KEY, jnp.int32(0)).real, atol=1e-6)
    assert rows[0].networks.index.shape == (3, 4)


def test_later_steps_are_matched_against_what_was_chosen(joint):
    rows, batches = joint
    for state, batch in zip(rows[1:], batches[1:]):
        np.testing.assert_array_equal(identities(batch), state.networks.index)


def test_chosen_images_are_of_their_class(joint):
    for state in joint[0][1:]:
        np.testing.assert_array_equal(TRAIN.labels[state.networks.index], CLASSES)


def test_images_are_chosen_after_the_first_step_and_after_every_third(joint):
    rows, _ = joint
    changed = [
        not np.array_equal(a.networks.index, b.networks.index) for a, b in zip(rows, rows[1:])
    ]
    assert changed == [True, False, True, False, False, True, False, False]
    assert [int(state.networks.count) for state in rows] == list(range(9))


def test_the_state_keeps_its_shape(joint):
    rows, _ = joint
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) for state in rows]
    assert all(kind == kinds[0] for kind in kinds)


@quick
def by_hand(key, members, valid):
    """One clustering of one class: (images nearest to the centres, distances [M, B] of all images
    to them)."""
    _, k_encoder, k_means = key
    features = MODEL.apply(
        MODEL.init(k_encoder), preprocess(jnp.asarray(TRAIN.images)[members])
    ).features
    places = kmeans.representatives(k_means, features, valid, num=4, iterations=5)
    centres = kmeans.kmeans(k_means, features, valid, num_clusters=4, iterations=5)
    return members[places], kmeans.squared_distances(features, centres)


@pytest.mark.parametrize('t', [0, 2])
def test_the_chosen_are_the_representatives_of_each_class(joint, t):
    rows, _ = joint
    networks_key = jax.random.split(jax.random.fold_in(rows[t].key, t), 4)[3]
    keys = jax.random.split(networks_key, 3)
    for c, k in enumerate(jax.random.split(keys[2], 3)):
        mine = np.flatnonzero(TRAIN.labels == c)
        padded, valid = np.pad(mine, (0, 20 - len(mine))), np.arange(20) < len(mine)
        chosen, distances = by_hand((*keys[:2], k), padded, valid)
        actual, chosen = (
            np.searchsorted(mine, index) for index in (rows[t + 1].networks.index[c], chosen)
        )
        # compared by distance: the two images of a cluster of two are equally near to its centre
        distances = np.asarray(distances)
        np.testing.assert_allclose(
            distances[actual, range(4)], distances[chosen, range(4)], atol=1e-5
        )
        assert (actual == chosen).any() and distances[: len(mine)].mean() > 0.01


def test_classes_may_take_their_steps_one_after_the_other():
    rows, batches = run(method('sequential'), 3)
    np.testing.assert_allclose(batches[0], FEED(KEY, jnp.int32(0)).real, atol=1e-6)
    for state, batch in zip(rows[1:], batches[1:]):
        np.testing.assert_array_equal(identities(batch), state.networks.index)
        np.testing.assert_array_equal(TRAIN.labels[state.networks.index], CLASSES)


def test_a_class_with_fewer_images_is_its_own_representatives(monkeypatch):
    monkeypatch.setitem(
        globals(),
        'FEED',
        jax.jit(
            data.with_candidates(data.stratified(TRAIN, FAKE.spec, per_class=16), TRAIN, FAKE.spec)
        ),
    )
    (_, *states), _ = run(method(per_class=16), 2)
    weights = np.asarray(FEED(KEY, jnp.int32(0)).real_weights)
    np.testing.assert_array_equal(weights.sum(1), [16, 13, 16])
    for state in states:
        np.testing.assert_array_equal(
            np.sort(state.networks.index[1, :13]), np.flatnonzero(TRAIN.labels == 1)
        )
        np.testing.assert_array_equal(state.networks.index[1, 13:], state.networks.index[1, :3])


def test_a_method_is_matched_against_the_chosen():
    chosen = representative(dm(MODEL, augment=augment.identity()), preprocess=preprocess, **OPTIONS)
    step, state = quick(make_step(chosen, SGD)), init_state(KEY, chosen, SGD, INITIAL)
    state, _ = step(state, FEED(KEY, jnp.int32(0)))
    _, metrics = step(state, FEED(KEY, jnp.int32(1)))

    @quick
    def expected(key, real, synthetic):
        encoder_key = jax.random.split(jax.random.fold_in(key, 1), 4)[0]
        encoder = MODEL.init(encoder_key)
        means = [
            jnp.stack([MODEL.apply(encoder, batch).features.mean(0) for batch in images])
            for images in (real, synthetic)
        ]
        return jnp.sum((means[0] - means[1]) ** 2)

    real = preprocess(TRAIN.images[state.networks.index])
    distance = expected(state.key, real, state.params['images'])
    np.testing.assert_allclose(metrics['loss/dm'], distance, rtol=1e-4)


def traced(inputs):
    chosen = method()
    jax.eval_shape(make_step(chosen, SGD), init_state(KEY, chosen, SGD, INITIAL), inputs)


def test_a_feed_without_candidates_is_refused():
    inputs = FEED(KEY, jnp.int32(0))
    for missing in (inputs._replace(candidates=None), inputs._replace(real=None), Inputs()):
        with pytest.raises(
            ValueError, match=r'does not supply it; use data.with_candidates\(feed, ...\)'
        ):
            traced(missing)


def test_a_batch_of_another_size_is_refused():
    inputs = FEED(KEY, jnp.int32(0))
    with pytest.raises(ValueError, match='built for 4 real images per class, but the feed draws 3'):
        traced(inputs._replace(real=inputs.real[:, :3]))


@pytest.mark.parametrize('wrong', [{'per_class': 0}, {'every': 0}, {'iterations': -1}])
def test_wrong_numbers_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got {value}'):
        method(**wrong)
