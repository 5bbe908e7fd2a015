"""SGD, AdamW and cosine learning rates, against torch's own, optax's and the papers' lists."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxdd.optimizers import accumulated, adamw, cosine, gsam, linear, sgd


def rates(schedule, num_epochs, per_epoch=1):
    return np.asarray(jax.vmap(schedule)(jnp.arange(num_epochs) * per_epoch))


def test_the_papers_learning_rates(reference):
    ref = reference('infer_sched_budget')
    np.testing.assert_allclose(rates(cosine(1e-3, 400, 1), 400), ref['val_lr_400ep'], rtol=1e-5)
    for name, half in (('sre2l_imagenet_lr_scale_300', False), ('rded_lr_scale_300', True)):
        found = rates(cosine(1.0, 300, 1, half=half), 300)[ref['epochs']]
        np.testing.assert_allclose(found, ref[name], rtol=1e-5)


def test_the_rate_changes_once_per_epoch_and_stays_at_its_end():
    schedule = jax.jit(cosine(0.2, 6, 3))
    found = np.asarray([schedule(count) for count in range(24)])
    np.testing.assert_allclose(
        found[:18], 0.1 * (1 + np.cos(np.pi * np.repeat(np.arange(6), 3) / 6)), rtol=1e-5
    )
    np.testing.assert_allclose(found[18:], 0, atol=1e-9)
    np.testing.assert_allclose(cosine(0.2, 6, 3, half=True)(100), 0.1, rtol=1e-6)


def test_a_warm_up_precedes_the_cosine():
    found = rates(cosine(0.2, 50, 7, warmup_epochs=5), 50, per_epoch=7)
    epochs = np.arange(50)
    expected = np.where(
        epochs < 5, 0.01 + 0.99 * epochs / 5, 0.5 * (1 + np.cos(np.pi * (epochs - 5) / 45))
    )
    np.testing.assert_allclose(found, 0.2 * expected, rtol=1e-4, atol=1e-9)
    assert found[0] == np.float32(0.002) and found[5] == np.float32(0.2)


def test_a_straight_line_falls_by_epoch_and_stays_at_zero():
    found = [float(linear(0.2, 5, 3)(count)) for count in range(18)]
    expected = np.repeat([0.2, 0.16, 0.12, 0.08, 0.04, 0.0], 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    warm = [float(linear(0.2, 5, 1, warmup_epochs=2)(count)) for count in range(6)]
    expected = [0.002, 0.2 * (0.01 + 0.99 / 2), 0.2, 0.2 * 2 / 3, 0.2 / 3, 0]
    np.testing.assert_allclose(warm, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('schedule', [cosine, linear])
@pytest.mark.parametrize(
    'num_epochs, per_epoch, warmup, message',
    [
        (0, 1, 0, 'num_epochs must be at least 1, got 0'),
        (3, 0, 0, 'steps_per_epoch must be at least 1, got 0'),
        (5, 1, 5, 'warmup_epochs must be between 0 and 4.*got 5.*more epochs'),
        (5, 1, -1, 'got -1'),
    ],
)
def test_impossible_schedules_are_refused(schedule, num_epochs, per_epoch, warmup, message):
    with pytest.raises(ValueError, match=message):
        schedule(0.1, num_epochs, per_epoch, warmup_epochs=warmup)


def torch_run(optimizer, scheduler, tensors, gradients, per_epoch):
    for i, values in enumerate(gradients):
        for tensor, value in zip(tensors, values):
            tensor.grad = torch.tensor(value)
        optimizer.step()
        if (i + 1) % per_epoch == 0:
            scheduler.step()
    return [tensor.detach().numpy() for tensor in tensors]


def our_run(rule, params, gradients):
    state, step = rule.init(params), jax.jit(rule.update)
    for values in gradients:
        updates, state = step(values, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize('kind', ['adamw', 'adamw, matrices alone', 'sgd'])
def test_updates_are_torchs(x64, kind):
    rng = np.random.default_rng(0)
    params = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    gradients = [[rng.normal(size=p.shape) for p in params] for _ in range(12)]
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    rate = cosine(0.05, 4, 3)
    if kind == 'sgd':
        theirs = torch.optim.SGD(tensors, 0.05, momentum=0.9, weight_decay=0.1)
        ours = sgd(rate, momentum=0.9, weight_decay=0.1)
    else:
        decays = (0.3, 0.3 if kind == 'adamw' else 0.0)
        theirs = torch.optim.AdamW(
            [{'params': [t], 'weight_decay': d} for t, d in zip(tensors, decays)], 0.05
        )
        ours = adamw(rate, weight_decay=0.3, decay_all=kind == 'adamw')
    expected = torch_run(
        theirs, torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 4), tensors, gradients, 3
    )
    found = our_run(ours, [jnp.asarray(p) for p in params], gradients)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def torch_sgd(params, gradients, *, learning_rate, momentum, weight_decay, drop_at, restart=True):
    """torch.optim.SGD without dampening:
    after `drop_at` updates a tenth of the rate, with a new optimiser or not."""
    buffer, rows = None, []
    for i, g in enumerate(gradients):
        if i in np.atleast_1d(drop_at):
            learning_rate, buffer = learning_rate * 0.1, None if restart else buffer
        g = g + weight_decay * params
        buffer = g if buffer is None else momentum * buffer + g
        params = params - learning_rate * buffer
        rows.append(params)
    return rows


@pytest.mark.parametrize(
    'momentum, weight_decay, drop_at, restart',
    [
        (0, 0, (), True),
        (0.9, 0, (), True),
        (0.9, 0.05, (), True),
        (0, 0.05, 1, True),
        (0.5, 0.05, 3, True),
        (0.9, 0.05, 0, True),
        (0.9, 0.05, (2, 4), True),
        (0.9, 0.05, (2, 4), False),
    ],
)
def test_sgd_counts_as_torch_does(x64, momentum, weight_decay, drop_at, restart):
    rng = np.random.default_rng(0)
    params, gradients = rng.normal(size=5), rng.normal(size=(6, 5))
    expected = torch_sgd(
        params,
        gradients,
        learning_rate=0.3,
        momentum=momentum,
        weight_decay=weight_decay,
        drop_at=drop_at,
        restart=restart,
    )
    rule = sgd(0.3, momentum=momentum, weight_decay=weight_decay, drop_at=drop_at, restart=restart)
    ours = {'w': jnp.asarray(params)}
    state = rule.init(ours)
    for gradient, row in zip(gradients, expected):
        updates, state = rule.update({'w': jnp.asarray(gradient)}, state, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
        np.testing.assert_allclose(ours['w'], row, rtol=1e-7)


def test_sgd_keeps_the_dtype_of_the_parameters():
    rule, params = sgd(0.1, momentum=0.9, drop_at=2), {'w': jnp.ones(3, jnp.bfloat16)}
    updates, state = rule.update(params, rule.init(params), params)
    assert updates['w'].dtype == state[1]['w'].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    'rate, momentum, weight_decay',
    [
        (0.05, 0.0, 0.0),
        (0.05, 0.9, 5e-4),
        (cosine(0.2, 4, 3), 0.9, 0.0),
        (cosine(0.2, 4, 3, warmup_epochs=1), 0.5, 0.1),
    ],
)
@pytest.mark.parametrize('compiled', [False, True])
def test_between_restarts_sgd_is_optaxs_to_the_bit(rate, momentum, weight_decay, compiled):
    rng = np.random.default_rng(0)
    params = theirs = jnp.asarray(rng.normal(size=(7, 5)), jnp.float32)
    rule = sgd(rate, momentum=momentum, weight_decay=weight_decay, drop_at=(5, 9), drop_factor=1.0)
    chain = optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(rate, momentum=momentum))
    ours, other = (jax.jit(one.update) if compiled else one.update for one in (rule, chain))
    state, decayed = rule.init(params), chain.init(params)
    for i in range(12):
        gradient = jnp.asarray(rng.normal(size=params.shape), jnp.float32)
        if i in (5, 9):  # a new optimiser, whose schedule goes on
            decayed = jax.tree.map(
                lambda x: x if x.dtype == jnp.int32 else jnp.zeros_like(x), decayed
            )
        updates, state = ours(gradient, state, params)
        expected, decayed = other(gradient, decayed, theirs)
        assert bytes(np.asarray(updates)) == bytes(np.asarray(expected)), i
        params, theirs = params + updates, theirs + expected


def test_the_state_of_sgd_is_that_of_older_checkpoints():
    state = sgd(0.1, momentum=0.9).init({'layer': {'kernel': jnp.ones(2)}})
    names = [
        jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]
    ]
    assert names == ['[0]', "[1]['layer']['kernel']"]


def test_the_cosine_is_optaxs_up_to_rounding():
    epochs = jnp.arange(401)
    expected, found = (
        jax.vmap(optax.cosine_decay_schedule(1.0, 400))(epochs),
        rates(cosine(1.0, 400, 1), 401),
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-7)
    exact = np.sin(np.pi * (400 - np.arange(400)) / 800) ** 2
    assert np.abs(expected[399] / exact[399] - 1) > 1e-4
    np.testing.assert_allclose(found[:400], exact, rtol=1e-6)


def test_a_schedule_and_drops_go_together():
    rule = sgd(lambda count: 1.0 / (1 + count), drop_at=2, drop_factor=0.5)
    params = our_run(rule, jnp.zeros(1), [jnp.ones(1)] * 3)
    np.testing.assert_allclose(params, [-(1 + 1 / 2 + 0.5 / 3)], rtol=1e-6)


def quadratic(params):
    """Gradient of sum w^4 / 4."""
    return jax.tree.map(lambda w: w**3, params)


def gsam_by_hand(w, rho, alpha):
    """The gradient that GSAM's base sees, transcribed for one flat vector of parameters."""
    g = w**3
    e = w**2 * g * rho / (np.linalg.norm(np.abs(w) * g) + 1e-12)
    p = (w + e) ** 3
    cosine = g @ p / (np.linalg.norm(g) * np.linalg.norm(p) + 1e-12)
    return p - alpha * (g - cosine * np.linalg.norm(g) * p / (np.linalg.norm(p) + 1e-12))


