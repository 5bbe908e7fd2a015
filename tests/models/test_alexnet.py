import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.models import AlexNet, model


@pytest.mark.parametrize(
    'shape, side', [((8, 8, 1), 1), ((28, 28, 1), 4), ((28, 28, 3), 3), ((64, 64, 3), 8)]
)
def test_the_head_fits_the_image(shape, side, weights):
    net = model(AlexNet(3, width=4), shape)
    out = jax.jit(net.apply)(weights(net), jax.random.normal(jax.random.key(0), (2, *shape)))
    assert out.maps.shape == (2, side**2, 6) and out.logits.shape == (2, 3)
    np.testing.assert_allclose(out.features, out.maps.reshape(2, -1), rtol=1e-5, atol=1e-6)


def test_widths_scale_together():
    params = jax.eval_shape(model(AlexNet(3, width=64), (8, 8, 3)).init, jax.random.key(0)).params
    assert [params[f'conv{i}']['bias'].size for i in range(5)] == [64, 96, 128, 96, 96]


@pytest.mark.parametrize('norm, count', [('none', 0), ('instance', 5), ('batch', 5)])
def test_norms_stand_behind_every_convolution(norm, count):
    layers = [f'norm{i}' for i in range(count)]
    net = model(AlexNet(3, width=4, norm=norm), (8, 8, 3), batch_statistics=True)
    variables = jax.eval_shape(net.init, jax.random.key(0))
    moments = jax.eval_shape(net.apply, variables, jnp.zeros((2, 8, 8, 3))).moments
    assert [name for name in sorted(variables.params) if name.startswith('norm')] == layers
    assert list(moments) == sorted(variables.batch_stats) == (layers if norm == 'batch' else [])


def test_small_images_and_other_norms_are_refused():
    with pytest.raises(ValueError, match='AlexNet is too deep for images of side 7.* 8 or more'):
        model(AlexNet(3), (7, 7, 1))
    with pytest.raises(
        ValueError, match="unknown AlexNet norm 'layer'; valid: batch, instance, none"
    ):
        model(AlexNet(3, norm='layer'), (32, 32, 3))
