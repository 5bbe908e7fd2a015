"""Chunks: cut, distilled one by one or together, stored, resumed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd import augment, data, models, parallel
from jaxdd.engine import chunks, loop
from jaxdd.methods import sre2l
from jaxdd.networks import pools
from jaxdd.storage.fingerprint import Store
from jaxdd.types import Inputs, SyntheticSet

DATASET = data.fake()
NET = models.by_name('convnet_bn', (8, 8, 3), 3, width=4, depth=1)
METHOD = sre2l(NET, augment=augment.recovery(jitter=1), box=(DATASET.spec.mean, DATASET.spec.std))
OPTIMIZER = optax.adam(0.1, b1=0.5, b2=0.9)


def nothing(key, step):
    return Inputs()


FEED = pools.attach(jax.tree_util.Partial(nothing), 'encoder', [NET.init(jax.random.key(7))])
NUM_STEPS = 4


def beginning(number, classes=3):
    images = jax.random.normal(jax.random.key(number), (classes, 1, 8, 8, 3))
    return SyntheticSet(images, jnp.eye(3)[:classes, None])


def parts(count=4):
    return [
        chunks.Chunk(functools.partial(beginning, i), FEED, (3, 1, 8, 8, 3)) for i in range(count)
    ]


def run(folder, given=None, identity={'run': 1}, **options):
    return chunks.run(
        jax.random.key(0),
        METHOD,
        OPTIMIZER,
        given or parts(),
        num_steps=NUM_STEPS,
        store=Store(folder, identity),
        control=loop.Control(**options),
    )


def images(found):
    return [np.asarray(params['images']) for params in found]


def test_a_set_is_cut_images_outermost_and_nothing_is_lost():
    cuts = chunks.cut(5, 3, classes=2, images=2)
    assert cuts[:3] == [
        (slice(0, 2), slice(0, 2)),
        (slice(2, 4), slice(0, 2)),
        (slice(4, 5), slice(0, 2)),
    ]
    seen = np.zeros((5, 3), int)
    for where in cuts:
        seen[where] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize('sizes', [{'classes': 0, 'images': 1}, {'classes': 1, 'images': 0}])
def test_an_empty_chunk_is_refused(sizes):
    with pytest.raises(ValueError, match='at least one image of one class, got'):
        chunks.cut(3, 2, **sizes)


def test_chunks_are_independent_alone_and_together(tmp_path):
    alone = images(run(tmp_path / 'alone'))
    for together in (2, 3):
        for one, other in zip(
            alone, images(run(tmp_path / str(together), together=together)), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=2e-5)
    fewer = images(run(tmp_path / 'fewer', parts(2)))
    for one, other in zip(fewer, alone):
        np.testing.assert_array_equal(one, other)
    assert all(
        np.abs(one - np.asarray(beginning(i).images)).max() > 0.1 for i, one in enumerate(alone)
    )


def test_several_devices_are_one(tmp_path):
    alone = images(run(tmp_path / 'alone'))
    with parallel.use(parallel.mesh(8)):
        feed = pools.attach(
            jax.tree_util.Partial(nothing), 'encoder', [NET.init(jax.random.key(7))]
        )
        given = [part._replace(feed=feed) for part in parts()]
        for together in (2, 4):
            divided = run(
                tmp_path / f'divided{together}',
                given,
                together=together,
                steps_per_call=together - 1,
            )
            for one, other in zip(alone, images(divided), strict=True):
                np.testing.assert_allclose(one, other, atol=2e-5)


def test_images_stay_in_their_box(tmp_path):
    mean, std = (np.asarray(values) for values in (DATASET.spec.mean, DATASET.spec.std))
    for one in images(run(tmp_path)):
        assert (one * std + mean).min() > -1e-6 and (one * std + mean).max() < 1 + 1e-6


def test_stored_chunks_are_not_distilled_again(tmp_path):
    first = images(run(tmp_path))
    steps = []
    again = run(tmp_path, callbacks=[loop.Callback(1, lambda state, at, _: steps.append(at))])
    assert steps == [] and chunks.finished(tmp_path) == 4
    for one, other in zip(first, images(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stopped_run_continues_within_its_chunk_and_ends_the_same(tmp_path):
    taken = []

    def noted(number):
        return [loop.Callback(1, lambda state, at, _: taken.append((number, at)))]

    given = [part._replace(callbacks=noted(i)) for i, part in enumerate(parts())]
    found = run(tmp_path / 'stopped', given, should_stop=lambda: len(taken) == 6)
    assert len(found) == chunks.finished(tmp_path / 'stopped') == 1 and taken[-1] == (1, 2)
    resumed = run(tmp_path / 'stopped', given)
    assert taken[6] == (1, 3) and len(taken) == 4 * NUM_STEPS
    for one, other in zip(images(resumed), images(run(tmp_path / 'whole')), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_runs_chunks_are_refused_before_anything_is_computed(tmp_path):
    run(tmp_path, parts(1))
    with pytest.raises(ValueError, match='run: stored 1, now 2'):
        run(tmp_path, [chunks.Chunk(lambda: 1 / 0, FEED, (3, 1, 8, 8, 3))], identity={'run': 2})


def test_chunks_of_another_shape_are_not_joined(tmp_path):
    mixed = [
        *parts(1),
        chunks.Chunk(functools.partial(beginning, 1, 2), FEED, (2, 1, 8, 8, 3)),
        *parts(1),
    ]
    assert [len(one) for one in images(run(tmp_path, mixed, together=3))] == [3, 2, 3]


def test_at_least_one_at_a_time(tmp_path):
    with pytest.raises(ValueError, match='together must be at least 1 network or chunk, got 0'):
        run(tmp_path, together=0)
