"""What a student sees of a synthetic set, and the teachers' labels."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment, losses, models, optimizers
from jaxdd.augment import mixing
from jaxdd.data import epoch_indices
from jaxdd.engine import evaluate, fit
from jaxdd.labels.relabel import dynamic, hard, static, with_mixing
from jaxdd.models.torch_weights import convert
from jaxdd.types import Batch, Recipe, SyntheticSet

SET = SyntheticSet(
    jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 3)),
    jax.random.dirichlet(jax.random.key(1), jnp.ones(3), (3, 2)),
)
KEY = jax.random.key(4)
MODELS = [
    models.by_name(name, (8, 8, 3), 3, width=4, depth=depth)
    for name, depth in (('convnet_bn', 1), ('mlp', None))
]
WEIGHTS = [model.init(jax.random.key(i)) for i, model in enumerate(MODELS)]


def shifted(key, images):
    return images + jax.random.normal(key)


def drawn(step, batch_size):
    """Indices, weights and the key of the views, from the training's key."""
    k_order, k_view = jax.random.split(KEY)
    return *epoch_indices(k_order, step, size=6, batch_size=batch_size), jax.random.fold_in(
        k_view, step
    )


@pytest.mark.parametrize('batch_size', [4, 100])
def test_hard_shows_shuffled_epochs_with_their_labels(batch_size):
    draw = jax.jit(hard(augment.identity()), static_argnums=3)
    for step in range(4):
        index, weights, _ = drawn(step, batch_size)
        batch = draw(KEY, jnp.int32(step), SET, batch_size)
        for i, at in enumerate(index):
            np.testing.assert_array_equal(batch.images[i], SET.images[at // 2, at % 2])
            np.testing.assert_array_equal(batch.labels[i], SET.labels[at // 2, at % 2])
        np.testing.assert_array_equal(batch.weights, weights)


def test_views_and_mixes_have_keys_of_their_own():
    def scaled(key, images, labels):
        return images * jax.random.uniform(key), labels[::-1]

    def moved(key, images, labels):
        return images + jax.random.uniform(key), 2 * labels

    plain, once = hard(shifted), with_mixing(hard(shifted), scaled)
    twice = with_mixing(once, moved)
    for step in (0, 5):
        index, weights, key = drawn(step, 4)
        images, labels = SET.images.reshape(6, 8, 8, 3)[index], SET.labels.reshape(6, 3)[index]
        chex.assert_trees_all_equal(
            plain(KEY, step, SET, 4), Batch(shifted(key, images), labels, weights)
        )
        k_view, k_mix = jax.random.split(key)
        chex.assert_trees_all_equal(
            once(KEY, step, SET, 4), Batch(*scaled(k_mix, shifted(k_view, images), labels), weights)
        )
        (k_first, k_scaled), k_moved = jax.random.split(k_view), k_mix
        inner = scaled(k_scaled, shifted(k_first, images), labels)
        chex.assert_trees_all_equal(
            twice(KEY, step, SET, 4), Batch(*moved(k_moved, *inner), weights)
        )


def test_hard_augments_every_image_by_itself_when_told_to():
    one = SyntheticSet(jnp.repeat(SET.images[:1, :1], 16, axis=1), jnp.ones((1, 16, 1)))
    images = hard(augment.independent('flip'))(KEY, 0, one, 16).images
    flipped = [np.array_equal(image, SET.images[0, 0, :, ::-1]) for image in images]
    kept = [np.array_equal(image, SET.images[0, 0]) for image in images]
    assert any(flipped) and any(kept) and all(a or b for a, b in zip(flipped, kept))


def test_any_supervision_can_be_mixed():
    factors = []

    def scaled(key, images, labels):
        return images * jax.random.uniform(key), 2 * labels

    plain = dynamic(hard(shifted), MODELS, WEIGHTS)
    both = with_mixing(plain, scaled)
    for step in (0, 1):
        batch, found = plain(KEY, step, SET, 4), both(KEY, step, SET, 4)
        factors.append(float(found.images.ravel()[0] / batch.images.ravel()[0]))
        np.testing.assert_allclose(found.images, factors[-1] * batch.images, rtol=1e-5)
        np.testing.assert_array_equal(found.labels, 2 * batch.labels)
        np.testing.assert_array_equal(found.weights, batch.weights)
    assert factors[0] != factors[1]


# Teachers


def logits_of(images):
    return sum(model.apply(weights, images).logits for model, weights in zip(MODELS, WEIGHTS)) / 2


@pytest.mark.parametrize('batch_size', [4, 6, 100])
def test_static_labels_are_the_mean_of_the_teachers_logits(batch_size):
    labelled = static(
        MODELS, WEIGHTS, SET._replace(learning_rate=jnp.float32(3)), batch_size=batch_size
    )
    np.testing.assert_array_equal(labelled.images, SET.images)
    assert labelled.learning_rate == 3 and labelled.labels.shape == (3, 2, 3)
    np.testing.assert_allclose(
        labelled.labels.reshape(6, 3),
        logits_of(SET.images.reshape(6, 8, 8, 3)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_dynamic_labels_belong_to_the_images_shown():
    view = with_mixing(hard(shifted), augment.cutmix)
    draw = jax.jit(dynamic(view, MODELS, WEIGHTS), static_argnums=3)
    for step in (0, 1, 2):
        batch, seen = draw(KEY, step, SET, 4), view(KEY, step, SET, 4)
        np.testing.assert_allclose(batch.images, seen.images, atol=1e-6)
        np.testing.assert_array_equal(batch.weights, seen.weights)
        np.testing.assert_allclose(batch.labels, logits_of(seen.images), rtol=1e-4, atol=1e-5)


def test_no_gradient_reaches_the_teachers():
    view = hard(augment.identity())

    def loss(weights, images):
        return jnp.sum(
            dynamic(view, MODELS, weights)(KEY, 0, SET._replace(images=images), 4).labels ** 2
        )

    grads = jax.grad(loss, (0, 1), allow_int=True)(WEIGHTS, SET.images)
    floats = [g for g in jax.tree.leaves(grads) if jnp.issubdtype(g.dtype, jnp.floating)]
    assert floats and all(not g.any() for g in floats)


def test_teachers_that_do_not_fit_are_refused():
    view, other = hard(augment.identity()), SET._replace(labels=jnp.ones((3, 2, 5)))
    for build in (lambda m, w: static(m, w, SET), lambda m, w: dynamic(view, m, w)):
        with pytest.raises(ValueError, match='at least one teacher .* got 0 architectures'):
            build([], [])
        with pytest.raises(ValueError, match='got 2 architectures and 1 sets of weights'):
            build(MODELS, WEIGHTS[:1])
    for use in (
        lambda: static(MODELS, WEIGHTS, other),
        lambda: dynamic(view, MODELS, WEIGHTS)(KEY, 0, other, 4),
    ):
        with pytest.raises(ValueError, match='teachers know 3 classes, the synthetic set has 5'):
            use()


def test_logits_are_mixed_before_the_softmax(reference):
    ref = reference('infer_kd')
    labels = jnp.asarray(ref['teachers'].mean(0), jnp.float32)
    _, blended = mixing.blend(
        jnp.zeros((8, 1, 1, 1)), labels, jnp.asarray(ref['mix_idx']), jnp.float32(ref['mix_lam'])
    )
    kl = losses.soft_label_kl(jnp.asarray(ref['student'], jnp.float32), blended, temperature=30.0)
    np.testing.assert_allclose(kl.mean(), ref['kl_T30_mixed_logits'], rtol=1e-4)
    assert abs(kl.mean() / ref['kl_T30_mixed_probs'] - 1) > 5e-4


# The papers' own epochs, static and dynamic


class Reference:
    """Networks and draws of a reference of whole epochs."""

    shape = (16, 16, 3)

    def __init__(self, ref):
        self.ref = ref
        self.images = jnp.asarray(ref['images'].transpose(0, 2, 3, 1))
        self.set = SyntheticSet(self.images[None], jnp.zeros((1, 24, 10)))
        teachers = [
            self.network(width, f'teacher{i}', False) for i, width in enumerate((4, 6, 8, 5))
        ]
        self.models, self.variables = zip(*teachers)

    def network(self, width, prefix, batch_statistics):
        module = models.ResNet(10, stage_sizes=(1, 1), width=width, norm='batch', pooling='global')
        state = {
            name.removeprefix(f'{prefix}/'): value
            for name, value in self.ref.items()
            if name.startswith(f'{prefix}/')
        }
        return (
            models.model(module, self.shape, batch_statistics=batch_statistics),
            convert(state, module, self.shape),
        )

    def view(self, kind):
        """Mini-batches in the stored order, mixed with the stored draws."""
        order, partner, lam = (
            jnp.asarray(self.ref[name]) for name in ('order', f'{kind}_perm', f'{kind}_lam')
        )

        def draw(key, step, synthetic, batch_size):
            del key
            index = jax.lax.dynamic_slice_in_dim(order, step * batch_size, batch_size)
            images, labels = synthetic.images[0][index], synthetic.labels[0][index]
            return Batch(
                *mixing.blend(images, labels, partner[step], lam[step]), jnp.ones(batch_size)
            )

        return draw


@pytest.mark.parametrize('kind', ['static', 'dyn'])
def test_an_epoch_of_the_papers_program(reference, kind):
    given = Reference(reference('infer_val'))
    synthetic, view = given.set, given.view(kind)
    if kind == 'static':
        synthetic = static(given.models, given.variables, synthetic, batch_size=10)
        np.testing.assert_allclose(synthetic.labels[0], given.ref['static_soft_logits'], atol=2e-5)
    else:
        view = dynamic(view, given.models, given.variables)
    model, start = given.network(4, 'student_init', True)
    loss = functools.partial(losses.soft_label_kl, temperature=30.0)
    recipe = Recipe(optimizers.adamw(optimizers.cosine(1e-3, 400, 3)), 3, 8, loss)
    state = fit.FitState(jnp.int32(0), KEY, start, recipe.optimizer.init(start.params))
    step = jax.jit(fit.make_fit_step(model, recipe))
    sample = jax.jit(evaluate.student_batches(synthetic, view, batch_size=8))
    values = []
    for i in range(3):
        state, metrics = step(state, sample(KEY, jnp.int32(i)))
        values.append(metrics['loss/train'])
    np.testing.assert_allclose(values, given.ref[f'{kind}_loss'], rtol=2e-4)
    tested, after = given.network(4, f'{kind}_student_after', False)
    # Adam turns a gradient of rounding size into a step of up to the learning rate, 1e-3.
    chex.assert_trees_all_close(state.variables.params, after.params, atol=5e-6, rtol=0)
    chex.assert_trees_all_close(
        state.variables.batch_stats, after.batch_stats, atol=1e-5, rtol=1e-5
    )
    logits = jax.jit(tested.apply)(state.variables, given.images).logits
    np.testing.assert_allclose(logits, given.ref[f'{kind}_eval_logits_after'], atol=1e-4)
