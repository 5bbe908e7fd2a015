"""Classes of unequal size: each is matched by the mean over the images that it has."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd import augment, data, losses, models, parallel, passes
from jaxdd.engine.distill import init_state, make_gradient, make_step
from jaxdd.methods import dm
from jaxdd.methods._gradient_matching import gradient_matching
from jaxdd.regularizers import cm
from jaxdd.terms import regularize
from jaxdd.types import Source, SyntheticSet

SPEC = data.for_arrays(np.zeros((1, 8, 8, 3), np.uint8), 2, 'unequal')


def source(*sizes):
    rng = np.random.default_rng(0)
    return Source(
        rng.integers(0, 256, (sum(sizes), 8, 8, 3), np.uint8),
        np.repeat(np.arange(len(sizes)), sizes),
    )


FEED = data.stratified(source(20, 2), SPEC, per_class=16)
NET = models.by_name('convnet', (8, 8, 3), 2, width=4, depth=1)
ENCODER = NET.init(jax.random.key(1))
IMAGES = jax.random.normal(jax.random.key(2), (2, 3, 8, 8, 3))
SGD, KEY = optax.sgd(0.1), jax.random.key(3)


def drawn(step):
    """The different images of each class that a step draws."""
    real = np.asarray(FEED(KEY, jnp.int32(step)).real)
    return [jnp.asarray(images[:n]) for images, n in zip(real, (16, 2))]


def covariance(maps):
    centred = maps - maps.mean(0, keepdims=True)
    return jnp.einsum('npd,npe->de', centred, centred) / len(maps)


def dm_with_cm(real, synthetic):
    """||mean f(x) - mean f(s)||^2 + 0.3 ||Sigma(x) - Sigma(s)||^2 of one class."""
    (features, maps), (ours, our_maps) = (
        (out.features, out.maps)
        for out in (NET.apply(ENCODER, images) for images in (real, synthetic))
    )
    return jnp.sum((features.mean(0) - ours.mean(0)) ** 2) + 0.3 * jnp.sum(
        (covariance(maps) - covariance(our_maps)) ** 2
    )


def gradients(label):
    """|| grad mean CE(x) - grad mean CE(s) ||^2 of one class."""

    def gradient(images):
        def loss(params):
            logits = NET.apply(ENCODER._replace(params=params), images).logits
            return -jax.nn.log_softmax(logits)[:, label].mean()

        return jax.grad(loss)(ENCODER.params)

    def distance(real, synthetic):
        gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), gradient(real), gradient(synthetic))
        return sum(jax.tree.leaves(gaps))

    return distance


@pytest.fixture(params=['dm + cm', 'gradients'])
def matched(request, given):
    """A method, and by hand what one class adds to its loss."""
    base = dm(NET, augment=augment.identity())._replace(networks=given(ENCODER))
    if request.param == 'gradients':
        return base._replace(
            objective=gradient_matching('dc', NET, losses.squared_distance)
        ), gradients
    return regularize(base, {'cm': (0.3, cm())}), lambda label: dm_with_cm


def started(method):
    labels = jnp.repeat(jnp.eye(2)[:, None], 3, axis=1)
    return init_state(jax.random.key(0), method, SGD, SyntheticSet(IMAGES, labels))


@pytest.mark.parametrize('only', [None, 1])
def test_loss_and_gradient_are_those_of_the_images_that_were_drawn(matched, only):
    method, by_hand = matched
    gradient, metrics = jax.jit(make_gradient(method))(
        started(method), FEED(KEY, jnp.int32(5)), None if only is None else jnp.int32(only)
    )
    real, classes = drawn(5), (0, 1) if only is None else (only,)
    assert [len(images) for images in real] == [16, 2]
    value, expected = jax.jit(
        jax.value_and_grad(lambda images: sum(by_hand(c)(real[c], images[c]) for c in classes))
    )(IMAGES)
    np.testing.assert_allclose(metrics['loss/total'], value, rtol=1e-5)
    np.testing.assert_allclose(gradient['images'], expected, atol=1e-5 * np.abs(expected).max())


def test_eight_devices_take_the_step_of_one(matched, monkeypatch):
    monkeypatch.setattr(passes, '_WORTH_CHUNKING', 0)
    method, _ = matched

    def step():
        # 8 of a class on every device, in chunks of 4
        feed = data.stratified(source(64, 5), SPEC, per_class=64)
        take = jax.jit(lambda state, feed: make_step(method, SGD)(state, feed(KEY, state.step)))
        return take(*parallel.replicate((started(method), feed)))

    alone, expected = step()
    with parallel.use(parallel.mesh(8)):
        together, metrics = step()
    np.testing.assert_allclose(metrics['loss/total'], expected['loss/total'], rtol=1e-5)
    np.testing.assert_allclose(together.params['images'], alone.params['images'], atol=1e-5)
    assert np.abs(alone.params['images'] - IMAGES).max() > 1e-2
