"""Automatic weights: the ratio of gradients that they promise, worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd import augment, data, models
from jaxdd.engine import loop
from jaxdd.engine.auto_weights import automatic_weights
from jaxdd.engine.distill import init_state, make_gradient
from jaxdd.methods import dm
from jaxdd.parametrizations import pixels, with_learning_rate
from jaxdd.regularizers import cc, cm
from jaxdd.terms import regularize
from jaxdd.types import Inputs, Method, Networks, Read, SyntheticSet, Term

IMAGES = jax.random.normal(jax.random.key(0), (3, 2, 4, 4, 1))
INITIAL = SyntheticSet(IMAGES, jnp.full((3, 2, 3), 1 / 3))
EMPTY = jax.tree_util.Partial(lambda key, step: Inputs())
NONE = Networks(
    lambda key: (),
    lambda state, key, inputs: (None, inputs),
    lambda state, key, inputs, synthetic: state,
)


def term(function):
    return Term(frozenset(), lambda seen, key: (function(seen.synthetic.images, seen.step), {}))


def toy(objective, classes='joint'):
    return Method(pixels(), objective, NONE, {}, augment.identity(), classes)


def weights(method, regularizers, **options):
    state = init_state(jax.random.key(1), method, optax.sgd(1.0), INITIAL)
    return automatic_weights(
        method, regularizers, state, EMPTY, **{'ratio': 0.3, 'models': {}, **options}
    )


QUADRATIC = term(lambda x, step: 2.5 * (x**2).sum())  # gradient 5 x
LINEAR = term(lambda x, step: 7 * x.sum())  # gradient 7 everywhere
BROKEN = term(lambda x, step: jnp.sqrt(-jnp.square(x)).sum())
FLAT = term(lambda x, step: jnp.zeros(()))


@pytest.mark.parametrize('ratio', [0.1, 1.0])
def test_the_weighted_pull_is_the_wanted_share(ratio):
    found = weights(toy(QUADRATIC), {'linear': LINEAR, 'quadratic': QUADRATIC}, ratio=ratio)
    base, pull = 5 * np.linalg.norm(np.ravel(IMAGES)), 7 * np.sqrt(IMAGES.size)
    assert found == pytest.approx({'linear': ratio * base / pull, 'quadratic': ratio}, rel=1e-5)


def test_what_no_regularizer_moves_does_not_count():
    steep = Term(
        frozenset(),
        lambda seen, key: (
            2.5 * (seen.synthetic.images ** 2).sum() + 1e6 * seen.synthetic.learning_rate, {}
        ),
    )  # fmt: skip
    method = toy(steep)._replace(parametrization=with_learning_rate(pixels(), 0.1))
    assert weights(method, {'linear': LINEAR}) == pytest.approx(
        weights(toy(QUADRATIC), {'linear': LINEAR}), rel=1e-5
    )


def test_the_ratio_is_averaged_over_the_draws():
    growing = term(lambda x, step: (1 + step) * 7 * x.sum())
    found = weights(toy(QUADRATIC), {'linear': growing}, draws=5)
    base, pull = 5 * np.linalg.norm(np.ravel(IMAGES)), 7 * np.sqrt(IMAGES.size)
    assert found['linear'] == pytest.approx(
        0.3 / np.mean([(1 + i) * pull / base for i in range(5)]), rel=1e-5
    )


def test_sequential_classes_are_measured_one_at_a_time():
    found = weights(toy(QUADRATIC, 'sequential'), {'linear': LINEAR}, draws=6)
    ratios = [7 * np.sqrt(32) / (5 * np.linalg.norm(np.ravel(images))) for images in IMAGES]
    assert found['linear'] == pytest.approx(0.3 / np.mean(ratios), rel=1e-5)


def test_a_regularizer_without_gradient_gets_no_weight():
    found = weights(toy(QUADRATIC), {'flat': FLAT, 'linear': LINEAR})
    assert found['flat'] == 0 and found['linear'] > 0
    method = toy(QUADRATIC)
    assert regularize(method, {'flat': (found['flat'], FLAT)}) is method


@pytest.mark.parametrize('objective, regularizer', [(QUADRATIC, BROKEN), (BROKEN, LINEAR)])
def test_a_gradient_that_is_not_a_number_is_refused(objective, regularizer):
    with pytest.raises(ValueError, match='no automatic weight for strange: .*NaN'):
        weights(toy(objective), {'strange': regularizer}, draws=2)


def test_real_regularizers_pull_as_told():
    dataset, net = data.fake(), models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
    method = dm(net, augment=augment.shared('flip'))
    feed = data.stratified(dataset.train, dataset.spec, per_class=8)
    plugins = {'cc': cc(Read('encoder', 'synthetic')), 'cm': cm()}
    for ipc, expected in ((1, set()), (2, {'cc', 'cm'})):
        initial = data.real_subset(jax.random.key(0), dataset.train, dataset.spec, ipc=ipc)
        state = init_state(jax.random.key(1), method, optax.sgd(1.0), initial)
        found = automatic_weights(method, plugins, state, feed, ratio=0.5, models={}, draws=3)
        assert {name for name, weight in found.items() if weight} == expected
        pulls = mean_pulls(method, plugins, state, feed, draws=3) if expected else {}
        assert {name: found[name] * pulls[name] for name in expected} == pytest.approx(
            {name: 0.5 for name in expected}, rel=1e-3
        )


def mean_pulls(method, regularizers, state, feed, draws):
    """name -> mean of ||grad R|| / ||grad L_DD|| over the steps' own networks and batches."""

    def norm(objective, state, inputs):
        leaves = jax.tree.leaves(
            make_gradient(method._replace(objective=objective))(state, inputs, None)[0]
        )
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in leaves))

    @jax.jit
    def measured(state, inputs):
        base = norm(method.objective, state, inputs)
        return {
            name: norm(regularizer, state, inputs) / base
            for name, regularizer in regularizers.items()
        }

    states = [state._replace(step=jnp.int32(i)) for i in range(draws)]
    ratios = [measured(at, feed(loop.feed_key(at), at.step)) for at in states]
    return {name: np.mean([ratio[name] for ratio in ratios]) for name in regularizers}
