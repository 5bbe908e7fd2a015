"""Herding, k-center, k-means: against transcriptions, by hand, and where samples are alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.coresets import greedy
from jaxdd.coresets.kmeans import kmeans


def herding_by_hand(x, num):
    chosen, mean = [], x.mean(0)
    for k in range(1, num + 1):
        total = x[chosen].sum(0)
        gaps = np.linalg.norm(mean - (x + total) / k, axis=1)
        gaps[chosen] = np.inf
        chosen.append(int(gaps.argmin()))
    return chosen


def k_center_by_hand(x, num):
    chosen = [int(np.linalg.norm(x - x.mean(0), axis=1).argmin())]
    while len(chosen) < num:
        gaps = np.min([np.linalg.norm(x - x[c], axis=1) for c in chosen], axis=0)
        chosen.append(int(gaps.argmax()))
    return chosen


BOTH = [(greedy.herding, herding_by_hand), (greedy.k_center, k_center_by_hand)]
each = pytest.mark.parametrize('ours, theirs', BOTH, ids=['herding', 'k_center'])


@each
def test_it_is_its_definition(ours, theirs):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(40, 5))
        found = ours(jnp.asarray(x), jnp.ones(40, bool), num=12)
        np.testing.assert_array_equal(found, theirs(x, 12))


@each
def test_padding_is_never_taken_and_changes_nothing(ours, theirs):
    x = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    padded = np.concatenate([x, 100 * np.ones((7, 3), np.float32)])
    found = ours(jnp.asarray(padded), jnp.arange(27) < 20, num=20)
    assert sorted(np.asarray(found)) == list(range(20))
    np.testing.assert_array_equal(found[:6], ours(jnp.asarray(x), jnp.ones(20, bool), num=6))


def test_by_hand():
    # mean 3: herding takes 3, then the one that keeps the mean: 2 or 4 away by 1/2, the first
    x = jnp.array([0.0, 2.0, 3.0, 4.0, 6.0])[:, None]
    np.testing.assert_array_equal(greedy.herding(x, jnp.ones(5, bool), num=3), [2, 1, 3])
    # k-center: 3, then the farthest (0 and 6 alike, the first), then 6
    np.testing.assert_array_equal(greedy.k_center(x, jnp.ones(5, bool), num=3), [2, 0, 4])


@each
def test_alike_samples_are_taken_once_each(ours, theirs):
    found = ours(jnp.ones((6, 2)), jnp.ones(6, bool), num=6)
    assert sorted(np.asarray(found)) == list(range(6))


@each
def test_classes_go_at_once(ours, theirs):
    x = np.random.default_rng(2).normal(size=(3, 10, 4)).astype(np.float32)
    valid = jnp.arange(10)[None] < jnp.array([10, 8, 6])[:, None]
    found = jax.vmap(lambda x, v: ours(x, v, num=5))(jnp.asarray(x), valid)
    for row, of_class, size in zip(found, x, (10, 8, 6)):
        np.testing.assert_array_equal(row, theirs(of_class[:size].astype(np.float64), 5))


@each
@pytest.mark.parametrize('num', [0, 7])
def test_a_number_that_cannot_be_is_refused(ours, theirs, num):
    with pytest.raises(ValueError, match=f'between 1 and the 6 samples, got {num}'):
        ours(jnp.ones((6, 2)), jnp.ones(6, bool), num=num)


def test_k_means_takes_the_nearest_sample_that_is_left_at_every_centre():
    with jax.enable_x64(True):
        x, key = (
            np.random.default_rng(4).normal(size=(60, 3)),
            jax.random.key(5),
        )  # a cluster of two has a tie
        found = greedy.k_means(key, jnp.asarray(x), jnp.ones(60, bool), num=5)
        centres = kmeans(key, jnp.asarray(x), jnp.ones(60, bool), num_clusters=5, iterations=100)
        expected = []
        for centre in np.asarray(centres):
            gaps = np.linalg.norm(x - centre, axis=1)
            gaps[expected] = np.inf
            expected.append(int(gaps.argmin()))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('seed', range(3))
def test_k_means_takes_no_sample_twice_and_no_padding(seed):
    x = np.random.default_rng(seed).normal(size=(12, 2)).astype(np.float32)
    found = greedy.k_means(jax.random.key(seed), jnp.asarray(x), jnp.arange(12) < 8, num=8)
    assert sorted(np.asarray(found)) == list(range(8))
