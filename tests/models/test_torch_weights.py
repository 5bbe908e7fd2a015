"""Weights saved by torch, read and converted: the same logits, and every refusal."""

import argparse
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from jaxdd.models import ConvNet, ResNet, by_name, model
from jaxdd.models.torch_weights import convert, load, read

SIZES = (1, 2, 1)
SHAPE = (32, 32, 3)


def conv(channels, features, size, stride=1):
    return nn.Conv2d(channels, features, size, stride, size // 2, bias=False)


class Block(nn.Module):
    def __init__(self, channels, inside, stride, bottleneck):
        super().__init__()
        features = 4 * inside if bottleneck else inside
        plan = (
            [(1, inside, 1), (3, inside, stride), (1, features, 1)]
            if bottleneck
            else [(3, inside, stride), (3, inside, 1)]
        )
        self.depth, width = len(plan), channels
        for i, (size, wide, step) in enumerate(plan, 1):
            setattr(self, f'conv{i}', conv(width, wide, size, step))
            setattr(self, f'bn{i}', nn.BatchNorm2d(wide))
            width = wide
        self.downsample = None
        if stride != 1 or channels != features:
            self.downsample = nn.Sequential(
                conv(channels, features, 1, stride), nn.BatchNorm2d(features)
            )

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(y))
            y = functional.relu(y) if i < self.depth else y
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet(nn.Module):
    """A ResNet under torchvision's names."""

    def __init__(self, num_classes, sizes, width, stem='small', bottleneck=False):
        super().__init__()
        self.conv1 = conv(3, width, 3) if stem == 'small' else conv(3, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.Identity() if stem == 'small' else nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, size in enumerate(sizes):
            inside = width * 2**stage
            blocks = []
            for block in range(size):
                blocks.append(Block(channels, inside, 2 if stage and not block else 1, bottleneck))
                channels = 4 * inside if bottleneck else inside
            setattr(self, f'layer{stage + 1}', nn.Sequential(*blocks))
        self.stages = len(sizes)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.pool(functional.relu(self.bn1(self.conv1(x))))
        for stage in range(1, self.stages + 1):
            x = getattr(self, f'layer{stage}')(x)
        return self.fc(x.mean((2, 3)))


def network(num_classes=5, sizes=SIZES, width=4, **options):
    """A torch ResNet with weights and running statistics that are all different; eval mode."""
    torch.manual_seed(0)
    net = TorchResNet(num_classes, sizes, width, **options).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def read_state(net):
    return {name: value.numpy() for name, value in net.state_dict().items()}


def ours(num_classes=5, sizes=SIZES, width=4, stem='small', bottleneck=False):
    return ResNet(
        num_classes,
        sizes,
        width,
        'batch',
        pooling='global',
        stem=stem,
        block='bottleneck' if bottleneck else 'basic',
    )


def save(content, path):
    (safetensors.torch.save_file if path.suffix == '.safetensors' else torch.save)(content, path)
    return path


def images(side=32, n=3):
    return np.random.default_rng(1).normal(size=(n, 3, side, side)).astype(np.float32)


def same_logits(net, variables, apply, side=32):
    x = images(side)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    actual = jax.jit(apply)(variables, jnp.asarray(x.transpose(0, 2, 3, 1))).logits
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize('ending', ['.pth', '.pt', '.pth.tar', '.safetensors'])
def test_a_file_gives_the_state_dict(ending, tmp_path):
    state = network().state_dict()
    found = read(save(state, tmp_path / f'weights{ending}'))
    assert list(found) == list(state) if ending != '.safetensors' else set(found) == set(state)
    for name, value in state.items():
        assert found[name].dtype == value.numpy().dtype
        np.testing.assert_array_equal(found[name], value.numpy())


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'stem': 'imagenet'},
        {'bottleneck': True},
        {'stem': 'imagenet', 'bottleneck': True, 'sizes': (2, 11)},
    ],
    ids=str,
)
def test_logits_agree_with_torch(options, ending, tmp_path):
    net = network(**options)
    module = ours(**options)
    variables = convert(read(save(net.state_dict(), tmp_path / f'weights{ending}')), module, SHAPE)
    same_logits(net, variables, model(module, SHAPE).apply)


def test_resnet18_by_name_agrees_with_torch(tmp_path):
    net = network(sizes=(2, 2, 2, 2), width=64, stem='imagenet')
    variables = load(save(net.state_dict(), tmp_path / 'weights.pth'), 'resnet18_stem7', SHAPE, 5)
    same_logits(net, variables, by_name('resnet18_stem7', SHAPE, 5).apply)


