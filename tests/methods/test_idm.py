"""IDM against the authors' code, through the engine:
mosaics, one step per class, shared momentum."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_layout

from jaxdd import augment, models, optimizers
from jaxdd.engine.distill import make_gradient, make_step
from jaxdd.losses import soft_cross_entropy
from jaxdd.methods import idm
from jaxdd.regularizers import cc, cm
from jaxdd.terms import regularize
from jaxdd.types import Batch, Inputs, Observation, Outputs, Read, Recipe, SyntheticSet, Variables

REAL, SYNTHETIC = Read('encoder', 'real'), Read('encoder', 'synthetic')
NET = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=2)
RECIPE = Recipe(optimizers.sgd(0.01, momentum=0.9, weight_decay=5e-4), 2, 4, soft_cross_entropy)
Papers = collections.namedtuple('Papers', 'golden method inputs images')


def preset(net=NET, recipe=RECIPE, **knobs):
    return idm(net, recipe, augment=augment.identity(), **{'ce_weight': 0.5, **knobs})


@pytest.fixture
def papers(precision, reference, given):
    """IDM with IID as in the reference: its encoder has guessed 45 % right."""
    golden = reference('iid_idm')
    encoder, proxy = (
        torch_layout.convnet(
            precision.weights(
                torch_layout.hash_weights(golden[f'idm_{net}_names'], golden[f'idm_{net}_shapes'])
            )
        )
        for net in ('net', 'resnet_stub')
    )
    net, stub = (
        models.by_name('convnet', (16, 16, 3), 2, width=w, depth=d) for w, d in ((8, 3), (6, 2))
    )
    inputs = Inputs(
        real=precision.images(golden['idm_image_real'].reshape(-1, 3, 16, 16), 2),
        pretrained={'proxy': proxy},
    )

    encoder = encoder._replace(
        accuracy=jnp.asarray(golden['idm_acc_percent'] / 100, precision.dtype)
    )
    base = preset(net, ce_weight=float(golden['idm_ce_weight']))._replace(networks=given(encoder))
    method = regularize(base, {'cm': (0.03, cm()), 'cc': (0.01, cc())}, models={'proxy': stub})
    return Papers(golden, method, inputs, precision.images(golden['idm_image_syn'], 2))


def test_one_step_per_class_with_iid_is_the_papers(precision, papers, started):
    golden, method, inputs, images = papers
    optimizer = optax.sgd(0.2, momentum=0.5)
    initial = started(method, images, optimizer, factor=2)
    step = jax.jit(make_step(method, optimizer))
    state, metrics = step(initial, inputs)
    precision.close(metrics['loss/total'], golden['idm_loss_sum'])
    precision.close(0.03 * metrics['loss/cm'], golden['idm_cm_weighted_sum'])
    precision.close(0.01 * metrics['loss/cc'], golden['idm_cc_weighted_sum'])
    precision.close(metrics['loss/cross_entropy'], golden['idm_ce_sum'])
    precision.close(
        metrics['loss/idm'],
        golden['idm_loss_sum'] - golden['idm_cm_weighted_sum'] - golden['idm_cc_weighted_sum'],
    )
    after = precision.images(golden['idm_image_syn_after_each_class_step'][-1], 2)
    precision.close(state.params['images'], after)

    untrained = initial.networks._replace(accuracy=jnp.zeros((), precision.dtype))
    _, metrics = step(initial._replace(networks=untrained), inputs)
    precision.close(metrics['loss/total'], golden['idm_loss_sum_when_meter_empty'])
    # reported, though without weight
    precision.close(metrics['loss/cross_entropy'], golden['idm_ce_sum'])


def test_the_gradients_of_both_class_steps_are_the_papers(precision, papers, started):
    golden, method, inputs, images = papers
    gradient = jax.jit(make_gradient(method))
    state = started(method, images, optax.sgd(0.2), factor=2)
    for only, (expected, after) in enumerate(
        zip(golden['idm_grad_per_class_step'], golden['idm_image_syn_after_each_class_step'])
    ):
        slope = gradient(state, inputs, jnp.int32(only))[0]['images']
        precision.close(slope, precision.images(expected, 2))
        assert not slope[1 - only].any()
        state = state._replace(params={'images': precision.images(after, 2)})


# One momentum buffer for all classes


def test_momentum_of_the_class_steps_is_torch_s(precision, reference, one_by_one, started):
    golden = reference('iid_idm')
    slopes, expected = (
        jnp.asarray(golden['mom_grads'], precision.dtype),
        golden['mom_params_after_each_step'],
    )
    method = one_by_one(lambda images, c, step: jnp.vdot(slopes[step, c], images))
    optimizer = optax.sgd(0.2, momentum=0.5)
    state = started(method, jnp.zeros((3, 1, 1, 1, 2), precision.dtype), optimizer)
    step = jax.jit(make_step(method, optimizer))
    for after in expected[2::3]:  # after the last class of each iteration
        state, _ = step(state, Inputs())
        precision.close(state.params['images'], after.reshape(3, 1, 1, 1, 2))


def closed_form(images, buffer, target, rate, momentum):
    """One iteration over all classes at once; loss ||x - target||^2 / 2, arrays [K, 2]."""
    count = len(images)
    # steps of the other classes
    before, after = np.arange(count)[:, None], np.arange(count)[::-1, None]
    drift = lambda steps: momentum * (1 - momentum**steps) / (1 - momentum)
    images = images - rate * drift(before) * buffer
    buffer = momentum ** (before + 1) * buffer + images - target
    return images - rate * (1 + drift(after)) * buffer, momentum**after * buffer


@pytest.mark.parametrize('count', [1, 3, 12])
def test_each_class_step_also_moves_the_others_by_their_momentum(x64, one_by_one, started, count):
    images, target = np.random.default_rng(count).normal(size=(2, count, 2))
    wanted = jnp.asarray(target)
    method = one_by_one(lambda images, c, step: jnp.sum((images - wanted[c]) ** 2) / 2)
    optimizer = optax.sgd(0.2, momentum=0.5)
    state = started(method, jnp.asarray(images.reshape(count, 1, 1, 1, 2)), optimizer)
    step, buffer, losses = jax.jit(make_step(method, optimizer)), np.zeros_like(images), []
    for _ in range(4):
        images, buffer = closed_form(images, buffer, target, 0.2, 0.5)
        state, metrics = step(state, Inputs())
        np.testing.assert_allclose(
            state.params['images'].reshape(count, 2), images, rtol=0, atol=1e-12
        )
        losses.append(metrics['loss/total'])
    # seen at their own steps, the classes follow plain SGD of twice the learning rate
    if count == 12:
        np.testing.assert_allclose(np.divide(losses[1:], losses[:-1]), (1 - 0.4) ** 2, rtol=2e-3)


# The objective and the preset


def objective(synthetic, logits, accuracy, ce_weight=0.5):
    """IDM's objective of given synthetic features [2, n, 2] and logits [2, n, 2]."""
    # means (2, 1) and (0, 2)
    real = jnp.array([[[1.0, 0.0], [3.0, 2.0]], [[0.0, 0.0], [0.0, 4.0]]])
    outputs = {REAL: Outputs(None, real, None, {}), SYNTHETIC: Outputs(logits, synthetic, None, {})}
    labels = jnp.repeat(jnp.eye(2)[:, None], synthetic.shape[1], axis=1)
    networks = {'encoder': Variables({}, {}, 0, accuracy)}
    seen = Observation(outputs, {}, SyntheticSet(None, labels), networks, Inputs(), 0)
    return preset(ce_weight=ce_weight).objective.loss(seen, jax.random.key(0))


