"""The unrolled student against the authors' code, in every way of taking its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_layout

from jaxdd import augment, models
from jaxdd.methods import _trajectory_matching as matching
from jaxdd.methods import mtt
from jaxdd.methods._trajectory_matching import Unroll, trajectory_matching
from jaxdd.types import Expert, Inputs, Observation, SyntheticSet

NET = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=2)
ONES = augment.identity()


def network(golden, theta, dtype='float64'):
    """A flat vector of the reference -> our parameters."""
    return torch_layout.convnet(torch_layout.unflattened(golden, np.asarray(theta, dtype))).params


@pytest.fixture
def golden(reference, precision):
    """The reference's inputs and outputs, DATM's beside MTT's."""
    found = {**reference('cmi_datm_tesla'), **reference('cmi_mtt')}
    start, target = (
        network(found, found[name], precision.dtype) for name in ('theta_start', 'theta_target')
    )
    # one image per class and row: classes of the reference's images do not matter to the method
    images = precision.images(found['images'], 1)
    return found | {'expert': Expert(start, target), 'set': images}


def value_and_gradient(golden, unroll, dtype, *, soft):
    """Value and gradient to images, rate and (logits of) labels on the reference's inputs."""
    term = trajectory_matching('mtt', NET, ONES, unroll)
    hard = jnp.eye(3, dtype=dtype)[golden['labels']][None]

    def loss(images, rate, logits):
        labels = jax.nn.softmax(logits) if soft else hard
        seen = Observation(
            {},
            {('synthetic', 'raw'): images},
            SyntheticSet(images, labels, rate),
            {},
            Inputs(expert=golden['expert']),
            jnp.int32(0),
        )
        return term.loss(seen, jax.random.key(0))[0]

    logits = jnp.asarray(golden['label_logits'], dtype)[None]
    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(
        golden['set'], jnp.asarray(golden['lr'], dtype), logits
    )


@pytest.fixture(params=['full', 'mini'])
def kind(request, golden, monkeypatch):
    """Whole-set steps, or mini-batches in the reference's order."""
    order = jnp.asarray(golden['mini_batch_order'])
    if request.param == 'mini':
        monkeypatch.setattr(
            matching, 'epoch_indices', lambda key, step, **how: (order[step], jnp.ones(2))
        )
    return request.param


def unroll(kind, **how):
    return Unroll(3, 2 if kind == 'mini' else None, **how)


@pytest.mark.parametrize('recompute', [True, False])
def test_mtt_is_the_authors(precision, golden, kind, recompute):
    value, (images, rate, _) = value_and_gradient(
        golden, unroll(kind, recompute=recompute), precision.dtype, soft=False
    )
    precision.close(value, golden[f'{kind}_loss'])
    precision.close(images, precision.images(golden[f'{kind}_grad_images'], 1))
    precision.close(rate, golden[f'{kind}_grad_lr'])


@pytest.mark.parametrize('gradient', ['exact', 'tesla'])
def test_datm_and_tesla_are_the_authors(precision, golden, kind, gradient):
    value, (images, rate, labels) = value_and_gradient(
        golden, unroll(kind, gradient=gradient), precision.dtype, soft=True
    )
    precision.close(value, golden[f'{kind}_{gradient}_loss'])
    precision.close(images, precision.images(golden[f'{kind}_{gradient}_grad_images'], 1))
    precision.close(rate, golden[f'{kind}_{gradient}_grad_lr'])
    precision.close(labels[0], golden[f'{kind}_{gradient}_grad_label_logits'])


def test_tesla_is_exact_for_a_single_step(precision, golden):
    exact, tesla = (
        value_and_gradient(golden, Unroll(1, gradient=way), precision.dtype, soft=True)
        for way in ('exact', 'tesla')
    )
    jax.tree.map(precision.close, tesla, exact)


def test_teslas_error_grows_with_the_steps(golden, precision):
    def cosine(steps):
        images = [
            np.ravel(value_and_gradient(golden, Unroll(steps, gradient=way), precision.dtype,
                                        soft=False)[1][0])
            for way in ('exact', 'tesla')
        ]  # fmt: skip
        return images[0] @ images[1] / np.prod([np.linalg.norm(one) for one in images])

    cosines = [cosine(steps) for steps in (1, 3, 10)]
    assert 1 - 1e-6 < cosines[0] and 0.99 < cosines[2] < cosines[1] < 0.9999


def student(unroll, *, rate=0.1, transform=ONES, images=7, seed=0, key=1, side=8):
    """(value, gradient to images) of a random student, expert and set."""
    net = models.by_name('convnet', (side, side, 3), 3, width=4, depth=1)
    start, target = (net.init(jax.random.key(seed)).params for seed in (2, 3))
    term = trajectory_matching('mtt', net, transform, unroll)
    x = jax.random.normal(jax.random.key(seed), (1, images, side, side, 3))
    labels = jax.nn.one_hot(jnp.arange(images) % 3, 3)[None]

    @jax.jit
    def loss(x):
        seen = Observation(
            {}, {('synthetic', 'raw'): x}, SyntheticSet(x, labels, jnp.float32(rate)), {},
            Inputs(expert=Expert(start, target)), jnp.int32(0),
        )  # fmt: skip
        return term.loss(seen, jax.random.key(key))[0]

    return jax.value_and_grad(loss)(x)


def test_a_student_that_does_not_learn_has_loss_one_and_no_gradient():
    value, gradient = student(Unroll(3), rate=0.0)
    np.testing.assert_allclose(value, 1, rtol=1e-6)
    assert not gradient.any()


