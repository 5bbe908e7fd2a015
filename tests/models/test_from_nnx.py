"""Networks that a user wrote with `flax.nnx`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxdd.models import model

SHAPE = (8, 8, 1)


class Net(nnx.Module):
    """Layers in a list, a parameter of its own, and what a test adds."""

    def __init__(self, num_classes, extra=None, *, rngs):
        self.layers = nnx.List([nnx.Linear(64, 16, rngs=rngs), nnx.Linear(16, 16, rngs=rngs)])
        self.gain = nnx.Param(nnx.initializers.normal(0.1)(rngs.params(), (1, 16)))
        self.head = nnx.Linear(16, num_classes, rngs=rngs)
        self.extra = extra(rngs) if extra else None

    def __call__(self, images):
        x = images.reshape(len(images), -1)
        for layer in self.layers:
            x = nnx.relu(layer(x))
        x = x * self.gain[...]
        return self.head(x), x, x[:, None]


def of_the_module(seed):
    return Net(10, rngs=nnx.Rngs(jax.random.key(seed)))


@pytest.fixture(scope='module')
def net():
    return model(functools.partial(Net, 10), SHAPE)


def test_parameters_are_drawn_from_the_key(net):
    params = net.init(jax.random.key(3)).params
    # jit rounds otherwise
    np.testing.assert_allclose(params['gain'], of_the_module(3).gain[...], rtol=1e-6)
    assert 0.12 < np.abs(params['layers']['0']['kernel']).max() <= 0.125  # as torch draws it
    own = (
        model(lambda rngs: Net(10, rngs=rngs), SHAPE, initial='module')
        .init(jax.random.key(3))
        .params
    )
    np.testing.assert_allclose(
        own['layers']['0']['kernel'], of_the_module(3).layers[0].kernel[...], rtol=1e-6
    )


def test_init_and_apply_are_pure(net):
    keys = jnp.stack([jax.random.key(3), jax.random.key(4)])
    images = jax.random.normal(jax.random.key(0), (5, *SHAPE))
    stacked = jax.jit(jax.vmap(net.init))(keys)
    out = jax.jit(jax.vmap(net.apply, in_axes=(0, None)))(stacked, images)
    assert out.logits.shape == (2, 5, 10) and out.moments == {}
    assert not np.allclose(*out.logits)
    whole = model(functools.partial(Net, 10), SHAPE, initial='module')
    np.testing.assert_allclose(
        whole.apply(whole.init(keys[0]), images).logits, of_the_module(3)(images)[0], rtol=1e-5
    )
    slope = jax.grad(
        lambda params: net.apply(net.init(keys[0])._replace(params=params), images).logits.sum()
    )
    assert np.abs(slope(net.init(keys[0]).params)['layers']['1']['kernel']).max() > 0


@pytest.mark.parametrize(
    'extra, kind',
    [
        (lambda rngs: nnx.Dropout(0.5, rngs=rngs), r'extra/rngs/count \(RngCount\)'),
        (lambda rngs: nnx.BatchNorm(16, rngs=rngs), r'extra/mean \(BatchStat\)'),
        (lambda rngs: rngs, r'extra/default/count \(RngCount\)'),
    ],
)
def test_state_besides_parameters_is_refused(extra, kind):
    with pytest.raises(
        ValueError, match=f'Net holds state that is no nnx.Param: {kind}.*leave out dropout'
    ):
        model(functools.partial(Net, 10, extra), SHAPE)


def test_a_made_network_is_refused():
    with pytest.raises(
        ValueError, match=r'Net is a made nnx network.*lambda rngs: MyNet\(\.\.\., rngs=rngs\)'
    ):
        model(of_the_module(0), SHAPE)


@pytest.mark.parametrize(
    'module, received',
    [
        (nn.Dense, 'got the class Dense'),
        (np.zeros(3), 'got ndarray'),
        (lambda images: images, "called with rngs alone .*'images'"),
        (Net, "called with rngs alone .*'num_classes'"),
        (functools.partial(Net, 10, width=3), "called with rngs .*'width'"),
        (lambda rngs: nn.Dense(3), 'it made Dense'),
    ],
)
def test_what_makes_no_network_is_refused(module, received):
    with pytest.raises(ValueError, match=received):
        model(module, SHAPE)


def test_what_it_returns_is_checked():
    class Logits(Net):
        def __call__(self, images):
            return super().__call__(images)[0]

    with pytest.raises(
        ValueError, match=r'Logits returned \[3, 10\] for 3 images; a network returns'
    ):
        model(functools.partial(Logits, 10), SHAPE)
