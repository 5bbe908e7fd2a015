import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from torch.nn import functional as torch_functional
from torch_teachers import Torch

from jaxdd.models import NAMES, ResNet, by_name, model, update_batch_stats
from jaxdd.models.torch_weights import convert


def test_parameter_count_is_the_papers():
    variables = jax.eval_shape(by_name('resnet18', (32, 32, 3), 10).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == 11_173_962


@pytest.mark.parametrize(
    'shape, side, features',
    [
        ((8, 8, 1), 2, 32),
        ((16, 16, 3), 2, 32),
        ((28, 28, 1), 4, 32),
        ((32, 32, 3), 4, 32),
        ((64, 64, 3), 8, 4 * 32),
    ],
)
def test_the_last_pool_fits_the_image(shape, side, features):
    net = model(ResNet(7, width=4), shape)
    out = jax.eval_shape(
        net.apply, jax.eval_shape(net.init, jax.random.key(0)), jnp.zeros((3, *shape))
    )
    assert out.maps.shape == (3, side**2, 32)
    assert out.features.shape == (3, features) and out.logits.shape == (3, 7)


def test_features_are_pooled_maps(weights):
    net = model(ResNet(3, stage_sizes=(1, 1), width=4), (16, 16, 1))
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    out = jax.jit(net.apply)(weights(net), images)
    blocks = out.maps.reshape(2, 2, 4, 2, 4, 8).mean((2, 4))
    np.testing.assert_allclose(out.features, blocks.reshape(2, -1), rtol=1e-5)


@pytest.mark.parametrize('norm', ['instance', 'batch'])
def test_the_smallest_images_still_reach_the_logits(norm, weights):
    net = model(
        ResNet(3, stage_sizes=(1, 1, 1, 1), width=2, norm=norm), (8, 8, 1), batch_statistics=True
    )
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    out = jax.jit(net.apply)(weights(net), images)
    assert np.abs(out.logits[0] - out.logits[1]).max() > 1e-3


def test_deeper_networks_have_more_blocks():
    net = model(ResNet(3, stage_sizes=(1, 2, 3), width=2, norm='batch'), (8, 8, 1))
    variables = jax.eval_shape(net.init, jax.random.key(0))
    blocks = [name for name in variables.params if name.startswith('stage')]
    assert sorted(blocks) == [
        'stage0_block0',
        'stage1_block0',
        'stage1_block1',
        'stage2_block0',
        'stage2_block1',
        'stage2_block2',
    ]


def test_only_blocks_that_change_shape_project_the_shortcut():
    params = jax.eval_shape(model(ResNet(3, width=2), (8, 8, 1)).init, jax.random.key(0)).params
    projected = [name for name, block in params.items() if 'shortcut_conv' in block]
    assert sorted(projected) == ['stage1_block0', 'stage2_block0', 'stage3_block0']


def test_only_two_norms_exist():
    with pytest.raises(ValueError, match="unknown ResNet norm 'layer'; valid: batch, instance"):
        model(ResNet(3, norm='layer'), (8, 8, 1))


@pytest.mark.parametrize(
    'shape, side',
    [((8, 8, 1), 2), ((15, 15, 3), 3), ((28, 28, 1), 3), ((32, 32, 3), 4), ((64, 64, 3), 8)],
)
def test_average_pools_halve_the_map_and_nothing_pools_it_at_the_end(shape, side, weights):
    net = model(
        ResNet(3, width=2, norm='batch', downsampling='average_pool'), shape, batch_statistics=True
    )
    out = jax.jit(net.apply)(weights(net), jax.random.normal(jax.random.key(1), (2, *shape)))
    assert out.maps.shape == (2, side**2, 16)
    np.testing.assert_allclose(out.features, out.maps.reshape(2, -1), rtol=1e-5, atol=1e-6)
    assert np.abs(out.logits[0] - out.logits[1]).max() > 1e-3


def test_both_downsamplings_have_the_same_body():
    nets = (
        model(ResNet(3, width=2, downsampling=how), (8, 8, 1)) for how in ('stride', 'average_pool')
    )
    stride, pool = (jax.eval_shape(net.init, jax.random.key(0)) for net in nets)
    for variables in (stride, pool):
        variables.params.pop('classifier')
    assert stride == pool


def test_only_two_downsamplings_exist():
    with pytest.raises(
        ValueError, match="unknown ResNet downsampling 'max_pool'; valid: average_pool, s"
    ):
        model(ResNet(3, downsampling='max_pool'), (8, 8, 1))


TORCHVISION = {
    'cifar': (ResNet(10, width=4, norm='batch', pooling='global'), (32, 32, 3)),
    'imnet': (ResNet(12, width=4, norm='batch', pooling='global', stem='imagenet'), (64, 64, 3)),
}
TARGETS = np.array([1, 3, 0, 2])


def relatively_close(actual, expected, tolerance):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture
def torchvision(reference):
    """torchvision(which, dtype) -> module, shape, reference numbers, variables, images:
    the SRe2L code family's."""

    def load(which, dtype):
        numbers = reference('infer_resnet18')
        module, shape = TORCHVISION[which]
        mine = {
            name.removeprefix(f'{which}_'): value
            for name, value in numbers.items()
            if name.startswith(which)
        }
        state = {
            name.removeprefix('sd/'): value
            for name, value in mine.items()
            if name.startswith('sd/')
        }
        variables = convert(state, module, shape)
        variables = jax.tree.map(lambda leaf: leaf.astype(dtype), variables)
        return module, shape, mine, variables, jnp.asarray(mine['x'].transpose(0, 2, 3, 1), dtype)

    return load


@pytest.mark.parametrize('which', TORCHVISION)
def test_torchvision_reference_in_eval_mode(which, torchvision, x64):
    module, shape, expected, variables, images = torchvision(which, jnp.float64)
    net = model(module, shape)

    def loss(images):
        out = net.apply(variables, images)
        return -jax.nn.log_softmax(out.logits)[np.arange(4), TARGETS].mean(), out

    (cross_entropy, out), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(images)
    relatively_close(out.logits, expected['eval_logits'], 1e-9)
    relatively_close(cross_entropy, expected['eval_ce'], 1e-9)
    # stored in float32
    relatively_close(gradient.transpose(0, 3, 1, 2), expected['eval_gradx'], 1e-7)
    relatively_close(out.features, expected['eval_chanmean/avgpool'], 1e-9)
    assert out.maps.shape == (4, expected['shape/layer4'][2:].prod(), 32)
    relatively_close(out.maps.mean(1), expected['eval_chanmean/layer4'], 1e-9)


@pytest.mark.parametrize('which', TORCHVISION)
def test_torchvision_reference_of_every_stage(which, torchvision, x64):
    module, _, expected, variables, images = torchvision(which, jnp.float64)
    stats = unflatten_dict(
        {tuple(path.split('/')): value for path, value in variables.batch_stats.items()}
    )
    collections = {'params': variables.params, 'batch_stats': stats}
    apply = jax.jit(
        lambda collections, images: module.apply(
            collections, images, capture_intermediates=True, mutable=['intermediates', 'moments']
        )
    )
    inner = apply(collections, images)[1]['intermediates']
    stages = {f'layer{i + 1}': inner[f'stage{i}_block1']['__call__'][0] for i in range(4)}
    stages |= {
        'conv1': inner['conv']['__call__'][0],
        'bn1': jax.nn.relu(inner['norm']['__call__'][0]),
    }
    for stage, maps in stages.items():
        n, c, h, w = expected[f'shape/{stage}']
        assert maps.shape == (n, h, w, c)
        relatively_close(maps.mean((1, 2)), expected[f'eval_chanmean/{stage}'], 1e-9)


@pytest.mark.parametrize('which', TORCHVISION)
def test_torchvision_reference_in_train_mode(which, torchvision, x64):
    module, shape, expected, variables, images = torchvision(which, jnp.float64)
    out = jax.jit(model(module, shape, batch_statistics=True).apply)(variables, images)
    relatively_close(out.logits, expected['train_logits'], 1e-9)
    updated = update_batch_stats(variables.batch_stats, out.moments)
    buffers = {
        f'{module.torch_key(layer)}.running_{kind}': value
        for layer, moments in updated.items()
        for kind, value in moments.items()
    }
    after = {
        name.removeprefix('after_train/'): value
        for name, value in expected.items()
        if 'after_train' in name
    }
    assert len(after) == 5
    for name, value in after.items():
        relatively_close(buffers[name], value, 1e-9)


@pytest.mark.parametrize('which', TORCHVISION)
def test_torchvision_reference_in_float32(which, torchvision):
    module, shape, expected, variables, images = torchvision(which, jnp.float32)
    for mode, name in ((False, 'eval_logits'), (True, 'train_logits')):
        out = jax.jit(model(module, shape, batch_statistics=mode).apply)(variables, images)
        np.testing.assert_allclose(out.logits, expected[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    'name, shape, num_classes, count, norms',
    [
        ('resnet18_stem3', (32, 32, 3), 10, 11_173_962, 20),
        ('resnet18_stem3', (32, 32, 3), 100, 11_220_132, 20),
        ('resnet34_stem3', (32, 32, 3), 10, 21_282_122, 36),
        ('resnet50_stem3', (32, 32, 3), 10, 23_520_842, 53),
        pytest.param('resnet101_stem3', (32, 32, 3), 10, 42_512_970, 104, marks=pytest.mark.long),
        ('resnet18_stem7', (224, 224, 3), 1000, 11_689_512, 20),
        ('resnet34_stem7', (224, 224, 3), 1000, 21_797_672, 36),
        ('resnet50_stem7', (224, 224, 3), 1000, 25_557_032, 53),
        pytest.param(
            'resnet101_stem7', (224, 224, 3), 1000, 44_549_160, 104, marks=pytest.mark.long
        ),
    ],
)
def test_torchvision_parameter_counts(name, shape, num_classes, count, norms):
    variables = jax.eval_shape(by_name(name, shape, num_classes).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == count
    assert len(variables.batch_stats) == norms


def in_torch_order(blocks, norms_per_block):
    """Torch's names of the batch norms in the order in which its modules are registered."""
    inner = [f'bn{i + 1}' for i in range(norms_per_block)]
    bottleneck = norms_per_block == 3
    names = ['bn1']
    for stage, size in enumerate(blocks, 1):
        for block in range(size):
            projected = block == 0 and (stage > 1 or bottleneck)
            names += [
                f'layer{stage}.{block}.{name}' for name in inner + ['downsample.1'] * projected
            ]
    return names


@pytest.mark.parametrize(
    'name, blocks, norms_per_block',
    [
        ('resnet18_stem3', (2, 2, 2, 2), 2),
        ('resnet34_stem7', (3, 4, 6, 3), 2),
        ('resnet101_stem3', (3, 4, 23, 3), 3),
    ],
)
def test_batch_norms_sort_in_the_order_of_the_network(name, blocks, norms_per_block):
    network, norm = NAMES[name]
    module = network(3, width=2, norm=norm)
    net = model(module, (32, 32, 3))
    out = jax.eval_shape(
        net.apply, jax.eval_shape(net.init, jax.random.key(0)), jnp.zeros((1, 32, 32, 3))
    )
    for names in (
        out.moments,
        sorted(out.moments),
        jax.tree.unflatten(
            jax.tree.structure(dict(out.moments)), jax.tree.leaves(dict(out.moments))
        ),
    ):
        assert [module.torch_key(layer) for layer in names] == in_torch_order(
            blocks, norms_per_block
        )


def test_only_stages_of_more_than_ten_blocks_pad_their_numbers():
    net = model(ResNet(2, stage_sizes=(10, 11), width=1, norm='batch', pooling='global'), (4, 4, 1))
    blocks = [
        name
        for name in jax.eval_shape(net.init, jax.random.key(0)).params
        if name.startswith('stage')
    ]
    assert sorted(blocks) == [f'stage0_block{i}' for i in range(10)] + [
        f'stage1_block{i:02}' for i in range(11)
    ]


def test_bottlenecks_stride_their_middle_convolution():
    module = ResNet(
        3, stage_sizes=(1, 1), width=2, norm='batch', block='bottleneck', pooling='global'
    )
    collections = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    _, sown = jax.eval_shape(
        lambda c, x: module.apply(c, x, capture_intermediates=True, mutable=True),
        {kind: collections[kind] for kind in ('params', 'batch_stats')},
        jnp.zeros((1, 8, 8, 3)),
    )
    block = sown['intermediates']['stage1_block0']
    shapes = [
        block[f'{layer}_conv']['__call__'][0].shape
        for layer in ('layer0', 'layer1', 'layer2', 'shortcut')
    ]
    assert shapes == [(1, 8, 8, 4), (1, 4, 4, 4), (1, 4, 4, 16), (1, 4, 4, 16)]
    kernels = {
        name: block['kernel'].shape
        for name, block in collections['params']['stage1_block0'].items()
        if name.endswith('conv')
    }
    assert kernels == {
        'layer0_conv': (1, 1, 8, 4),
        'layer1_conv': (3, 3, 4, 4),
        'layer2_conv': (1, 1, 4, 16),
        'shortcut_conv': (1, 1, 8, 16),
    }


@pytest.mark.parametrize(
    'stem, shape, positions',
    [
        ('small', (8, 8, 1), 1),
        ('small', (64, 64, 3), 64),
        ('imagenet', (32, 32, 3), 1),
        ('imagenet', (96, 64, 3), 6),
    ],
)
def test_the_global_pool_leaves_one_vector_and_sides_always_halve(stem, shape, positions):
    net = model(ResNet(7, width=4, norm='batch', pooling='global', stem=stem), shape)
    out = jax.eval_shape(
        net.apply, jax.eval_shape(net.init, jax.random.key(0)), jnp.zeros((3, *shape))
    )
    assert out.maps.shape == (3, positions, 32)
    assert out.features.shape == (3, 32) and out.logits.shape == (3, 7)


def test_the_imagenet_stem_is_a_choice_of_its_own(weights):
    net = model(
        ResNet(3, stage_sizes=(1,), width=2, stem='imagenet', downsampling='average_pool'),
        (8, 8, 1),
    )
    out = jax.jit(net.apply)(weights(net), jax.random.normal(jax.random.key(1), (2, 8, 8, 1)))
    assert out.maps.shape == (2, 4, 2)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'stem': 'tiny'}, "unknown ResNet stem 'tiny'; valid: imagenet, small"),
        ({'block': 'neck'}, "unknown ResNet block 'neck'; valid: basic, bottleneck"),
        ({'pooling': 'max'}, "unknown ResNet pooling 'max'; valid: fixed, global"),
    ],
)
def test_unknown_variants_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model(ResNet(3, **options), (8, 8, 1))