def test_computing_again_changes_nothing():
    dsa = augment.independent('color_crop_cutout_flip_scale_rotate')
    again, once = (
        student(Unroll(4, 3, recompute=recompute), transform=dsa) for recompute in (True, False)
    )
    np.testing.assert_allclose(again[0], once[0], rtol=1e-6)
    np.testing.assert_allclose(again[1], once[1], rtol=1e-4, atol=1e-6 * np.abs(once[1]).max())


@pytest.mark.parametrize('steps', [1, 2, 5])
def test_the_first_step_outside_the_loop_is_the_first_step(monkeypatch, steps):
    dsa = augment.independent('color_scale_rotate')
    outside = student(Unroll(steps, 3), transform=dsa)
    monkeypatch.setattr(matching, 'FEW_STEPS', 0)
    within = student(Unroll(steps, 3), transform=dsa)
    np.testing.assert_allclose(outside[0], within[0], rtol=1e-6)
    np.testing.assert_allclose(
        outside[1], within[1], rtol=1e-4, atol=1e-6 * np.abs(within[1]).max()
    )


def test_every_image_is_seen_once_per_round_and_a_short_batch_is_its_own_mean(monkeypatch):
    seen = []
    gradient = matching.passes.chunked_sum

    def noted(function, images, labels, shares, **how):
        jax.debug.callback(lambda x, s: seen.append((np.asarray(x), np.asarray(s))), images, shares)
        return gradient(function, images, labels, shares, **how)

    monkeypatch.setattr(matching.passes, 'chunked_sum', noted)
    x = jnp.arange(7.0)[:, None, None, None] * jnp.ones((7, 8, 8, 3))
    net = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
    given = SyntheticSet(x, jax.nn.one_hot(jnp.arange(7) % 3, 3), jnp.float32(0.1))
    start = net.init(jax.random.key(0)).params
    matching.trained(jax.random.key(1), net, ONES, Unroll(3, 3), given, start)
    jax.effects_barrier()
    numbers = [x[:, 0, 0, 0][shares > 0] for x, shares in seen]
    assert [len(batch) for batch in numbers] == [3, 3, 1]
    assert sorted(np.concatenate(numbers)) == list(range(7))
    assert [float(shares.sum()) for _, shares in seen] == pytest.approx([1, 1, 1])


def test_every_inner_step_and_every_step_draws_anew():
    drawn = []

    def noisy(key, images):
        noise = jax.random.normal(key, images.shape)
        jax.debug.callback(lambda x: drawn.append(float(x.ravel()[0])), noise)
        return images + noise

    for key in (1, 1, 5):
        student(Unroll(12), transform=noisy, key=key)
    jax.effects_barrier()
    # two keys of twelve inner steps; what is computed again, or by the same key, draws the same
    assert len(set(drawn)) == 2 * 12


@pytest.mark.parametrize(
    'wrong, said',
    [
        (Unroll(0), 'num_steps must be at least 1, got 0'),
        (Unroll(1, 0), 'batch_size must be at least 1, got 0'),
        (Unroll(1, gradient='exakt'), "gradient.*'exakt'.*exact"),
    ],
)
def test_an_unroll_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        mtt(NET, augment=ONES, unroll=wrong, learning_rate=0.1)


def test_a_feed_without_experts_and_a_set_without_a_rate_are_refused():
    term = trajectory_matching('mtt', NET, ONES, Unroll(1))
    x = jnp.zeros((3, 1, 8, 8, 3))
    seen = Observation(
        {}, {('synthetic', 'raw'): x}, SyntheticSet(x, jnp.zeros((3, 1, 3))), {}, Inputs(), 0
    )
    with pytest.raises(ValueError, match='the feed has none; use segments.attach'):
        term.loss(seen, jax.random.key(0))
    seen = seen._replace(inputs=Inputs(expert=Expert({}, {})))
    with pytest.raises(ValueError, match='which has none; use parametrizations.with_learning_rate'):
        term.loss(seen, jax.random.key(0))


def temporary_bytes(unroll):
    """What the compiled gradient holds beside its inputs and outputs."""
    net = models.by_name('convnet', (16, 16, 3), 3, width=8, depth=2)
    start, target = (net.init(jax.random.key(seed)).params for seed in (2, 3))
    term = trajectory_matching('mtt', net, augment.independent('color_scale_rotate'), unroll)
    labels = jax.nn.one_hot(jnp.arange(60) % 3, 3)[None]

    def loss(x, rate):
        seen = Observation(
            {}, {('synthetic', 'raw'): x}, SyntheticSet(x, labels, rate), {},
            Inputs(expert=Expert(start, target)), jnp.int32(0),
        )  # fmt: skip
        return term.loss(seen, jax.random.key(0))[0]

    images = jax.ShapeDtypeStruct((1, 60, 16, 16, 3), jnp.float32)
    lowered = jax.jit(jax.grad(loss, (0, 1))).lower(images, jax.ShapeDtypeStruct((), jnp.float32))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(start))
    return lowered.compile().memory_analysis().temp_size_in_bytes, size


def test_memory_does_not_grow_with_the_steps_but_for_two_vectors_of_parameters():
    few, size = temporary_bytes(Unroll(3))
    many, _ = temporary_bytes(Unroll(33))
    assert many - few < 1.2 * 30 * 2 * size and many < 2 * few
    assert temporary_bytes(Unroll(33, recompute=False))[0] > 5 * many