def test_the_objective_by_hand():
    synthetic = jnp.array([[[0.0, 1.0]] * 2, [[1.0, 5.0]] * 2])  # distances 4 and 1 + 9
    logits = jnp.log(jnp.array([[[1.0, 1.0], [1.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]]))
    cross_entropy = np.log(2) / 2 + np.log(4) / 2 + np.log(2)  # means of each class, summed
    value, metrics = objective(synthetic, logits, 0.45)
    np.testing.assert_allclose(metrics['loss/cross_entropy'], cross_entropy, rtol=1e-6)
    np.testing.assert_allclose(value, 14 + 0.5 * 45 * cross_entropy, rtol=1e-6)
    assert metrics['loss/idm'] == value


def test_the_preset():
    transform = augment.shared('flip')
    method = idm(NET, RECIPE, augment=transform, ce_weight=0.5)
    assert method.objective.reads == {REAL, SYNTHETIC}
    assert (method.classes, method.models, method.augment) == (
        'sequential',
        {'encoder': NET},
        transform,
    )
    assert preset(classes='joint').classes == 'joint'
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 8, 3)), jnp.float32)
    initial = SyntheticSet(images, jnp.zeros((3, 8, 3)))
    params, fixed = method.parametrization.init(jax.random.key(0), initial)
    assert params['images'].shape == (3, 2, 8, 8, 3)
    np.testing.assert_allclose(
        params['images'][:, :, 4:, :4],  # tile 1 is the one below
        images[:, 2:4].reshape(3, 2, 4, 2, 4, 2, 3).mean((3, 5)),
        atol=1e-6,
    )
    # no pixel box
    assert method.parametrization.project({'images': 9 * images}, fixed)['images'].max() > 9