@pytest.mark.parametrize('rho, alpha', [(0.1, 0.3), (0.5, 0.0), (2.0, 1.0)])
def test_gsam_is_its_formula(rho, alpha):
    with jax.enable_x64(True):
        w = np.array([1.0, -2.0, 0.5, 3.0, -0.1])
        params = {'a': jnp.asarray(w[:2]), 'b': jnp.asarray(w[2:])}
        rule = gsam(optax.sgd(0.1), rho=rho, alpha=alpha)
        updates, _ = rule.update(
            quadratic(params), rule.init(params), params, grad_fn=lambda w, i: quadratic(w)
        )
        np.testing.assert_allclose(
            np.concatenate([updates['a'], updates['b']]),
            -0.1 * gsam_by_hand(w, rho, alpha),
            rtol=1e-12,
        )


def test_gsam_by_hand():
    # one parameter: e = rho w^2 g / |w g| = 0.5 * 4 * 8 / 16 = 1, so g_p = 27, and nothing of g is
    # orthogonal to it
    params = jnp.array([2.0])
    rule = gsam(optax.sgd(1.0), rho=0.5, alpha=0.3)
    updates, _ = rule.update(
        quadratic(params), rule.init(params), params, grad_fn=lambda w, i: quadratic(w)
    )
    np.testing.assert_allclose(updates, [-27.0], rtol=1e-5)


