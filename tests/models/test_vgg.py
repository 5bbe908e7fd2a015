import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.models import VGG, model


@pytest.mark.parametrize('shape, side', [((28, 28, 1), 1), ((32, 32, 3), 1), ((64, 64, 3), 2)])
def test_the_head_fits_the_image(shape, side, weights):
    net = model(VGG(3, width=2), shape)
    out = jax.jit(net.apply)(weights(net), jax.random.normal(jax.random.key(0), (2, *shape)))
    assert out.maps.shape == (2, side**2, 16) and out.logits.shape == (2, 3)
    np.testing.assert_allclose(out.features, out.maps.reshape(2, -1), rtol=1e-5, atol=1e-6)
    assert np.abs(out.logits[0] - out.logits[1]).max() > 1e-3


def test_moments_and_running_moments_share_paths_in_network_order():
    net = model(VGG(3, width=2, norm='batch'), (32, 32, 3), batch_statistics=True)
    variables = jax.eval_shape(net.init, jax.random.key(0))
    moments = jax.eval_shape(net.apply, variables, jnp.zeros((2, 32, 32, 3))).moments
    assert (
        list(moments)
        == sorted(variables.batch_stats)
        == [
            'stage0_norm0',
            'stage1_norm0',
            'stage2_norm0',
            'stage2_norm1',
            'stage3_norm0',
            'stage3_norm1',
            'stage4_norm0',
            'stage4_norm1',
        ]
    )
    assert [m.mean.size for m in moments.values()] == [2, 4, 8, 8, 16, 16, 16, 16]


def test_fewer_stages_fit_smaller_images():
    net = model(VGG(3, stages=((1, 1), (2,)), width=4), (8, 8, 1))
    out = jax.eval_shape(
        net.apply, jax.eval_shape(net.init, jax.random.key(0)), jnp.zeros((2, 8, 8, 1))
    )
    assert out.maps.shape == (2, 4, 8)


def test_small_images_and_other_norms_are_refused():
    with pytest.raises(ValueError, match='VGG is too deep for images of side 28.* 32 or more'):
        model(VGG(3), (28, 28, 3))
    with pytest.raises(ValueError, match="unknown VGG norm 'none'; valid: batch, instance"):
        model(VGG(3, norm='none'), (32, 32, 3))