def pooled_ten(torch, x):
    """A ResNet-10 whose sides are halved by average pools, behind ImageNet's stem."""
    pool = torch_functional.avg_pool2d
    relu = torch_functional.relu
    x = relu(torch.norm(torch.conv(x, 'conv1', 2), 'bn1'))
    x = torch_functional.max_pool2d(x, 3, 2, 1)
    for stage in range(1, 5):
        name = f'layer{stage}.0'
        y = relu(torch.norm(torch.conv(x, f'{name}.conv1'), f'{name}.bn1'))
        if stage > 1:
            x = pool(torch.conv(x, f'{name}.downsample.0'), 2)
            x, y = torch.norm(x, f'{name}.downsample.1'), pool(y, 2)
        x = relu(x + torch.norm(torch.conv(y, f'{name}.conv2'), f'{name}.bn2'))
    return torch.linear(x.mean((2, 3)), 'fc')


def test_average_pools_before_a_global_one_are_those_of_torch(x64):
    module = ResNet(
        5,
        stage_sizes=(1, 1, 1, 1),
        width=2,
        norm='batch',
        downsampling='average_pool',
        stem='imagenet',
        pooling='global',
    )
    Torch(module).check_exactly(pooled_ten, module, model(module, (64, 64, 3)), 64)


def test_the_ten_layers_of_idc():
    for name, norm in (('resnet10', 'instance'), ('resnet10_bn', 'batch')):
        net = by_name(name, (32, 32, 3), 10)
        shapes = jax.eval_shape(net.init, jax.random.key(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes.params)) == 4_903_242
        assert bool(shapes.batch_stats) == (norm == 'batch')
    net = by_name('resnet10_ap_stem7', (224, 224, 3), 10)
    out = jax.eval_shape(
        net.apply,
        jax.eval_shape(net.init, jax.random.key(0)),
        jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32),
    )
    assert out.maps.shape == (1, 49, 512) and out.features.shape == (1, 512)
    with pytest.raises(ValueError, match='ResNet is too deep for images of side 63: .* 64 or more'):
        by_name('resnet10_ap_stem7', (63, 63, 3), 10)
