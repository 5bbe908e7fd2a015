"""Every network of the papers' code against ours, on procedural weights and images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_layout

from jaxdd.models import MLP, VGG, AlexNet, ConvNet, LeNet, ResNet, model

# reference -> images, our module, batch mode
NETWORKS = {
    'ConvNet': ('x32', ConvNet(10), False),
    'ConvNet28': ('x28', ConvNet(10), False),
    'ConvNet64d3': ('x64', ConvNet(200, width=32), False),
    'ConvNet64d4': ('x64', ConvNet(200, width=32, depth=4), False),
    'ConvNetBN_eval': ('x32', ConvNet(10, width=32, norm='batch'), False),
    'ConvNetBN_train': ('x32', ConvNet(10, width=32, norm='batch'), True),
    'ConvNetLN': ('x32', ConvNet(10, width=16, norm='layer'), False),
    'ConvNetGN': ('x32', ConvNet(10, width=16, norm='group'), False),
    'ConvNetNN': ('x32', ConvNet(10, width=16, norm='none'), False),
    'ConvNetASwishBN_eval': ('x32', ConvNet(10, width=16, norm='batch', activation='swish'), False),
    'ConvNetMP': ('x32', ConvNet(10, width=16, pooling='max'), False),
    'MLP': ('x32', MLP(10), False),
    'LeNet': ('x32', LeNet(10), False),
    'AlexNet': ('x32', AlexNet(10), False),
    'AlexNetBN_eval': ('x32', AlexNet(10, norm='batch'), False),
    'VGG11': ('x32', VGG(10), False),
    'VGG11BN_eval': ('x32', VGG(10, norm='batch'), False),
    'ResNet18': ('x32', ResNet(10), False),
    'ResNet18BN_eval': ('x32', ResNet(10, norm='batch'), False),
    'ResNet18BN_AP_eval': ('x32', ResNet(10, norm='batch', downsampling='average_pool'), False),
    'ResNet18_64_IIDpatch': ('x64', ResNet(200), False),
}
NO_FEATURES = {'MLP', 'LeNet'}  # the papers' code returns logits alone
CONVERTED = {ResNet: torch_layout.resnet, VGG: torch_layout.vgg11}


def test_the_procedural_numbers_are_the_references(reference):
    nets = reference('iid_nets')
    for t in (0, 5):
        np.testing.assert_array_equal(torch_layout.hash_u(t, 8), nets[f'hash_u_t{t}_first8'])
    np.testing.assert_array_equal(
        torch_layout.data(1600, (2, 3, 32, 32)).ravel()[:8], nets['x32_first8']
    )


def test_no_reference_is_left_out(reference):
    nets = reference('iid_nets')
    with_logits = {name.removesuffix('_logits') for name in nets if name.endswith('_logits')}
    with_features = {name.removesuffix('_embed') for name in nets if name.endswith('_embed')}
    assert set(NETWORKS) == with_logits
    assert with_logits - with_features == NO_FEATURES


def agree(name, case, dtype, tolerance):
    """Asserts the reference's logits and features, to a tolerance relative to their largest
    entry."""
    images, module, batch_statistics = NETWORKS[name]
    weights, x, logits, embed = case(name, images)
    net = model(module, x.shape[1:], batch_statistics=batch_statistics)
    convert = CONVERTED.get(type(module), torch_layout.sequential)
    variables = convert({k: v.astype(dtype) for k, v in weights.items()})
    out = jax.jit(net.apply)(variables, jnp.asarray(x, dtype))
    assert out.logits.dtype == out.features.dtype == dtype
    np.testing.assert_allclose(
        out.logits, logits, rtol=tolerance, atol=tolerance * np.abs(logits).max()
    )
    if name not in NO_FEATURES:
        embed = torch_layout.flat_hwc(embed, out.maps.shape[-1])
        np.testing.assert_allclose(
            out.features, embed, rtol=tolerance, atol=tolerance * np.abs(embed).max()
        )


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_agree_with_the_papers_code_in_float64(name, case, x64):
    agree(name, case, jnp.float64, 1e-9)


@pytest.mark.long
@pytest.mark.parametrize('name', NETWORKS)
def test_networks_agree_with_the_papers_code_in_float32(name, case):
    agree(name, case, jnp.float32, 1e-4)