@pytest.mark.parametrize('params', [jnp.zeros(3), jnp.array([0.0, 0.0, 1e-20])])
def test_gsam_without_a_gradient_stands_still(params):
    rule = gsam(optax.sgd(1.0), rho=0.5, alpha=0.3)
    updates, _ = rule.update(
        jnp.zeros(3), rule.init(params), params, grad_fn=lambda w, i: jnp.zeros(3)
    )
    np.testing.assert_array_equal(updates, 0.0)


def test_gsam_needs_a_gradient_function_and_a_radius():
    rule = gsam(optax.sgd(1.0), rho=0.5, alpha=0.3)
    with pytest.raises(ValueError, match='grad_fn'):
        rule.update(jnp.ones(2), rule.init(jnp.ones(2)), jnp.ones(2))
    for rho, alpha in ((0.0, 0.3), (-1.0, 0.3), (0.1, -1.0), (float('nan'), 0.1)):
        with pytest.raises(ValueError, match='rho must be above 0 and alpha at least 0, got'):
            gsam(optax.sgd(1.0), rho=rho, alpha=alpha)


def test_accumulated_gradients_move_once_per_group_of_mini_batches_as_their_mean_does():
    gradients = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    start = jnp.ones(3)
    rule = lambda: sgd(0.1, momentum=0.9, weight_decay=0.01, drop_at=1)
    several, whole = accumulated(rule(), 3), rule()
    state, params, rows = several.init(start), start, []
    for gradient in gradients:
        updates, state = several.update(jnp.asarray(gradient), state, params)
        params = params + updates
        rows.append(params)
    kept, expected = whole.init(start), start
    for group in gradients.reshape(2, 3, 3):
        updates, kept = whole.update(jnp.asarray(group.mean(0)), kept, expected)
        expected = expected + updates
    np.testing.assert_array_equal(rows[0], start)
    np.testing.assert_array_equal(rows[3], rows[2])
    np.testing.assert_allclose(rows[5], expected, rtol=1e-6)