def updated(method, count):
    """The queue after a step that is offered `count` mini-batches of real images, traced only."""
    shapes = (count, 4, 8, 8, 3), (count, 4, 3), (count, 4)
    mixed = (
        Batch(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)) if count else None
    )
    networks = method.networks
    state = jax.eval_shape(networks.init, jax.random.key(0))
    return jax.eval_shape(networks.update, state, jax.random.key(0), Inputs(mixed=mixed), None)


def test_the_queue_trains_on_real_images():
    queue = updated(preset(max_size=5), count=4)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(queue.networks)} == {5}
    with pytest.raises(ValueError, match='real mini-batches per step, but the feed supplies 0'):
        updated(preset(max_size=5), count=0)


@pytest.mark.parametrize(
    'ipc, side, factor, message',
    [
        (6, 8, 2, 'multiple of 4 images per class.* got 6, the nearest valid is 8'),
        (9, 8, 3, '8 x 8 pixels .* 3 x 3 equal tiles; valid factors: 1, 2, 4, 8'),
    ],
)
def test_refuses_images_that_the_factor_does_not_divide(ipc, side, factor, message):
    initial = SyntheticSet(jnp.zeros((3, ipc, side, side, 3)), jnp.zeros((3, ipc, 3)))
    with pytest.raises(ValueError, match=message):
        preset(factor=factor).parametrization.init(jax.random.key(0), initial)


@pytest.mark.parametrize(
    'knobs, message',
    [
        ({'factor': 0}, 'at least 1 tile per side, got 0'),
        ({'push_every': 0}, 'push_every must be at least 1, got 0'),
        ({'max_size': 0}, 'max_size must be at least 1, got 0'),
        ({'train_count': 0}, 'train_count must be at least 1, got 0'),
        ({'train_count': 5}, 'train_count must be at most 4, the networks at the start, got 5'),
    ],
)
def test_refuses_counts_that_cannot_be(knobs, message):
    with pytest.raises(ValueError, match=message):
        preset(**knobs)


# One image per class without tiles, as the authors' code has it


def easiest_of(logits, weights=None, **knobs):
    """The objective of two classes, real features 0, 1, 2 and 3 of each, synthetic features 0."""
    real = jnp.broadcast_to(jnp.arange(4.0)[None, :, None], (2, 4, 1))
    outputs = {
        REAL: Outputs(logits, real, None, {}),
        SYNTHETIC: Outputs(jnp.array([[[0.0, 1.0]], [[0.0, 1.0]]]), jnp.zeros((2, 1, 1)), None, {}),
    }
    seen = Observation(
        outputs,
        {},
        SyntheticSet(None, jnp.eye(2)[:, None]),
        {'encoder': Variables({}, {}, 0, 0.01)},
        Inputs(real_weights=weights),
        0,
        jnp.arange(2),
    )
    return preset(ce_weight=1.0, **knobs).objective.loss(seen, jax.random.key(0))


