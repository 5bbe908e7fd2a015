"""Gradient matching: the term against a plain loop over classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import losses, models
from jaxdd.methods._gradient_matching import gradient_matching
from jaxdd.types import Inputs, Observation, Read, SyntheticSet

KEY = jax.random.key(0)
CONVNET = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
MLP = models.by_name('mlp', (8, 8, 3), 3, width=16)
# programs this small cost more to compile well than to run
quick = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


@pytest.fixture
def arrays(x64):
    """Synthetic images [3, 4, ...] with soft labels, real images [3, 5, ...]."""
    rng = np.random.default_rng(0)
    return tuple(
        map(
            jnp.asarray,
            (
                rng.normal(size=(3, 4, 8, 8, 3)),
                rng.dirichlet(np.ones(3), (3, 4)),
                rng.normal(size=(3, 5, 8, 8, 3)),
            ),
        )
    )


@functools.cache
def encoder(model):
    """Weights in float64."""
    variables = quick(model.init)(KEY)
    return variables._replace(
        params=jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables.params)
    )


def observation(variables, images, labels, real, classes, weights=None):
    views = {('synthetic', 'augmented'): images, ('real', 'augmented'): real}
    return Observation(
        {},
        views,
        SyntheticSet(images, labels),
        {'encoder': variables},
        Inputs(real_weights=weights),
        step=jnp.int32(0),
        classes=classes,
    )


def term_value(term, variables, key, *arrays):
    return term.loss(observation(variables, *arrays), key)[0]


@functools.cache
def compiled(model=MLP, distance=losses.squared_distance, **options):
    """(key, images, labels, real, classes) -> value and gradient to the images."""
    term, variables = gradient_matching('dc', model, distance, **options), encoder(model)
    return quick(jax.value_and_grad(functools.partial(term_value, term, variables), 1))


def by_hand(model=MLP, distance=losses.squared_distance):
    """(images, labels, real) -> value and gradient, by one gradient of gradients for all classes
    together."""
    variables = encoder(model)

    def gradient(images, labels):
        def loss(params):
            predictions = jax.nn.log_softmax(
                model.apply(variables._replace(params=params), images).logits
            )
            return -(labels * predictions).sum() / len(images)

        return jax.grad(loss)(variables.params)

    def total(images, labels, real):
        return sum(
            distance(
                gradient(real[c], jnp.repeat(jnp.eye(3)[c : c + 1], len(real[c]), axis=0)),
                gradient(images[c], labels[c]),
            )
            for c in range(3)
        )

    return quick(jax.value_and_grad(total))


def assert_close(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == jnp.float64 and np.abs(other).max() > 1e-3
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10 * np.abs(other).max())


@pytest.mark.parametrize(
    'of', [(CONVNET, losses.layerwise_cosine_distance), ()], ids=['convnet', 'mlp']
)
def test_value_and_gradient_are_those_of_a_loop_over_classes(arrays, of):
    images, labels, real = arrays
    ours = compiled(*of)(KEY, images, labels, real, jnp.arange(3))
    assert_close(ours, by_hand(*of)(images, labels, real))


def test_real_images_without_weight_are_as_good_as_absent(arrays):
    images, labels, real = arrays
    sizes = 5, 2, 1
    weights = jnp.float32(np.arange(5) < np.array(sizes)[:, None])
    ours = compiled()(KEY, images, labels, real, jnp.arange(3), weights)
    assert_close(ours, by_hand()(images, labels, [r[:n] for r, n in zip(real, sizes)]))


def test_a_class_alone_counts_as_among_others(arrays):
    images, labels, real = arrays
    loss = compiled()
    value, gradient = loss(KEY, images, labels, real, jnp.arange(3))
    alone = [
        loss(KEY, images[c : c + 1], labels[c : c + 1], real[c : c + 1], jnp.array([c]))
        for c in range(3)
    ]
    assert_close(
        (value, gradient), (sum(v for v, _ in alone), jnp.concatenate([g for _, g in alone]))
    )
    mistaken, _ = loss(KEY, images[2:], labels[2:], real[2:], jnp.array([0]))
    assert abs(mistaken - alone[2][0]) > 1e-3


def test_the_gradient_scales_with_the_weight_of_the_term(arrays):
    images, labels, real = arrays
    term, variables = gradient_matching('dc', MLP, losses.squared_distance), encoder(MLP)

    def weighted(images, weight):
        return weight * term_value(term, variables, KEY, images, labels, real, jnp.arange(3))

    gradient = quick(jax.grad(weighted))
    one = gradient(images, 1.0)
    assert np.abs(one).max() > 1e-3
    for weight in (2.5, -0.1):
        np.testing.assert_allclose(gradient(images, weight), weight * one, rtol=1e-12, atol=1e-14)


def test_only_the_images_have_a_gradient(arrays):
    images, labels, real = arrays
    term, variables = gradient_matching('dc', MLP, losses.squared_distance), encoder(MLP)

    def value(real, params, labels):
        return term_value(
            term, variables._replace(params=params), KEY, images, labels, real, jnp.arange(3)
        )

    for leaf in jax.tree.leaves(quick(jax.grad(value, (0, 1, 2)))(real, variables.params, labels)):
        np.testing.assert_array_equal(leaf, 0)


def test_an_observation_without_classes_is_refused(arrays):
    term = gradient_matching('dc', MLP, losses.squared_distance)
    with pytest.raises(ValueError, match='does not say which classes it holds'):
        term_value(term, encoder(MLP), KEY, *arrays, None)


def test_at_most_so_many_synthetic_images_are_matched(arrays):
    images, labels, real = map(np.asarray, arrays)
    whole, few = compiled(), compiled(max_synthetic=2)
    choices = set()
    for seed in range(4):
        value, gradient = few(jax.random.key(seed), images, labels, real, jnp.arange(3))
        moved = np.abs(gradient).max((2, 3, 4)) > 0
        np.testing.assert_array_equal(moved.sum(1), 2)
        index = np.stack([np.flatnonzero(row) for row in moved])
        # each chosen image twice: the same means
        rows, twice = np.arange(3)[:, None], np.tile(index, 2)
        expected, parts = whole(KEY, images[rows, twice], labels[rows, twice], real, jnp.arange(3))
        halves = np.asarray(parts).reshape(3, 2, 2, 8, 8, 3)
        assert_close((value, np.asarray(gradient)[rows, index]), (expected, halves.sum(1)))
        choices |= {tuple(row) for row in index}
    assert len(choices) > 3
    matched = np.asarray(
        few(jax.random.key(3), images[2:], labels[2:], real[2:], jnp.array([2]))[1]
    )
    np.testing.assert_array_equal(np.abs(matched).max((2, 3, 4))[0] > 0, moved[2])


@pytest.mark.parametrize('most', [4, 9])
def test_fewer_images_than_the_most_are_all_matched(arrays, most):
    term = gradient_matching('dc', MLP, losses.squared_distance, max_synthetic=most)
    value = functools.partial(term_value, term, encoder(MLP))
    traced = str(jax.make_jaxpr(value)(KEY, *arrays, jnp.arange(3)))
    assert 'sort' not in traced and 'random' not in traced


def test_the_term_reports_its_value_and_reads_the_images_themselves(arrays):
    term = gradient_matching('idc', MLP, losses.squared_distance)
    assert term.reads == {Read('', 'real'), Read('', 'synthetic')}
    value, metrics = quick(term.loss)(observation(encoder(MLP), *arrays, jnp.arange(3)), KEY)
    assert metrics == {'loss/idc': value} and value > 0
