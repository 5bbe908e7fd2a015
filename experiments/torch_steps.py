"""One step of each workload as an eager PyTorch script takes it: what `experiments.benchmark` compares with.

Written from the papers' formulas in the form that the field's scripts have: a loop over classes, autograd that records
while it computes, one kernel per operation. Weights, real images and labels are given, and nothing is augmented, so
that both sides compute the same numbers. Images are `[K, n, C, H, W]`; layers are named as in `jaxdd.models`.
"""
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from jaxdd import data
from jaxdd.types import Variables

STUDENT = {'learning_rate': 0.01, 'momentum': 0.9, 'weight_decay': 5e-4}    # SGD of the evaluation's student
LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    'instance': lambda channels: nn.GroupNorm(channels, channels), 'batch': nn.BatchNorm2d}


class Theirs(NamedTuple):
    """A workload, ready: the loss of step i, which moves `images` (the student's step moves `net`)."""
    step: Callable[[int], float]
    images: Tensor    # [K, n, C, H, W]
    net: nn.Module
    optimizer: torch.optim.Optimizer


class ConvNet(nn.Module):
    """ConvNet with instance norm: blocks of a 3x3 convolution, norm, ReLU and 2x2 average pool, then a linear layer."""

    def __init__(self, num_classes: int, side: int, width: int = 128, depth: int = 3):
        super().__init__()
        self.depth, self.channels = depth, width
        for i in range(depth):
            self.add_module(f'conv{i}', nn.Conv2d(width if i else 3, width, 3, padding=1))
            self.add_module(f'norm{i}', NORMS['instance'](width))
        self.classifier = nn.Linear(width * (side >> depth) ** 2, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`[N, C, H, W]` -> logits `[N, Y]`, features `[N, D]`, maps `[N, P, width]`."""
        for i in range(self.depth):
            x = getattr(self, f'norm{i}')(getattr(self, f'conv{i}')(x))
            x = functional.avg_pool2d(functional.relu(x, inplace=True), 2)
        features = x.flatten(1)
        return self.classifier(features), features, x.flatten(2).transpose(1, 2)


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int, features: int, stride: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        self.layer0_conv = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.layer0_norm = norm(features)
        self.layer1_conv = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.layer1_norm = norm(features)
        self.changes = stride != 1 or channels != features
        if self.changes:
            self.shortcut_conv = nn.Conv2d(channels, features, 1, stride, bias=False)
            self.shortcut_norm = norm(features)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.layer0_norm(self.layer0_conv(x)))
        y = self.layer1_norm(self.layer1_conv(y))
        return functional.relu(y + (self.shortcut_norm(self.shortcut_conv(x)) if self.changes else x))


class ResNet18(nn.Module):
    """ResNet-18 for images of side 16 or 32: a 3x3 stem, four stages of two blocks, a global pool, a linear layer."""

    def __init__(self, num_classes: int, norm: str, width: int = 64):
        super().__init__()
        make, self.channels = NORMS[norm], width
        self.conv, self.norm = nn.Conv2d(3, width, 3, padding=1, bias=False), make(width)
        self.blocks = []
        for stage in range(4):
            for block in range(2):
                features = width * 2 ** stage
                self.blocks.append(f'stage{stage}_block{block}')
                self.add_module(self.blocks[-1], _Block(
                    self.channels, features, 2 if stage and not block else 1, make))
                self.channels = features
        self.classifier = nn.Linear(self.channels, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`[N, C, H, W]` -> logits `[N, Y]`, features `[N, D]`, maps `[N, P, D]` before the pool."""
        x = functional.relu(self.norm(self.conv(x)))
        for name in self.blocks:
            x = getattr(self, name)(x)
        features = x.mean((2, 3))
        return self.classifier(features), features, x.flatten(2).transpose(1, 2)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def start() -> str:
    """Gives torch every core that this process may use; returns where its steps run: 'cuda' or 'cpu'."""
    torch.set_num_threads(cores())
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def tensor(array: np.ndarray, device: str = 'cpu') -> Tensor:
    """Images `[..., H, W, C]` in torch's layout `[..., C, H, W]`."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, -3))).to(device)


def load(net: nn.Module, variables: Variables) -> nn.Module:
    """Copies weights of ours into a network of the same layers, which takes their precision.

    Raises:
        ValueError: layers or shapes that differ.
    """
    leaves = dict(flatten_dict(variables.params, sep='/'))
    for layer, pair in variables.batch_stats.items():
        leaves |= {f'{layer}/{kind}': value for kind, value in pair.items()}
    state = {}
    for path, value in leaves.items():
        layer, leaf = path.rsplit('/', 1)
        name = f'{layer.replace("/", ".")}.{LEAVES[leaf]}'
        state[name] = torch.from_numpy(_torch_layout(np.array(value), net.channels))
    own = {name: value for name, value in net.state_dict().items() if not name.endswith('num_batches_tracked')}
    if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in state.items()}:
        raise ValueError(f'the weights do not fit {type(net).__name__}: {sorted(set(own) ^ set(state)) or "shapes"}')
    net.to(next(iter(state.values())).dtype)
    net.load_state_dict(state, strict=False)
    return net


def _torch_layout(value: np.ndarray, channels: int) -> np.ndarray:
    """Kernels [h, w, I, O] -> [O, I, h, w] and [H*W*C, Y] -> [Y, C*H*W]; vectors as they are."""
    if value.ndim == 4:
        return np.ascontiguousarray(value.transpose(3, 2, 0, 1))
    if value.ndim == 2:
        rows = value.T.reshape(value.shape[1], -1, channels)
        return np.ascontiguousarray(rows.transpose(0, 2, 1).reshape(value.shape[1], -1))
    return value


def frozen(net: nn.Module) -> nn.Module:
    """The network in test mode, its weights constants."""
    return net.eval().requires_grad_(False)


def dm(net: nn.Module, images: Tensor, optimizer: torch.optim.Optimizer, real: Tensor, *,
       proxy: nn.Module | None = None, cc: float = 0.0, cm: float = 0.0) -> float:
    """One step of DM, with CC and CM of IID if their weights are not 0.

    sum_c ||mean psi(real_c) - mean psi(syn_c)||^2 + cm ||Sigma(real_c) - Sigma(syn_c)||^2
    + cc sum_i ||g(syn_ci) - mean g(syn_c)||^2, with g the proxy's features.

    Args:
        net: frozen encoder.
        images: `[K, n, C, H, W]`, moved by the optimiser.
        real: `[K, B, C, H, W]`.
    """
    loss = torch.zeros((), dtype=images.dtype, device=images.device)
    for of_class, target in zip(images, real):
        _, real_features, real_maps = net(target)
        _, features, maps = net(of_class)
        loss = loss + torch.sum((real_features.detach().mean(0) - features.mean(0)) ** 2)
        if cm:
            loss = loss + cm * torch.sum((_covariance(real_maps.detach()) - _covariance(maps)) ** 2)
        if cc:
            known = proxy(of_class)[1]
            loss = loss + cc * torch.sum((known - known.mean(0)) ** 2)
    return _moved(loss, optimizer)


def _covariance(maps: Tensor) -> Tensor:
    """Channel covariance of maps [n, P, D], each position around its own mean, summed over positions."""
    rows = (maps - maps.mean(0)).reshape(-1, maps.shape[-1])
    return rows.T @ rows / len(maps)


def dsa(net: nn.Module, images: Tensor, optimizer: torch.optim.Optimizer, real: Tensor) -> float:
    """One step of gradient matching: sum_c D(grad CE(real_c), grad CE(syn_c)), cosine distance by output unit."""
    weights, loss = list(net.parameters()), torch.zeros((), dtype=images.dtype, device=images.device)
    for c, (of_class, target) in enumerate(zip(images, real)):
        wanted = torch.autograd.grad(_cross_entropy(net, target, c), weights)
        found = torch.autograd.grad(_cross_entropy(net, of_class, c), weights, create_graph=True)
        for a, b in zip(wanted, found):
            if a.ndim > 1:    # biases and scales count nothing
                a, b = a.detach().flatten(1), b.flatten(1)
                norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
                loss = loss + torch.sum(1 - torch.sum(a * b, 1) / (norms + 1e-6))
    return _moved(loss, optimizer)


def _cross_entropy(net: nn.Module, images: Tensor, label: int) -> Tensor:
    labels = torch.full((len(images),), label, device=images.device)
    return functional.cross_entropy(net(images)[0], labels)


def watch(net: nn.Module) -> dict[str, Tensor]:
    """Hooks every batch norm: after a pass, name -> distance of its input's moments to the running ones."""
    seen: dict[str, Tensor] = {}

    def watched(name: str):
        def hook(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            x = inputs[0]
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            seen[name] = torch.linalg.vector_norm(layer.running_var - var) + torch.linalg.vector_norm(
                layer.running_mean - mean)
        return hook

    for name, layer in net.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(watched(name))
    return seen


def sre2l(net: nn.Module, seen: dict[str, Tensor], images: Tensor, optimizer: torch.optim.Optimizer,
          box: tuple[Iterable[float], Iterable[float]], *, bn_weight: float, first_bn_weight: float) -> float:
    """One step of SRe2L's recovery: mean CE + bn_weight sum_l w_l (moment distance), then a clip to pixels in [0, 1].

    Args:
        net: frozen, watched.
        seen: what `watch(net)` returned.
        images: `[K, n, C, H, W]`, moved by the optimiser.
        box: (mean, std) per channel of the normalisation.
    """
    labels = torch.arange(len(images), device=images.device).repeat_interleave(images.shape[1])
    loss = functional.cross_entropy(net(images.flatten(0, 1))[0], labels)
    first, *others = seen.values()    # in the order of the pass
    value = _moved(loss + bn_weight * (first_bn_weight * first + sum(others)), optimizer)
    mean, std = (images.new_tensor(values).reshape(-1, 1, 1) for values in box)
    with torch.no_grad():
        images.copy_(torch.minimum(torch.maximum(images, -mean / std), (1 - mean) / std))
    return value


def evaluation(net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor) -> float:
    """One step of a student on all synthetic images `[K, n, C, H, W]`, hard labels, mean cross-entropy."""
    labels = torch.arange(len(images), device=images.device).repeat_interleave(images.shape[1])
    return _moved(functional.cross_entropy(net(images.flatten(0, 1))[0], labels), optimizer)


def _moved(loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """Backward pass and update; waits for the loss, which the scripts log."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def flops(step: Callable[[], object]) -> int:
    """Floating-point operations of the products and convolutions that `step` calls; a multiply-add counts two."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def product(size: int, device: str) -> Callable[[], float]:
    """A product of two float32 matrices of this size, to be timed: a function that returns when it is done."""
    a = torch.ones((size, size), device=device)
    return lambda: (a @ a)[0, 0].item()


def made_dm(sizes, given, config, device: str) -> Theirs:
    """DM, with the plug-ins of the configuration; arguments as `benchmark.Sizes`, `Given`, `configs.Config`."""
    net = frozen(_convnet(sizes, given, device))
    images, optimizer, real = _images(given, config, device)
    extra: dict[str, Any] = {name: getattr(config.regularizers, name).weight for name in config.plugins}
    if 'cc' in extra:
        extra['proxy'] = _resnet(sizes, given.networks['proxy'], 'instance', device)
    return Theirs(lambda i: dm(net, images, optimizer, real[i % len(real)], **extra), images, net, optimizer)


def made_dsa(sizes, given, config, device: str) -> Theirs:
    """Gradient matching; arguments as for `made_dm`."""
    net = _convnet(sizes, given, device)
    images, optimizer, real = _images(given, config, device)
    return Theirs(lambda i: dsa(net, images, optimizer, real[i % len(real)]), images, net, optimizer)


def made_sre2l(sizes, given, config, device: str) -> Theirs:
    """SRe2L's recovery; arguments as for `made_dm`."""
    net = _resnet(sizes, given.networks['encoder'], 'batch', device)
    images, optimizer, _ = _images(given, config, device)
    seen, spec = watch(net), data.spec(config.dataset)
    weights = {'bn_weight': config.recover.bn_weight, 'first_bn_weight': config.recover.first_bn_weight}
    box = spec.mean, spec.std
    return Theirs(lambda i: sre2l(net, seen, images, optimizer, box, **weights), images, net, optimizer)


def made_student(sizes, given, config, device: str) -> Theirs:
    """A student of the evaluation; arguments as for `made_dm`, the configuration is not read."""
    del config
    net, images = _convnet(sizes, given, device), tensor(given.images, device)
    optimizer = torch.optim.SGD(net.parameters(), lr=STUDENT['learning_rate'], momentum=STUDENT['momentum'],
                                weight_decay=STUDENT['weight_decay'])
    return Theirs(lambda i: evaluation(net, optimizer, images), images, net, optimizer)


def _convnet(sizes, given, device: str) -> nn.Module:
    return load(ConvNet(sizes.num_classes, sizes.side, sizes.width), given.networks['encoder']).to(device)


def _resnet(sizes, variables: Variables, norm: str, device: str) -> nn.Module:
    return frozen(load(ResNet18(sizes.num_classes, norm, sizes.resnet_width), variables)).to(device)


def _images(given, config, device: str) -> tuple[Tensor, torch.optim.Optimizer, Tensor]:
    """The synthetic images as a parameter, their optimiser, and the real batches."""
    o, images = config.optimizer, tensor(given.images, device).clone().requires_grad_()
    if o.name == 'adam':
        optimizer = torch.optim.Adam([images], lr=o.learning_rate, betas=(o.momentum, o.b2))
    else:
        optimizer = torch.optim.SGD([images], lr=o.learning_rate, momentum=o.momentum)
    return images, optimizer, tensor(given.real, device)
