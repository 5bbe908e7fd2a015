import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch.nn import functional
from torch_teachers import Torch, check_reference

from jaxdd.models import MobileNetV2, by_name, model

# expansion, blocks, stride
STAGES = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))


def fresh(net):
    return jax.eval_shape(net.init, jax.random.key(0))


@pytest.mark.parametrize(
    'name, num_classes, count, norms',
    [
        ('mobilenetv2', 10, 2_296_922, 57),
        ('mobilenetv2', 100, 2_412_212, 57),
        ('mobilenetv2_imagenet', 1000, 3_504_872, 52),
    ],
)
def test_parameter_counts_are_the_papers(name, num_classes, count, norms):
    variables = fresh(by_name(name, (32, 32, 3), num_classes))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == count
    assert len(variables.batch_stats) == norms


@pytest.mark.long
def test_ufcs_reference(reference, x64):
    module = MobileNetV2(10)
    check_reference(reference('infer_ufc'), 'mobilenetv2', module, model(module, (32, 32, 3)))


def test_layers_sort_in_the_order_of_ufc(reference):
    paths = sorted(fresh(by_name('mobilenetv2', (32, 32, 3), 10)).batch_stats)
    layers = [
        str(name).removesuffix('.weight')
        for name in reference('infer_ufc')['mobilenetv2_param_names']
        if '.bn' in f'.{name}' and str(name).endswith('weight') or 'shortcut.1.weight' in str(name)
    ]
    assert [MobileNetV2(10).torch_key(path) for path in paths] == layers


def torchvisions(torch, x):
    x = functional.relu6(torch.norm(torch.conv(x, 'features.0.0', 2), 'features.0.1'))
    index = 1
    for expansion, blocks, first in STAGES:
        for block in range(blocks):
            y, name, at, stride = x, f'features.{index}.conv', 0, first if block == 0 else 1
            if expansion > 1:
                y, at = functional.relu6(torch.norm(torch.conv(y, f'{name}.0.0'), f'{name}.0.1')), 1
            y = torch.conv(y, f'{name}.{at}.0', stride, y.shape[1])
            y = torch.conv(functional.relu6(torch.norm(y, f'{name}.{at}.1')), f'{name}.{at + 1}')
            y = torch.norm(y, f'{name}.{at + 2}')
            x = x + y if stride == 1 and x.shape == y.shape else y
            index += 1
    x = functional.relu6(torch.norm(torch.conv(x, 'features.18.0'), 'features.18.1'))
    return torch.linear(x.mean((2, 3)), 'classifier.1')


@pytest.mark.long
def test_torchvisions_form():
    module = MobileNetV2(5, width=4, form='imagenet')
    Torch(module).check(torchvisions, module, model(module, (48, 48, 3)), side=48)


@pytest.mark.parametrize(
    'form, side, left',
    [('cifar', 32, 4), ('cifar', 1, 1), ('cifar', 20, 3), ('imagenet', 224, 7), ('imagenet', 8, 1)],
)
def test_sides_are_divided_and_rounded_up(form, side, left):
    net = model(MobileNetV2(3, width=4, form=form), (side, side, 3))
    out = jax.eval_shape(
        net.apply, fresh(net), jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    )
    assert out.maps.shape == (2, left**2, 160) and out.features.shape == (2, 160)


@pytest.mark.long
@pytest.mark.parametrize('form', ['cifar', 'imagenet'])
def test_gradients_are_finite_in_train_mode(form, weights):
    net = model(MobileNetV2(3, width=4, form=form), (8, 8, 3), batch_statistics=True)
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
    net = model(MobileNetV2(3, width=4, dtype='bfloat16'), (8, 8, 3))
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    out = jax.eval_shape(net.apply, fresh(net), images)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(out._replace(moments={})))
    assert 'bf16' in str(jax.make_jaxpr(net.apply)(fresh(net), images))


def test_only_two_forms_exist():
    with pytest.raises(
        ValueError,
        match="unknown MobileNetV2 form 'cifr'; valid: cifar, imagenet. Did you mean 'cif",
    ):
        model(MobileNetV2(3, form='cifr'), (8, 8, 3))
