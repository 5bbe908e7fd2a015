"""The benchmark's networks in PyTorch, layers named as in `jaxdd.models`,
and the weights of ours in them."""

from collections.abc import Callable

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import Tensor, nn
from torch.nn import functional

from jaxdd.types import Variables

LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    'instance': lambda channels: nn.GroupNorm(channels, channels),
    'batch': nn.BatchNorm2d,
}


class ConvNet(nn.Module):
    """ConvNet with instance norm: blocks of a 3x3 convolution, norm, ReLU and 2x2 average pool,
    then a linear layer."""

    def __init__(
        self, num_classes: int, side: int, width: int = 128, depth: int = 3, colors: int = 3
    ):
        super().__init__()
        self.depth, self.channels = depth, width
        for i in range(depth):
            self.add_module(f'conv{i}', nn.Conv2d(width if i else colors, width, 3, padding=1))
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
        return functional.relu(
            y + (self.shortcut_norm(self.shortcut_conv(x)) if self.changes else x)
        )


class ResNet18(nn.Module):
    """ResNet-18 for images of side 16 or 32:
    a 3x3 stem, four stages of two blocks, a global pool, a linear layer."""

    def __init__(self, num_classes: int, norm: str, width: int = 64):
        super().__init__()
        make, self.channels = NORMS[norm], width
        self.conv, self.norm = nn.Conv2d(3, width, 3, padding=1, bias=False), make(width)
        self.blocks = []
        for stage in range(4):
            for block in range(2):
                features = width * 2**stage
                self.blocks.append(f'stage{stage}_block{block}')
                self.add_module(
                    self.blocks[-1],
                    _Block(self.channels, features, 2 if stage and not block else 1, make),
                )
                self.channels = features
        self.classifier = nn.Linear(self.channels, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`[N, C, H, W]` -> logits `[N, Y]`, features `[N, D]`,
        maps `[N, P, D]` before the pool."""
        x = functional.relu(self.norm(self.conv(x)))
        for name in self.blocks:
            x = getattr(self, name)(x)
        features = x.mean((2, 3))
        return self.classifier(features), features, x.flatten(2).transpose(1, 2)


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
    own = {
        name: value
        for name, value in net.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in state.items()}:
        raise ValueError(
            f'the weights do not fit {type(net).__name__}: '
            f'{sorted(set(own) ^ set(state)) or "shapes"}'
        )
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
