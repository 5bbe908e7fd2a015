"""Representative samples against the paper's code (references/cmi_dream.npz),
NumPy and by their meaning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.coresets import kmeans as clustering

kmeans = jax.jit(clustering.kmeans, static_argnames=('num_clusters', 'iterations'))
nearest = jax.jit(clustering.nearest, static_argnames='per_centre')
representatives = jax.jit(
    clustering.representatives, static_argnames=('num', 'iterations', 'per_centre')
)


def blobs(num_clusters=4, per_cluster=10, width=6, spread=0.05, seed=0):
    """Samples `[M, D]` around far apart points, in order, and those points."""
    rng = np.random.default_rng(seed)
    points = 5 * np.eye(num_clusters, width) + rng.normal(size=width)
    samples = np.repeat(points, per_cluster, axis=0)
    samples = samples + spread * rng.normal(size=samples.shape)
    return jnp.asarray(samples, jnp.float32), points


def lloyd(features, centres, iterations):
    """Plain k-means from given centres."""
    for _ in range(iterations):
        cluster = np.square(features[:, None] - centres[None]).sum(axis=-1).argmin(axis=1)
        centres = np.stack(
            [
                features[cluster == j].mean(axis=0) if (cluster == j).any() else centre
                for j, centre in enumerate(centres)
            ]
        )
    return centres


def test_distances_and_selection_match_reference(reference):
    stored = reference('cmi_dream')
    features, centres = jnp.asarray(stored['embeddings']), jnp.asarray(stored['centers'])
    valid = jnp.ones(len(features), bool)
    distances = jnp.sqrt(clustering.squared_distances(features, centres)).T
    np.testing.assert_allclose(distances, stored['dist'], rtol=1e-5, atol=0)
    selected = nearest(features, centres, valid)
    assert selected.dtype == jnp.int32
    np.testing.assert_array_equal(selected, stored['selected'])
    top2 = nearest(features, centres, valid, per_centre=2)
    np.testing.assert_array_equal(top2, stored['selected_top2'])


@pytest.mark.parametrize('iterations', [0, 1, 3, 30])
def test_kmeans_matches_numpy_transcription(x64, iterations):
    features = np.random.default_rng(1).normal(size=(60, 5))
    arguments = jax.random.key(0), jnp.asarray(features), jnp.ones(60, bool)
    initial = kmeans(*arguments, num_clusters=7, iterations=0)
    centres = kmeans(*arguments, num_clusters=7, iterations=iterations)
    assert centres.dtype == jnp.float64
    np.testing.assert_allclose(
        centres, lloyd(features, np.asarray(initial), iterations), rtol=0, atol=1e-12
    )


def test_initial_centres_are_distinct_valid_samples_uniformly():
    features = jnp.arange(10.0)[:, None] * 3
    valid = jnp.arange(10) % 3 != 0  # 6 of them
    keys = jax.random.split(jax.random.key(0), 600)
    start = jax.vmap(lambda key: kmeans(key, features, valid, num_clusters=4, iterations=0)[:, 0])
    centres = start(keys)
    rows = np.rint(np.asarray(centres) / 3).astype(int)
    np.testing.assert_allclose(centres, 3.0 * rows, rtol=0, atol=1e-5)
    assert all(len(set(row)) == 4 for row in rows) and np.asarray(valid)[rows].all()
    counts = np.bincount(rows.ravel(), minlength=10)[np.asarray(valid)]
    assert np.abs(counts - 400).max() < 5 * np.sqrt(600 * 2 / 9)


@pytest.mark.parametrize('offset', [0.0, 1000.0])
def test_well_separated_clusters_are_found(offset):
    features, points = blobs()
    valid = jnp.ones(len(features), bool)
    # From one sample in each cluster Lloyd cannot fail, and among these keys some start so.
    found = 0
    for key in jax.random.split(jax.random.key(0), 20):
        centres = kmeans(key, features + offset, valid, num_clusters=4, iterations=10)
        selected = nearest(features + offset, centres, valid)
        if sorted(np.asarray(selected) // 10) == [0, 1, 2, 3]:
            order = np.argsort(np.asarray(selected))
            np.testing.assert_allclose(centres[order], points + offset, rtol=0, atol=0.1)
            blob = np.asarray(features).reshape(4, 10, -1) + offset
            exact = np.square(blob - centres[order][:, None]).sum(axis=-1)
            assert (exact[np.arange(4), selected[order] % 10] <= exact.min(axis=1) + 1e-4).all()
            found += 1
    assert found >= 1


def test_an_empty_cluster_keeps_its_centre():
    # three equal samples: all go to one of their centres
    features = jnp.array([[0.0], [0.0], [0.0], [6.0]])
    centres = kmeans(jax.random.key(0), features, jnp.ones(4, bool), num_clusters=4, iterations=5)
    np.testing.assert_allclose(np.sort(centres[:, 0]), [0, 0, 0, 6], rtol=0, atol=1e-6)


@pytest.mark.parametrize('padding', [0.0, 1e6, np.nan, np.inf])
def test_rows_that_are_not_valid_have_no_influence(padding):
    features, _ = blobs(3, 5)
    valid = jnp.arange(20) < 15
    padded = jnp.concatenate([features, jnp.full((5, 6), padding)])
    shuffle = np.random.default_rng(2).permutation(20)
    for seed in range(5):
        selected = representatives(
            jax.random.key(seed), padded[shuffle], valid[shuffle], num=6, iterations=8
        )
        assert valid[shuffle][selected].all()
        centres = [
            kmeans(jax.random.key(seed), x, valid, num_clusters=3, iterations=8)
            for x in (padded, padded.at[15:].set(0.0))
        ]
        assert jnp.isfinite(centres[0]).all()
        np.testing.assert_array_equal(*centres)


def test_as_many_as_valid_rows_selects_each_once():
    features, valid = jax.random.normal(jax.random.key(0), (12, 4)), jnp.arange(12) % 3 != 1
    selected = representatives(jax.random.key(1), features, valid, num=8)
    np.testing.assert_array_equal(np.sort(selected), np.flatnonzero(valid))
    everything = representatives(jax.random.key(1), features, jnp.ones(12, bool), num=12)
    np.testing.assert_array_equal(np.sort(everything), np.arange(12))


def test_fewer_valid_rows_than_asked_for_repeat():
    features, valid = jax.random.normal(jax.random.key(0), (9, 4)), jnp.arange(9) < 3
    selected = representatives(jax.random.key(1), features, valid, num=8)
    assert set(np.asarray(selected).tolist()) == {0, 1, 2}
    centre = features[1:2]
    order = np.asarray(nearest(features, centre, valid, per_centre=7))
    assert order[0] == 1 and sorted(order[:3]) == [0, 1, 2]
    np.testing.assert_array_equal(order, np.resize(order[:3], 7))
    nothing = kmeans(jax.random.key(0), features, jnp.zeros(9, bool), num_clusters=2, iterations=3)
    np.testing.assert_array_equal(nothing, jnp.zeros((2, 4)))


def test_vmap_over_classes_agrees_with_a_loop():
    features = jax.random.normal(jax.random.key(0), (5, 30, 4))
    valid = jnp.arange(30)[None] < jnp.array([30, 12, 25, 6, 18])[:, None]
    keys = jax.random.split(jax.random.key(1), 5)

    def select(key, features, valid):
        return representatives(key, features, valid, num=6, iterations=10)

    loop = jnp.stack([select(*one) for one in zip(keys, features, valid)])
    np.testing.assert_array_equal(jax.jit(jax.vmap(select))(keys, features, valid), loop)
    assert jnp.take_along_axis(valid, loop, axis=1).all()


def test_the_key_decides():
    features, valid = jax.random.normal(jax.random.key(0), (50, 4)), jnp.ones(50, bool)
    selected = [
        representatives(jax.random.key(seed), features, valid, num=10) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(selected[0], selected[1])
    assert not np.array_equal(np.sort(selected[0]), np.sort(selected[2]))


def test_several_per_centre_come_from_its_cluster():
    features, _ = blobs(1, 12)
    selected = representatives(jax.random.key(0), features, jnp.ones(12, bool), num=6, per_centre=6)
    distance = np.square(np.asarray(features - features.mean(axis=0, keepdims=True))).sum(axis=1)
    np.testing.assert_array_equal(selected, np.argsort(distance)[:6])


def test_no_intermediate_is_larger_than_samples_by_centres():
    shapes = jax.make_jaxpr(lambda *x: representatives(*x, num=8, iterations=3))(
        jax.random.key(0), jnp.zeros((64, 32)), jnp.ones(64, bool)
    )
    assert (
        'f32[64,8]' in str(shapes) and '64,8,32' not in str(shapes) and '8,64,32' not in str(shapes)
    )


def test_half_precision_features_are_clustered_in_single():
    features = jax.random.normal(jax.random.key(0), (20, 4), jnp.bfloat16)
    centres = kmeans(jax.random.key(1), features, jnp.ones(20, bool), num_clusters=3, iterations=2)
    assert centres.dtype == jnp.float32


def test_user_mistakes_are_named():
    key, features, valid = jax.random.key(0), jnp.zeros((10, 3)), jnp.ones(10, bool)
    for num in (0, -1, 11):
        with pytest.raises(
            ValueError, match=f'num must lie between 1 and the number of rows, 10, got {num}'
        ):
            clustering.representatives(key, features, valid, num=num)
        with pytest.raises(ValueError, match=f'num_clusters must lie between .* 10, got {num}'):
            clustering.kmeans(key, features, valid, num_clusters=num, iterations=1)
        with pytest.raises(ValueError, match=f'per_centre must lie between .* 10, got {num}'):
            clustering.nearest(features, features[:2], valid, per_centre=num)
    with pytest.raises(ValueError, match='multiple of per_centre.* got num 9, per_centre 2'):
        clustering.representatives(key, features, valid, num=9, per_centre=2)
    with pytest.raises(AssertionError):
        clustering.kmeans(key, features, valid[1:], num_clusters=2, iterations=1)
