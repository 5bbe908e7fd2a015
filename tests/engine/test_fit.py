"""Training a classifier: torch's SGD, the papers' evaluation loop,
and the ways to run many networks."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_layout

from jaxdd import data, losses, models, optimizers, parallel
from jaxdd.engine import fit
from jaxdd.engine.loop import Callback, Control
from jaxdd.types import Batch, Recipe

SET = data.fake()
MODEL = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
NORMED = models.by_name('convnet_bn', (8, 8, 3), 3, width=4, depth=1, batch_statistics=True)
RECIPE = Recipe(
    optimizers.sgd(0.05, momentum=0.9, weight_decay=5e-4), 9, 8, losses.soft_cross_entropy
)
SAMPLE = data.epochs(SET.train, SET.spec, batch_size=8)
KEYS = [jax.random.fold_in(jax.random.key(5), i) for i in range(3)]


def batch(size, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, size)]
    return Batch(
        *map(
            jnp.asarray,
            (
                rng.normal(size=(size, 8, 8, 3)).astype(np.float32),
                labels,
                np.ones(size, np.float32),
            ),
        )
    )


def trained(reference, names):
    return torch_layout.convnet(
        {name[3:]: value for name, value in reference.items() if name.startswith(names)}
    )


def test_the_papers_evaluation_loop(reference):
    ref = reference('iid_eval')
    model = models.by_name('convnet', (16, 16, 3), 4, width=4, depth=3)
    rule = optimizers.sgd(0.01, momentum=0.9, weight_decay=5e-4, drop_at=5)
    recipe = Recipe(rule, 7, 8, losses.soft_cross_entropy)
    start = trained(ref, 'w0_')
    state = fit.FitState(jnp.int32(0), jax.random.key(0), start, rule.init(start.params))
    step = jax.jit(fit.make_fit_step(model, recipe))
    whole = Batch(
        jnp.asarray(torch_layout.nhwc(ref['x_train'])),
        jax.nn.one_hot(ref['y_train'], 4),
        jnp.ones(8),
    )
    for _ in range(recipe.num_steps):
        state, metrics = step(state, whole)
    chex.assert_trees_all_close(
        state.variables.params, trained(ref, 'w1_').params, atol=1e-5, rtol=0
    )
    logits = model.apply(state.variables, jnp.asarray(torch_layout.nhwc(ref['x_test']))).logits
    np.testing.assert_allclose(logits, ref['logits_test_after'], atol=1e-5)
    np.testing.assert_allclose(metrics['accuracy/train'], ref['acc_train'], atol=1e-6)
    assert (logits.argmax(-1) == ref['y_test']).mean() == pytest.approx(ref['acc_test'])


def test_padding_has_no_influence():
    real, junk = batch(5), batch(3, seed=1)
    padded = jax.tree.map(lambda a, b: jnp.concatenate([a, 1e3 * b]), real, junk)
    padded = padded._replace(weights=jnp.array([1.0] * 5 + [0.0] * 3))
    step, state = jax.jit(fit.make_fit_step(MODEL, RECIPE)), fit.init_fit(KEYS[0], MODEL, RECIPE)
    (a, metrics), (b, others) = step(state, real), step(state, padded)
    chex.assert_trees_all_close(
        (a.variables, a.opt_state, metrics), (b.variables, b.opt_state, others), atol=1e-6
    )


@pytest.mark.parametrize('size, own', [(40, 5), (60, 8)])
def test_a_batch_is_shared_by_all_devices_and_reduced_once(size, own, monkeypatch):
    # a CPU's convolutions are written as products
    monkeypatch.setattr(parallel, 'on_cpu', lambda: False)
    images = batch(size)._replace(weights=jnp.arange(size) % 4 / 3.0)
    state = fit.init_fit(KEYS[0], MODEL, RECIPE)
    expected, metrics = jax.jit(fit.make_fit_step(MODEL, RECIPE))(state, images)
    with parallel.use(parallel.mesh(8)):
        given = parallel.replicate((state, images))
        compiled = (
            jax.jit(lambda *given: parallel.replicate(fit.make_fit_step(MODEL, RECIPE)(*given)))
            .lower(*given)
            .compile()
        )
        found, of_them = compiled(*given)
    chex.assert_trees_all_close(
        (found.variables, of_them), (expected.variables, metrics), atol=1e-6
    )
    program = compiled.as_text()
    # the one feature map
    assert f'f32[{own},8,8,4]' in program and f'f32[{size},8,8,4]' not in program
    assert len(re.findall(r' all-\w+\(|collective-permute\(', program)) == 1


def test_the_loss_is_the_mean_over_the_images():
    state = fit.init_fit(KEYS[0], MODEL, RECIPE)
    _, metrics = jax.jit(fit.make_fit_step(MODEL, RECIPE))(state, batch(6))
    logits = MODEL.apply(state.variables, batch(6).images).logits
    picked = jnp.sum(jax.nn.log_softmax(logits) * batch(6).labels, -1)
    np.testing.assert_allclose(metrics['loss/train'], -picked.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics['accuracy/train'], (logits.argmax(-1) == batch(6).labels.argmax(-1)).mean()
    )


def test_a_network_knows_its_age_and_its_mean_accuracy():
    step, state, seen = (
        jax.jit(fit.make_fit_step(MODEL, RECIPE)),
        fit.init_fit(KEYS[0], MODEL, RECIPE),
        [],
    )
    assert (state.variables.age, state.variables.accuracy) == (0, 0)
    for i in range(4):
        state, metrics = step(state, batch(7, seed=i))
        seen.append(metrics['accuracy/train'])
        assert int(state.variables.age) == int(state.step) == i + 1
        np.testing.assert_allclose(state.variables.accuracy, np.mean(seen), rtol=1e-5)
    assert len({float(value) for value in seen}) > 1


def test_running_moments_move_and_only_by_the_batch():
    state = fit.init_fit(KEYS[0], NORMED, RECIPE)
    new, _ = jax.jit(fit.make_fit_step(NORMED, RECIPE))(state, batch(8))
    mean, var, count = NORMED.apply(state.variables, batch(8).images).moments['norm0']
    stats = new.variables.batch_stats['norm0']
    np.testing.assert_allclose(stats['mean'], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats['var'], 0.9 + 0.1 * var * count / (count - 1), rtol=1e-4)


def test_fit_trains():
    recipe = RECIPE._replace(num_steps=40)
    variables = jax.jit(fit.fit, static_argnums=(1, 3))(KEYS[0], MODEL, SAMPLE, recipe)
    logits = MODEL.apply(variables, data.normalise(SET.spec, SET.test.images)).logits
    assert (np.asarray(logits).argmax(-1) == SET.test.labels).mean() > 0.9
    assert variables.age == 40 and 0.5 < variables.accuracy <= 1


@pytest.fixture(scope='module')
def one_by_one():
    """What `fit` gives for every key."""
    compiled = jax.jit(fit.fit, static_argnums=(1, 3))
    return [compiled(key, MODEL, SAMPLE, RECIPE) for key in KEYS]


def test_different_keys_give_different_networks(one_by_one):
    kernels = [np.asarray(variables.params['conv0']['kernel']) for variables in one_by_one]
    assert min(np.abs(a - b).max() for a, b in zip(kernels, kernels[1:])) > 0.01


def fit_seeds(keys=KEYS, **options):
    return fit.fit_seeds(keys, MODEL, SAMPLE, RECIPE, control=Control(**{'together': 1, **options}))


@pytest.mark.parametrize('together', [1, 2, 3])
@pytest.mark.parametrize('steps_per_call', [1, 4])
def test_fit_seeds_is_fit_for_every_key(one_by_one, together, steps_per_call):
    networks = fit_seeds(together=together, steps_per_call=steps_per_call)
    chex.assert_trees_all_close(networks, one_by_one, atol=1e-5)


def test_the_size_of_a_dispatch_changes_no_bit():
    networks = [fit_seeds(KEYS[:1], steps_per_call=size) for size in (4, 7)]
    chex.assert_trees_all_equal(*networks)


def test_fit_may_be_mapped_over_keys(one_by_one):
    stacked = jax.jit(jax.vmap(lambda key: fit.fit(key, MODEL, SAMPLE, RECIPE)))(jnp.stack(KEYS))
    chex.assert_trees_all_close(
        stacked, jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one), atol=1e-5
    )


def test_callbacks_see_every_groups_steps():
    seen = []
    callbacks = [Callback(4, lambda state, step, metrics: seen.append((step, sorted(metrics))))]
    fit_seeds(KEYS[:2], steps_per_call=4, callbacks=callbacks)
    names = ['accuracy/train', 'loss/train']
    assert seen == [(4, names), (8, names), (9, names)] * 2


def test_stopping_early_keeps_the_finished_networks(one_by_one):
    answers = iter([False] * 5 + [True] * 9)  # three dispatches, then one of the next network
    networks = fit_seeds(steps_per_call=4, should_stop=lambda: next(answers))
    chex.assert_trees_all_close(networks, one_by_one[:1], atol=1e-5)


def test_stopping_networks_that_are_one_program_leaves_nothing():
    answers = iter([False, True])
    assert fit_seeds(together=len(KEYS), steps_per_call=4, should_stop=lambda: next(answers)) == []


def test_at_least_one_network_at_a_time():
    with pytest.raises(ValueError, match='together must be at least 1 network or chunk, got 0'):
        fit_seeds(together=0)


def test_gsam_is_the_authors(reference):
    golden = reference('cmi_gsam')
    net = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=2)
    with jax.enable_x64(True):
        start, after = (
            torch_layout.convnet(torch_layout.unflattened(golden, golden[name].astype('float64')))
            for name in ('theta_before', 'theta_after')
        )
        rule = optimizers.gsam(
            optimizers.sgd(float(golden['lr'])),
            rho=float(golden['rho']),
            alpha=float(golden['alpha']),
        )
        recipe = Recipe(rule, 1, 5, losses.soft_cross_entropy)
        state = fit.FitState(jnp.int32(0), jax.random.key(0), start, rule.init(start.params))
        images = jnp.asarray(torch_layout.nhwc(golden['x']), 'float64')
        given = Batch(images, jax.nn.one_hot(golden['y'], 3, dtype='float64'), jnp.ones(5))
        state, metrics = jax.jit(fit.make_fit_step(net, recipe))(state, given)
        np.testing.assert_allclose(metrics['loss/train'], golden['loss_at_before'], rtol=1e-9)
        chex.assert_trees_all_close(state.variables.params, after.params, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('model', [MODEL, NORMED], ids=['plain', 'batch norm'])
def test_gsam_on_two_devices_is_one(model):
    recipe = RECIPE._replace(optimizer=optimizers.gsam(optimizers.sgd(0.05), rho=0.05, alpha=0.3))
    step = jax.jit(fit.make_fit_step(model, recipe))
    state = fit.init_fit(jax.random.key(3), model, recipe)
    one = step(state, batch(16))[0]
    with parallel.use(parallel.mesh(2)):
        two = jax.jit(fit.make_fit_step(model, recipe))(*parallel.replicate((state, batch(16))))[0]
    chex.assert_trees_all_close(one.variables.params, two.variables.params, atol=1e-6)


def test_ordinary_optimisers_evaluate_one_gradient():
    def work(optimizer):
        recipe = RECIPE._replace(optimizer=optimizer)
        state = fit.init_fit(jax.random.key(3), MODEL, recipe)
        program = jax.jit(fit.make_fit_step(MODEL, recipe)).lower(state, batch(32)).compile()
        return program.cost_analysis()['flops']

    plain = optimizers.sgd(0.05)
    twice = work(optimizers.gsam(plain, rho=0.1, alpha=0.3)) / work(plain)
    assert twice == pytest.approx(2, rel=0.05)