def test_gradients_agree_with_torch():
    net, module = network(stem='imagenet', bottleneck=True), ours(stem='imagenet', bottleneck=True)
    x, targets = images(), np.array([1, 4, 0])
    functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(targets)).backward()
    state = read_state(net)
    slopes = state | {name: parameter.grad.numpy() for name, parameter in net.named_parameters()}
    variables, apply = convert(state, module, SHAPE), model(module, SHAPE).apply

    def loss(params):
        logits = apply(
            variables._replace(params=params), jnp.asarray(x.transpose(0, 2, 3, 1))
        ).logits
        return -jax.nn.log_softmax(logits)[np.arange(3), targets].mean()

    actual, expected = (
        jax.jit(jax.grad(loss))(variables.params),
        convert(slopes, module, SHAPE).params,
    )
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * np.abs(e).max()),
        actual,
        expected,
    )


def test_converted_variables_have_the_structure_and_types_of_fresh_ones():
    converted = convert(read_state(network()), ours(), SHAPE)
    fresh = jax.eval_shape(model(ours(), SHAPE).init, jax.random.key(0))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), converted) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), fresh
    )
    assert converted.age == 0 and converted.accuracy == 0
    assert list(converted.batch_stats) == sorted(fresh.batch_stats)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: {'state_dict': s, 'epoch': 3, 'best_acc1': torch.tensor(61.2)},
        lambda s: {'model': s, 'args': {'lr': 0.1}},
        lambda s: {'epoch': 1, 'state_dict': {f'module.{k}': v for k, v in s.items()}},
        lambda s: {f'module.{k}': v for k, v in s.items()},
    ],
    ids=['state_dict', 'model', 'prefixed', 'prefix alone'],
)
def test_wrapped_weights_are_unwrapped(wrap, tmp_path):
    state = network().state_dict()
    found = read(save(wrap(state), tmp_path / 'weights.pth'))
    assert list(found) == list(state)
    np.testing.assert_array_equal(found['fc.weight'], state['fc.weight'])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_half_precision_is_widened(ending, dtype, tmp_path):
    value = torch.arange(6).reshape(2, 3).to(dtype) / 8
    found = read(save({'fc.weight': value}, tmp_path / f'weights{ending}'))['fc.weight']
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.arange(6).reshape(2, 3) / 8)


def test_another_ending_or_no_file_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r'weights.onnx: valid endings are .safetensors, .pth, .pt and .pth.tar'
    ):
        read(tmp_path / 'weights.onnx')
    with pytest.raises(ValueError, match='no file of weights at .*absent.pth'):
        read(tmp_path / 'absent.pth')
    (tmp_path / 'folder.pth').mkdir()
    with pytest.raises(ValueError, match='no file of weights at .*folder.pth'):
        read(tmp_path / 'folder.pth')


@pytest.mark.parametrize('ending, package', [('.pth', 'torch'), ('.safetensors', 'safetensors')])
def test_an_absent_package_is_named(ending, package, tmp_path, monkeypatch):
    path = save({'fc.bias': torch.ones(2)}, tmp_path / f'weights{ending}')
    for name in [name for name in sys.modules if name.split('.')[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=f'needs the package {package}: pip install {package}'):
        read(path)


class Touches:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.mark.parametrize('protocol', ['zip', 'legacy', 'plain pickle'])
def test_code_in_a_file_never_runs(protocol, tmp_path):
    path, trace = tmp_path / 'weights.pth', tmp_path / 'trace'
    content = {'state_dict': {'fc.bias': torch.ones(2)}, 'extra': Touches(trace)}
    if protocol == 'plain pickle':
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=protocol == 'zip')
    with pytest.raises(
        ValueError,
        match='weights.pth holds more than tensors.*run code.*save only the weights, '
        r'torch.save\(network.state_dict\(\), path\), or use safetensors',
    ):
        read(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    'content, said',
    [
        (lambda: {'state_dict': {}, 'args': argparse.Namespace(lr=0.1)}, 'argparse.Namespace'),
        (lambda: nn.Linear(2, 2), 'Linear'),
    ],
)
def test_pickled_objects_are_refused_by_name(content, said, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(content(), path)
    with pytest.raises(ValueError, match=f'which is refused.*{said}') as error:
        read(path)
    for advice in ('weights_only', 'add_safe_globals'):  # no advice to load it unguarded
        assert advice not in str(error.value)


def test_a_compiled_network_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match='holds more than tensors.*TorchScript'):
        read(tmp_path / 'weights.pt')


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    'damage',
    [lambda whole: whole[: len(whole) // 2], lambda whole: b'', lambda whole: b'a page'],
    ids=['cut', 'empty', 'other'],
)
def test_damaged_files_are_refused(ending, damage, tmp_path):
    path = save({'fc.weight': torch.ones(100, 30)}, tmp_path / f'weights{ending}')
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match='is damaged or no torch checkpoint|is not a whole safetensors file'
    ):
        read(path)


