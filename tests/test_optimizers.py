"""AdamW and cosine learning rates, against torch's own and the papers' lists."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxdd.engine import fit
from jaxdd.optimizers import adamw, cosine


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


@pytest.mark.parametrize(
    'num_epochs, per_epoch, warmup, message',
    [
        (0, 1, 0, 'num_epochs must be at least 1, got 0'),
        (3, 0, 0, 'steps_per_epoch must be at least 1, got 0'),
        (5, 1, 5, 'warmup_epochs must be between 0 and 4.*got 5.*more epochs'),
        (5, 1, -1, 'got -1'),
    ],
)
def test_impossible_schedules_are_refused(num_epochs, per_epoch, warmup, message):
    with pytest.raises(ValueError, match=message):
        cosine(0.1, num_epochs, per_epoch, warmup_epochs=warmup)


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
        ours = fit.sgd(rate, momentum=0.9, weight_decay=0.1)
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


def test_a_schedule_and_drops_go_together():
    rule = fit.sgd(lambda count: 1.0 / (1 + count), drop_at=2, drop_factor=0.5)
    params = our_run(rule, jnp.zeros(1), [jnp.ones(1)] * 3)
    np.testing.assert_allclose(params, [-(1 + 1 / 2 + 0.5 / 3)], rtol=1e-6)
