import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch as pytorch
from torch.nn import functional
from torch_teachers import Torch, check_reference

from jaxdd.models import EfficientNet, by_name, model
from jaxdd.models.torch_weights import convert

# expansion, blocks, stride
STAGES = ((1, 1, 1), (6, 2, 2), (6, 2, 2), (6, 3, 2), (6, 3, 1), (6, 4, 2), (6, 1, 1))
UNUSED = {
    'layers.0.conv1.weight': (32, 32, 1, 1),
    'layers.0.bn1.weight': (32,),
    'layers.0.bn1.bias': (32,),
}


def fresh(net):
    return jax.eval_shape(net.init, jax.random.key(0))


@pytest.mark.parametrize(
    'name, num_classes, count, unused, norms',
    [
        ('efficientnet_b0', 10, 3_599_686, 1_088, 48),
        ('efficientnet_b0', 100, 3_628_576, 1_088, 48),
        ('efficientnet_b0_imagenet', 1000, 5_288_548, 0, 49),
    ],
)
def test_parameter_counts_are_the_papers_less_what_ufc_never_uses(
    name, num_classes, count, unused, norms
):
    variables = fresh(by_name(name, (32, 32, 3), num_classes))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == count - unused
    assert len(variables.batch_stats) == norms


@pytest.mark.long
def test_ufcs_reference(reference, x64):
    module = EfficientNet(10)
    check_reference(
        reference('infer_ufc'), 'efficientnetb0', module, model(module, (32, 32, 3)), UNUSED
    )


def test_layers_sort_in_the_order_of_ufc(reference):
    paths = sorted(fresh(by_name('efficientnet_b0', (32, 32, 3), 10)).batch_stats)
    layers = [
        str(name).removesuffix('.weight')
        for name in reference('infer_ufc')['efficientnetb0_param_names']
        if '.bn' in f'.{name}' and str(name).endswith('weight') and name not in UNUSED
    ]
    assert [EfficientNet(10).torch_key(path) for path in paths] == layers


def test_unused_layers_are_ufcs_alone():
    assert EfficientNet(10).unused_torch_keys() == {name.rpartition('.')[0] for name in UNUSED}
    assert not EfficientNet(10, form='imagenet').unused_torch_keys()


def test_unused_layers_may_be_there_or_not_but_no_others():
    module = EfficientNet(3, width=4)
    state = Torch(module).state
    unused = {
        'layers.0.conv1.weight': np.ones((4, 4, 1, 1)),
        'layers.0.bn1.running_var': np.ones(4),
    }
    without, also = (convert(s, module, (8, 8, 3)) for s in (state, state | unused))
    jax.tree.map(np.testing.assert_array_equal, without, also)
    with pytest.raises(ValueError, match='1 left over: layers.0.conv10.weight'):
        convert(state | {'layers.0.conv10.weight': np.ones(4)}, module, (8, 8, 3))


def torchvisions(torch, x):
    x = functional.silu(torch.norm(torch.conv(x, 'features.0.0', 2), 'features.0.1'))
    for stage, (expansion, blocks, first) in enumerate(STAGES, 1):
        for block in range(blocks):
            y, name, at, stride = (
                x,
                f'features.{stage}.{block}.block',
                0,
                first if block == 0 else 1,
            )
            if expansion > 1:
                y, at = functional.silu(torch.norm(torch.conv(y, f'{name}.0.0'), f'{name}.0.1')), 1
            y = functional.silu(
                torch.norm(torch.conv(y, f'{name}.{at}.0', stride, y.shape[1]), f'{name}.{at}.1')
            )
            s = functional.silu(
                torch.conv(y.mean((2, 3), keepdim=True), f'{name}.{at + 1}.fc1', bias=True)
            )
            y = y * pytorch.sigmoid(torch.conv(s, f'{name}.{at + 1}.fc2', bias=True))
            y = torch.norm(torch.conv(y, f'{name}.{at + 2}.0'), f'{name}.{at + 2}.1')
            x = x + y if stride == 1 and x.shape == y.shape else y
    x = functional.silu(torch.norm(torch.conv(x, 'features.8.0'), 'features.8.1'))
    return torch.linear(x.mean((2, 3)), 'classifier.1')


@pytest.mark.long
def test_torchvisions_form():
    module = EfficientNet(5, width=4, form='imagenet')
    Torch(module).check(torchvisions, module, model(module, (48, 48, 3)), side=48)


@pytest.mark.parametrize(
    'form, side, left, features',
    [
        ('cifar', 32, 2, 40),
        ('cifar', 1, 1, 40),
        ('cifar', 40, 3, 40),
        ('imagenet', 224, 7, 160),
        ('imagenet', 8, 1, 160),
    ],
)
def test_sides_are_divided_and_rounded_up(form, side, left, features):
    net = model(EfficientNet(3, width=4, form=form), (side, side, 3))
    out = jax.eval_shape(
        net.apply, fresh(net), jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    )
    assert out.maps.shape == (2, left**2, features) and out.features.shape == (2, features)


@pytest.mark.long
def test_gradients_are_finite_in_train_mode(weights):
    net = model(EfficientNet(3, width=4), (8, 8, 3), batch_statistics=True)
    variables, x = weights(net), jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    gradients = jax.jit(
        jax.grad(
            lambda params, x: net.apply(variables._replace(params=params), x).logits[:, 0].var(),
            (0, 1),
        )
    )(variables.params, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert np.abs(gradients[1]).max() > 0 and np.abs(gradients[0]['conv']['kernel']).max() > 0


def test_half_precision_reaches_the_body_alone():
    net = model(EfficientNet(3, width=4, dtype='bfloat16'), (8, 8, 3))
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    out = jax.eval_shape(net.apply, fresh(net), images)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(out._replace(moments={})))
    assert 'bf16' in str(jax.make_jaxpr(net.apply)(fresh(net), images))


def test_only_two_forms_exist():
    with pytest.raises(
        ValueError,
        match="unknown EfficientNet form 'imagnet'; valid: cifar, imagenet. Did you mean",
    ):
        model(EfficientNet(3, form='imagnet'), (8, 8, 3))
