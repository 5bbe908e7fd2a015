"""Runs together move their sets exactly as each would alone."""

import chex
import jax
import numpy as np
import optax
import pytest

from jaxdd import augment, data, models
from jaxdd.engine import distill
from jaxdd.methods import dm, together
from jaxdd.regularizers import cm
from jaxdd.terms import regularize

SET = data.fake(per_class=6)
NET = models.by_name('convnet', SET.spec.image_shape, SET.spec.num_classes, width=4, depth=2)
DM = dm(NET, augment=augment.shared())
METHODS = {'one': DM, 'two': DM, 'cm': regularize(DM, {'cm': (0.3, cm())})}
COUNTS = {'one': 1, 'two': 2, 'cm': 2}
OPTIMIZERS = {
    'one': optax.sgd(1.0, momentum=0.5),
    'two': optax.sgd(0.1),
    'cm': optax.sgd(1.0, momentum=0.5),
}
FEED = data.stratified(SET.train, SET.spec, per_class=4)


def started(name, key=0):
    initial = data.real_subset(jax.random.key(7), SET.train, SET.spec, ipc=COUNTS[name])
    return distill.init_state(jax.random.key(key), METHODS[name], OPTIMIZERS[name], initial)


def moved(step, state, num_steps=3):
    seen = []
    watch = distill.Callback(1, lambda state, at, metrics: seen.append(metrics))
    return distill.run(step, state, FEED, num_steps=num_steps, callbacks=[watch]), seen


@pytest.mark.parametrize('classes', ['joint', 'sequential'])
def test_each_set_moves_as_it_would_alone(classes):
    methods = {name: one._replace(classes=classes) for name, one in METHODS.items()}
    state, seen = moved(
        distill.make_step(together.together(methods, COUNTS), together.optimizer(OPTIMIZERS)),
        together.joined({name: started(name) for name in METHODS}),
    )
    for name, method in methods.items():
        alone, told = moved(distill.make_step(method, OPTIMIZERS[name]), started(name))
        own = together.part(state, name)
        chex.assert_trees_all_close(own.params, alone.params, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(own.opt_state, alone.opt_state, rtol=1e-3, atol=1e-5)
        assert own.step == alone.step == 3 and own.networks == alone.networks == ()
        start = started(name).params['images']
        assert np.abs(own.params['images'] - start).max() > 1e-3  # else nothing was compared
        for together_, apart in zip(seen, told, strict=True):
            for metric in set(apart) - {'images/max_abs'}:
                np.testing.assert_allclose(together_[f'{name}/{metric}'], apart[metric], rtol=1e-4)


def test_the_real_images_are_looked_at_once():
    whole = together.together(METHODS, COUNTS)
    reads = {(read.role, read.data) for read in whole.objective.reads}
    assert reads == {('encoder', 'real'), ('encoder', 'synthetic')}
    assert len(whole.objective.reads) == 2


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(classes='sequential'), 'two cannot run together .*: it has its own classes'),
        (dict(accepts=lambda metrics: True, looks_at=1), 'its own accepts, looks_at'),
        (dict(project_every=2), 'project_every'),
        (
            dict(models={'encoder': models.by_name('convnet', (8, 8, 3), 3, norm='batch')}),
            'its encoder normalises by the batch',
        ),
    ],
)
def test_what_cannot_share_a_step_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        together.together({**METHODS, 'one': DM._replace(**change)}, COUNTS)


@pytest.mark.parametrize('names', [('one',), ()])
def test_one_run_is_none_together(names):
    with pytest.raises(ValueError, match='two runs or more'):
        together.together({name: DM for name in names}, dict.fromkeys(names, 1))


def test_counts_are_those_of_the_runs():
    with pytest.raises(ValueError, match='got one, two, cm and counts of two, one, cm'):
        together.together(METHODS, {'two': 2, 'one': 1, 'cm': 2})


def test_runs_that_would_see_other_images_are_refused():
    with pytest.raises(ValueError, match='from the same key: give them one seed'):
        together.joined({'one': started('one'), 'two': started('two', key=1)})
    with pytest.raises(ValueError, match='at the same step, got 0 and 2'):
        later = started('two')._replace(step=jax.numpy.int32(2))
        together.joined({'one': started('one'), 'two': later})
    method = together.together(METHODS, COUNTS)
    with pytest.raises(ValueError, match='join them with `joined`'):
        method.parametrization.init(jax.random.key(0), None)
