import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.models import LeNet, model


@pytest.mark.parametrize(
    'shape, side',
    [((16, 16, 1), 1), ((28, 28, 1), 5), ((28, 28, 3), 4), ((32, 32, 1), 5), ((64, 64, 3), 13)],
)
def test_the_head_fits_the_image(shape, side):
    net = model(LeNet(3), shape)
    variables = jax.eval_shape(net.init, jax.random.key(0))
    out = jax.eval_shape(net.apply, variables, jnp.zeros((2, *shape)))
    assert out.maps.shape == (2, side**2, 16)
    assert out.features.shape == (2, 84) and out.logits.shape == (2, 3)
    assert variables.params['dense0']['kernel'].shape == (16 * side**2, 120)


def test_features_are_what_the_last_layer_reads(weights):
    net = model(LeNet(3, width=3), (16, 20, 1))
    variables = weights(net)
    out = jax.jit(net.apply)(variables, jax.random.normal(jax.random.key(0), (2, 16, 20, 1)))
    head = variables.params['classifier']
    np.testing.assert_allclose(
        out.logits, out.features @ head['kernel'] + head['bias'][None], atol=1e-4
    )
    assert out.features.shape == (2, 42) and (out.features >= 0).all()


def test_widths_scale_together():
    params = jax.eval_shape(model(LeNet(3, width=3), (32, 32, 3)).init, jax.random.key(0)).params
    sizes = [params[layer]['bias'].size for layer in ('conv0', 'conv1', 'dense0', 'dense1')]
    assert sizes == [3, 8, 60, 42]


def test_small_images_are_refused():
    with pytest.raises(ValueError, match='LeNet is too deep for images of side 8.* 16 or more'):
        model(LeNet(3), (8, 32, 3))
