"""What terms are shown: one transform per class, raw images, one pass over all classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment, models
from jaxdd.engine.observing import observe
from jaxdd.networks import fresh
from jaxdd.parametrizations import pixels
from jaxdd.types import Inputs, Method, Read, SyntheticSet, Term

KEY = jax.random.key(0)
IMAGES = jax.random.normal(KEY, (3, 2, 8, 8, 3))
REAL = jax.random.normal(jax.random.key(1), (3, 4, 8, 8, 3))
INITIAL = SyntheticSet(IMAGES, jnp.full((3, 2, 3), 1 / 3))
SYNTHETIC_PIXELS, REAL_PIXELS = Read('', 'synthetic'), Read('', 'real')


def looking(*reads, **axes):
    """A method that looks, and whose objective is nothing."""
    nothing = Term(frozenset(reads), lambda seen, key: (0.0, {}))
    return Method(pixels(), nothing, fresh(None), {}, augment.identity())._replace(**axes)


@pytest.mark.parametrize('transform', [augment.shared(), augment.shared(mode='M')], ids=['S', 'M'])
def test_real_and_synthetic_undergo_one_transform_per_class(transform):
    same = jnp.broadcast_to(IMAGES[:1], IMAGES.shape)
    # another number of images must not change the draw
    real = jnp.concatenate([same, REAL], axis=1)
    method = looking(REAL_PIXELS, SYNTHETIC_PIXELS, augment=transform)
    look = jax.jit(
        lambda key: (
            observe(
                method,
                {},
                SyntheticSet(same, INITIAL.labels),
                Inputs(real=real),
                key,
                classes=jnp.arange(3),
                step=jnp.int32(0),
            ).images
        )
    )
    images = look(jax.random.key(5))
    augmented = images['synthetic', 'augmented']
    np.testing.assert_allclose(images['real', 'augmented'][:, :2], augmented, atol=1e-5)
    assert np.abs(augmented - same).max() > 0.1
    assert np.abs(augmented[0] - augmented[1]).max() > 0.1
    assert np.abs(look(jax.random.key(6))['synthetic', 'augmented'] - augmented).max() > 0.1


def test_raw_views_are_the_images_themselves():
    reads = Read('', 'real', 'raw'), Read('', 'synthetic', 'raw')
    seen = observe(
        looking(*reads, augment=augment.shared()),
        {},
        INITIAL,
        Inputs(real=REAL),
        KEY,
        classes=jnp.arange(3),
        step=jnp.int32(7),
    )
    assert seen.images.keys() == {('real', 'raw'), ('synthetic', 'raw')} and seen.outputs == {}
    np.testing.assert_array_equal(seen.images['real', 'raw'], REAL)
    np.testing.assert_array_equal(seen.images['synthetic', 'raw'], IMAGES)
    assert seen.step == 7 and seen.synthetic is INITIAL


@pytest.mark.parametrize('name', ['convnet', 'convnet_bn'])
def test_outputs_are_those_of_one_pass_over_all_classes(name):
    net = models.by_name(name, (8, 8, 3), 3, width=4, depth=1, batch_statistics=True)
    network, read = net.init(KEY), Read('encoder', 'real', 'raw')
    # enough for a CPU to cut an independent pass into chunks
    real = jax.random.normal(KEY, (3, 16, 8, 8, 3))
    method = looking(read, models={'encoder': net})
    seen = jax.jit(
        lambda: observe(
            method,
            {'encoder': network},
            INITIAL,
            Inputs(real=real),
            KEY,
            classes=jnp.arange(3),
            step=jnp.int32(0),
        ).outputs[read]
    )()
    whole = jax.jit(net.apply)(network, real.reshape(48, 8, 8, 3))
    for field in ('logits', 'features', 'maps'):
        expected = getattr(whole, field)
        np.testing.assert_allclose(
            getattr(seen, field), expected.reshape(3, 16, *expected.shape[1:]), atol=1e-5
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), seen.moments, whole.moments
    )
    assert bool(jax.tree.leaves(seen.moments)) == (name == 'convnet_bn')