@pytest.mark.parametrize(
    'content, said',
    [
        (torch.ones(2), 'holds a Tensor, not named tensors'),
        ([1, 2], 'holds a list, not named tensors'),
        (
            {'net': {'fc.bias': torch.ones(2)}, 'acc': 93.1},
            'neither at the top nor under state_dict or model: acc, net',
        ),
        ({}, 'nothing among its entries'),
        ({1: torch.ones(2)}, ': 1 among its entries'),
    ],
    ids=str,
)
def test_files_without_a_state_dict_are_refused(content, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        read(save(content, tmp_path / 'weights.pth'))


def test_every_misfit_is_in_one_report():
    state = read_state(network())
    del state['bn1.weight'], state['layer2.0.downsample.1.running_var']
    state |= {
        'aux.bias': np.ones(2),
        'layer1.0.conv2.weight': np.ones((4, 4, 1, 1), np.float32),
        'layer3.0.bn1.running_mean': np.full(16, np.nan),
    }
    with pytest.raises(ValueError) as error:
        convert(state, ours(), SHAPE)
    for said in (
        'do not fit ResNet',
        '2 missing: ',
        'bn1.weight [4]',
        'layer2.0.downsample.1.running_var [8]',
        '1 left over: aux.bias [2]; ',
        '1 not finite: layer3.0.bn1.running_mean',
        '1 of another shape: layer1.0.conv2.weight (got [4, 4, 1, 1], expected [4, 4, 3, 3])',
    ):
        assert said in str(error.value)
    assert 'classes' not in str(error.value)


class WithUnused(ResNet):
    def unused_torch_keys(self):
        return frozenset({'layer1.0.extra'})


def test_layers_that_torch_never_reads_are_ignored():
    state = read_state(network()) | {
        'layer1.0.extra.weight': np.ones(2),
        'layer1.0.extra.running_mean': np.ones(2),
    }
    module = WithUnused(5, SIZES, 4, 'batch', pooling='global')
    jax.tree.map(
        np.testing.assert_array_equal,
        convert(state, module, SHAPE),
        convert(read_state(network()), ours(), SHAPE),
    )
    with pytest.raises(ValueError, match=r'1 left over: layer1.0.extra2.weight \[2\]'):
        convert(state | {'layer1.0.extra2.weight': np.ones(2)}, module, SHAPE)


def test_long_reports_end_in_a_count():
    kept = ('layer1', 'layer2', 'fc')
    state = {name: value for name, value in read_state(network()).items() if name.startswith(kept)}
    state |= {f'extra{i}': np.ones(1) for i in range(12)}
    # The stem has 5 tensors, the only block of layer3 5 + 5 and 5 of its shortcut.
    with pytest.raises(
        ValueError, match='20 missing: .* and 10 more; 12 left over: extra0 .*extra9 .* and 2 more'
    ) as error:
        convert(state, ours(), SHAPE)
    assert 'extra10' not in str(error.value)


def test_another_number_of_classes_is_said_plainly():
    with pytest.raises(
        ValueError,
        match=r'fc.weight \(got \[5, 16\], expected \[7, 16\]\).*The weights are for 5 '
        'classes, the network has 7: build it with num_classes=5, or take',
    ):
        convert(read_state(network()), ours(num_classes=7), SHAPE)


def test_another_stem_is_a_misfit():
    with pytest.raises(
        ValueError,
        match=r'1 of another shape: conv1.weight \(got \[4, 3, 3, 3\], expected '
        r'\[4, 3, 7, 7\]\)\.$',
    ):
        convert(read_state(network()), ours(stem='imagenet'), SHAPE)


def test_networks_without_torch_names_are_refused():
    with pytest.raises(ValueError, match='ConvNet has no torch names'):
        convert({}, ConvNet(3), SHAPE)


def test_load_refuses_unknown_names(tmp_path):
    with pytest.raises(
        ValueError, match="unknown network 'resnet18_stem5'.*Did you mean 'resnet18_stem[37]'"
    ):
        load(tmp_path / 'weights.pth', 'resnet18_stem5', SHAPE, 3)
