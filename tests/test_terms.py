"""The algebra of terms: values, gradients, weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd.parametrizations import pixels
from jaxdd.terms import at_every, named, read_as, regularize, weighted_sum
from jaxdd.types import (
    Inputs,
    Method,
    Networks,
    Observation,
    Outputs,
    Read,
    SyntheticSet,
    Term,
)

KEY = jax.random.key(0)
A, B = Read('encoder', 'real'), Read('proxy', 'synthetic', 'raw')


def seen(images, step=0):
    return Observation(
        {}, {}, SyntheticSet(images, jnp.zeros((1, 1, 1))), {}, Inputs(), jnp.int32(step)
    )


def term(function, *reads):
    return Term(
        frozenset(reads), lambda observation, key: (function(observation.synthetic.images), {})
    )


def noise(observation, key):
    return jax.random.normal(key), {'noise': jnp.zeros(())}


SQUARES, SUM, CUBES = (
    term(lambda x: (x**2).sum(), A),
    term(jnp.sum, B),
    term(lambda x: (x**3).sum()),
)
BROKEN = term(lambda x: jnp.log(-jnp.square(x)).sum(), Read('proxy', 'real'))
IMAGES = jnp.linspace(-1.0, 2.0, 6).reshape(1, 2, 1, 3, 1)


def method(objective):
    networks = Networks(
        lambda key: (),
        lambda state, key, inputs: (None, inputs),
        lambda state, key, inputs, synthetic: state,
    )
    return Method(pixels(), objective, networks, {'encoder': 'model'}, lambda key, images: images)


def gradient(loss):
    return jax.grad(lambda images: loss(seen(images), KEY)[0])(IMAGES)


def test_named_reports_its_value_beside_other_metrics():
    wrapped = named(
        'dm',
        Term(frozenset({A}), lambda observation, key: (jnp.float32(4), {'extra': jnp.float32(1)})),
    )
    value, metrics = wrapped.loss(seen(IMAGES), KEY)
    assert wrapped.reads == {A}
    assert (value, metrics) == (4, {'loss/dm': 4, 'extra': 1})


def test_weighted_sum_adds_values_and_reports_them_unweighted():
    total = weighted_sum({'squares': (2.0, SQUARES), 'sum': (0.5, SUM)})
    value, metrics = total.loss(seen(IMAGES), KEY)
    x = np.asarray(IMAGES, np.float64)
    np.testing.assert_allclose(value, 2 * (x**2).sum() + 0.5 * x.sum(), rtol=1e-6)
    assert metrics.keys() == {'loss/squares', 'loss/sum'}
    np.testing.assert_allclose(metrics['loss/squares'], (x**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(metrics['loss/sum'], x.sum(), rtol=1e-6)
    assert total.reads == {A, B}


def test_weighted_sums_nest():
    inner = weighted_sum({'squares': (2.0, SQUARES), 'sum': (1.0, SUM)})
    value, metrics = weighted_sum({'both': (3.0, inner)}).loss(seen(IMAGES), KEY)
    np.testing.assert_allclose(value, 6 * (IMAGES**2).sum() + 3 * IMAGES.sum(), rtol=1e-6)
    assert metrics.keys() == {'loss/squares', 'loss/sum', 'loss/both'}


@pytest.mark.parametrize('weight', [0.1, 1.0, 7.0])
def test_the_gradient_is_linear_in_the_weight(weight):
    def of(w):
        return gradient(regularize(method(SQUARES), {'cubes': (w, CUBES)}).objective.loss)

    np.testing.assert_allclose(
        of(weight), gradient(SQUARES.loss) + weight * gradient(CUBES.loss), rtol=1e-5
    )


def test_a_schedule_is_read_at_the_step():
    schedule = optax.linear_schedule(0.0, 1.0, 10)
    total = weighted_sum({'sum': (schedule, SUM)})
    for step in (0, 4, 10, 99):
        value, _ = total.loss(seen(IMAGES, step), KEY)
        np.testing.assert_allclose(value, min(step / 10, 1) * IMAGES.sum(), rtol=1e-6)


def test_weight_zero_removes_a_term_that_is_not_a_number():
    assert not np.isfinite(BROKEN.loss(seen(IMAGES), KEY)[0])
    total = weighted_sum({'squares': (1.0, SQUARES), 'broken': (0.0, BROKEN)})
    value, metrics = total.loss(seen(IMAGES), KEY)
    np.testing.assert_allclose(value, (IMAGES**2).sum(), rtol=1e-6)
    assert np.isfinite(gradient(total.loss)).all()
    assert metrics.keys() == {'loss/squares'} and total.reads == {A}


@pytest.mark.parametrize(
    'terms', [{}, {'sum': (0.0, SUM)}, {'sum': (0, SUM), 'broken': (0.0, BROKEN)}]
)
def test_a_sum_without_terms_is_refused(terms):
    with pytest.raises(ValueError, match='at least one term with a non-zero weight'):
        weighted_sum(terms)


def test_terms_draw_independently():
    both = weighted_sum(
        {'a': (1.0, Term(frozenset(), noise)), 'b': (1.0, Term(frozenset(), noise))}
    )
    _, metrics = both.loss(seen(IMAGES), KEY)
    assert metrics['loss/a'] != metrics['loss/b']


@pytest.mark.parametrize('weight', [-0.1, -1, float('nan')])
def test_a_negative_weight_is_refused_by_name(weight):
    with pytest.raises(ValueError, match=f"'cubes' must be 0 or more, got {weight}"):
        regularize(method(SQUARES), {'sum': (1.0, SUM), 'cubes': (weight, CUBES)})


@pytest.mark.parametrize('regularizers', [{}, {'sum': (0.0, SUM), 'broken': (0, BROKEN)}])
def test_regularizing_by_nothing_is_the_same_method(regularizers):
    base = method(SQUARES)
    assert regularize(base, regularizers, models={'proxy': 'resnet'}) is base


def test_regularize_changes_objective_and_models_alone():
    base = method(named('base', SQUARES))
    full = regularize(
        base, {'sum': (0.5, SUM), 'broken': (0.0, BROKEN)}, models={'proxy': 'resnet'}
    )
    value, metrics = full.objective.loss(seen(IMAGES), KEY)
    np.testing.assert_allclose(value, (IMAGES**2).sum() + 0.5 * IMAGES.sum(), rtol=1e-6)
    assert metrics.keys() == {'loss/base', 'loss/sum'}
    assert full.objective.reads == {A, B}
    assert full.models == {'encoder': 'model', 'proxy': 'resnet'}
    assert full._replace(objective=base.objective, models=base.models) == base


def test_the_objective_draws_as_if_alone():
    base = method(named('base', Term(frozenset(), noise)))
    full = regularize(base, {'noise': (1.0, Term(frozenset(), noise))})
    _, metrics = full.objective.loss(seen(IMAGES), KEY)
    assert metrics['loss/base'] == base.objective.loss(seen(IMAGES), KEY)[0]
    assert metrics['loss/noise'] != metrics['loss/base']


def test_a_term_read_as_another_roles_is_given_that_roles_passes():
    proxy, image = Read('proxy', 'synthetic', 'raw'), Read('', 'real')
    judge = Term(
        frozenset({proxy, image}), lambda observation, key: (observation.outputs[proxy], {})
    )
    other = read_as(judge, 'proxy', 'encoder')
    assert other.reads == {Read('encoder', 'synthetic', 'raw'), image}
    outputs = {Read('encoder', 'synthetic', 'raw'): 3.0}
    assert other.loss(seen(IMAGES)._replace(outputs=outputs), None)[0] == 3.0
    assert read_as(judge, 'teacher', 'encoder') is judge


# Terms that are there now and then


def counted(calls):
    """A term of the features that it reads, and of its key; notes when it is computed."""

    def loss(observation, key):
        del key
        features = observation.outputs[B].features
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sum(features**2), {'size': jnp.max(features)}

    return Term(frozenset({B, Read('', 'real')}), loss)


def test_a_term_at_every_third_step_is_three_times_as_strong_there_and_nothing_between():
    calls, features = [], jnp.array([1.0, 2.0])
    rare = at_every(counted(calls), 3)
    assert rare.reads == {B._replace(every=3), Read('', 'real', every=3)}

    @jax.jit
    def at(step, features):
        outputs = {B._replace(every=3): Outputs(features, features, features, {})}
        return rare.loss(seen(IMAGES, step)._replace(outputs=outputs), KEY)

    for step in range(7):
        (value, metrics), slope = at(step, features), jax.grad(lambda f: at(step, f)[0])(features)
        weight = 3 * (step % 3 == 0)
        assert value == weight * 5 and metrics['size'] == weight * 2
        np.testing.assert_array_equal(slope, weight * 2 * features)
    jax.effects_barrier()
    assert len(calls) == 2 * 3  # value and gradient at the steps 0, 3 and 6


def test_a_term_of_every_step_is_itself_and_a_period_below_one_is_refused():
    assert at_every(SUM, 1) is SUM
    with pytest.raises(ValueError, match='every n-th: got every=0'):
        at_every(SUM, 0)
