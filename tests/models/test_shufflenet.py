import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_teachers import check_reference

from jaxdd.models import ShuffleNet, ShuffleNetV2, by_name, model
from jaxdd.models.shufflenet import shuffled


def fresh(net):
    return jax.eval_shape(net.init, jax.random.key(0))


@pytest.mark.parametrize('num_classes, count', [(10, 887_582), (100, 959_672)])
def test_parameter_counts_are_the_papers(num_classes, count):
    variables = fresh(by_name('shufflenet_g2', (32, 32, 3), num_classes))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == count
    assert len(variables.batch_stats) == 49


@pytest.mark.long
def test_ufcs_reference(reference, x64):
    module = ShuffleNet(10)
    check_reference(reference('infer_ufc'), 'shufflenetg2', module, model(module, (32, 32, 3)))


def test_layers_sort_in_the_order_of_ufc(reference):
    paths = sorted(fresh(by_name('shufflenet_g2', (32, 32, 3), 10)).batch_stats)
    layers = [
        str(name).removesuffix('.weight')
        for name in reference('infer_ufc')['shufflenetg2_param_names']
        if '.bn' in f'.{name}' and str(name).endswith('weight')
    ]
    assert [ShuffleNet(10).torch_key(path) for path in paths] == layers


def test_a_shuffle_spreads_each_group_over_all_channels():
    x = jnp.arange(6.0).reshape(1, 1, 1, 6)
    np.testing.assert_array_equal(shuffled(x, 2).ravel(), [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(shuffled(x, 3).ravel(), [0, 2, 4, 1, 3, 5])
    np.testing.assert_array_equal(shuffled(x, 1), x)


@pytest.mark.parametrize('side, left', [(32, 4), (1, 1), (20, 3)])
def test_sides_are_divided_and_rounded_up(side, left):
    net = model(ShuffleNet(3, width=6), (side, side, 3))
    out = jax.eval_shape(
        net.apply, fresh(net), jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    )
    assert out.maps.shape == (2, left**2, 200) and out.features.shape == (2, 200)


@pytest.mark.long
@pytest.mark.parametrize('network', [ShuffleNet, ShuffleNetV2])
def test_gradients_are_finite_in_train_mode(network, weights):
    net = model(network(3, width=4), (8, 8, 3), batch_statistics=True)
    variables, x = weights(net), jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    gradients = jax.jit(
        jax.grad(
            lambda params, x: net.apply(variables._replace(params=params), x).logits[:, 0].var(),
            (0, 1),
        )
    )(variables.params, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert np.abs(gradients[1]).max() > 0 and np.abs(gradients[0]['conv']['kernel']).max() > 0


@pytest.mark.parametrize('network', [ShuffleNet, ShuffleNetV2])
def test_half_precision_reaches_the_body_alone(network):
    net = model(network(3, width=4, dtype='bfloat16'), (8, 8, 3))
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    out = jax.eval_shape(net.apply, fresh(net), images)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(out._replace(moments={})))
    assert 'bf16' in str(jax.make_jaxpr(net.apply)(fresh(net), images))


@pytest.mark.parametrize('width', [2, 4, 6, 10, 24, 48])
def test_every_even_width_divides_into_groups(width):
    fresh(model(ShuffleNet(3, width=width), (8, 8, 3)))


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match='ShuffleNet has 2 groups and needs an even width, got 5'):
        by_name('shufflenet_g2', (8, 8, 3), 3, width=5)