def test_the_easiest_real_images_alone_are_matched():
    # the log-odds of class 0 are 4, 3, 2, 1; so images 0, 1 are the easiest of class 0, 2, 3 of 1
    logits = jnp.broadcast_to(jnp.array([[4.0, 0], [3, 0], [2, 0], [1, 0]])[None], (2, 4, 2))
    everywhere = 2 * 1.5**2
    value, metrics = easiest_of(logits)
    np.testing.assert_allclose(value - metrics['loss/cross_entropy'], everywhere, rtol=1e-5)
    value, metrics = easiest_of(logits, easiest=2)
    np.testing.assert_allclose(value - metrics['loss/cross_entropy'], 0.5**2 + 2.5**2, rtol=1e-5)
    value, metrics = easiest_of(logits, easiest=4)
    np.testing.assert_allclose(value - metrics['loss/cross_entropy'], everywhere, rtol=1e-5)
    # image 3 only fills up both classes
    weights = jnp.array([[1.0, 1, 1, 0]] * 2)
    value, metrics = easiest_of(logits, weights, easiest=2)
    np.testing.assert_allclose(value - metrics['loss/cross_entropy'], 0.5**2 + 1.5**2, rtol=1e-5)


def test_what_is_classified_correctly_has_no_cross_entropy():
    wrong, right = np.log1p(np.e), np.log1p(np.exp(-1))  # of class 0, of class 1
    logits = jnp.zeros((2, 4, 2))
    for only, expected in ((False, wrong + right), (True, wrong)):
        _, metrics = easiest_of(logits, only_misclassified=only)
        np.testing.assert_allclose(metrics['loss/cross_entropy'], expected, rtol=1e-6)


def test_the_gradient_of_the_easiest_is_that_of_the_formula_in_numpy(x64):
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(2, 6, 5)), rng.normal(size=(2, 3, 5))
    logits, guesses = rng.normal(size=(2, 6, 2)), rng.normal(size=(2, 3, 2))

    def value(synthetic, guesses):
        total = 0.0
        for c in range(2):
            entropy = np.log(np.exp(logits[c]).sum(-1)) - logits[c][:, c]
            kept = real[c][np.argsort(entropy)[:4]]
            total += ((kept.mean(0) - synthetic[c].mean(0)) ** 2).sum()
            own = np.log(np.exp(guesses[c]).sum(-1)) - guesses[c][:, c]
            total += 0.5 * 45 * np.where(guesses[c].argmax(-1) == c, 0, own).mean()
        return total

    def loss(synthetic, guesses):
        outputs = {
            REAL: Outputs(jnp.asarray(logits), jnp.asarray(real), None, {}),
            SYNTHETIC: Outputs(guesses, synthetic, None, {}),
        }
        labels = jnp.repeat(jnp.eye(2)[:, None], 3, axis=1)
        seen = Observation(
            outputs,
            {},
            SyntheticSet(None, labels),
            {'encoder': Variables({}, {}, 0, 0.45)},
            Inputs(),
            0,
            jnp.arange(2),
        )
        made = preset(ce_weight=0.5, easiest=4, only_misclassified=True)
        return made.objective.loss(seen, jax.random.key(0))[0]

    found, slopes = jax.value_and_grad(loss, (0, 1))(jnp.asarray(synthetic), jnp.asarray(guesses))
    np.testing.assert_allclose(found, value(synthetic, guesses), rtol=1e-9)
    for which, slope in enumerate(slopes):
        at = (1, 2, 0)
        ends = []
        for sign in (1, -1):
            moved = [synthetic.copy(), guesses.copy()]
            moved[which][at] += sign * 1e-6
            ends.append(value(*moved))
        np.testing.assert_allclose(slope[at], (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-8)
