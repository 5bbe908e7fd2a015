"""Workloads of the benchmark, ready to step: networks, images, optimiser, and what a step draws.

Every builder takes `(sizes, given, config, device, plain)`: `workloads.Sizes`, `workloads.Given`,
`configs.Config`, torch's device, and whether nothing is drawn within the step. It reads the same
configuration as our side.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from experiments.speed.eager import steps
from experiments.speed.eager.augment import Transform, drawn, drawn_roll, unchanged
from experiments.speed.eager.mosaic import encoded
from experiments.speed.eager.networks import ConvNet, ResNet18, frozen, load, tensor
from experiments.stages import build, students
from jaxdd import data
from jaxdd.types import Variables


class Theirs(NamedTuple):
    """A workload, ready: the loss of step i, which moves `learned` (a student's step moves
    `nets`)."""

    step: Callable[[int], float]
    learned: Tensor  # what the optimiser moves, [..., C, H, W]
    nets: list[nn.Module]
    optimizers: list[torch.optim.Optimizer]


def dm(sizes, given, config, device: str, plain: bool) -> Theirs:
    """DM with the plug-ins of the configuration; a fresh network at every step."""
    net = _convnet(sizes, given, device)
    images, (real, draw) = (
        _parameter(tensor(given.images, device)),
        _draws(sizes, given, config, device, plain),
    )
    optimizer = _optimizer(config, images)
    extra: dict[str, Any] = {
        name: getattr(config.regularizers, name).weight for name in config.plugins
    }
    if {'cc', 'cmi'} & set(extra):
        extra['proxy'] = frozen(_resnet(sizes, given.networks['proxy'], 'instance', device))

    def step(i: int) -> float:
        now = net if plain else ConvNet(sizes.num_classes, sizes.side, sizes.width).to(device)
        return steps.dm(frozen(now), images, optimizer, real(i), draw, **extra)

    return Theirs(step, images, [net], [optimizer])


def dsa(sizes, given, config, device: str, plain: bool) -> Theirs:
    """Gradient matching."""
    net = _convnet(sizes, given, device)
    images, (real, draw) = (
        _parameter(tensor(given.images, device)),
        _draws(sizes, given, config, device, plain),
    )
    optimizer = _optimizer(config, images)
    return Theirs(
        lambda i: steps.dsa(net, images, optimizer, real(i), draw), images, [net], [optimizer]
    )


def idm(sizes, given, config, device: str, plain: bool) -> Theirs:
    """IDM's matching."""
    net, m = frozen(_convnet(sizes, given, device)), config.matching
    images = _parameter(encoded(tensor(given.images, device), m.factor, 'column', 'mean'))
    optimizer, (real, draw) = (
        _optimizer(config, images),
        _draws(sizes, given, config, device, plain),
    )
    extra = {
        'factor': m.factor,
        'ce_weight': m.ce_weight,
        'percent': 100 * float(given.networks['encoder'].accuracy),
    }
    return Theirs(
        lambda i: steps.idm(net, images, optimizer, real(i), draw, **extra),
        images,
        [net],
        [optimizer],
    )


def idc(sizes, given, config, device: str, plain: bool) -> Theirs:
    """IDC's matching."""
    net, factor, start = (
        _convnet(sizes, given, device),
        config.matching.factor,
        tensor(given.images, device),
    )
    box = _box(config, start)
    images = _parameter(encoded(start * box[1] + box[0], factor, 'row', 'nearest'))
    optimizer, (real, draw) = (
        _optimizer(config, images),
        _draws(sizes, given, config, device, plain),
    )

    def step(i: int) -> float:
        return steps.idc(net, images, optimizer, real(i), draw, factor=factor, box=box)

    return Theirs(step, images, [net], [optimizer])


def mtt(sizes, given, config, device: str, plain: bool) -> Theirs:
    """Trajectory matching."""
    images, m = _parameter(tensor(given.images, device)), config.matching
    ends = [_convnet(sizes, given, device, role) for role in ('encoder', 'target')]
    expert = tuple({n: p.detach() for n, p in net.named_parameters()} for net in ends)
    rate = images.new_tensor(m.start_rate).requires_grad_()
    o = config.optimizer
    optimizers = [
        _optimizer(config, images),
        torch.optim.SGD([rate], lr=o.rate_learning_rate, momentum=o.momentum),
    ]
    labels = torch.arange(len(images), device=device).repeat_interleave(images.shape[1])
    strategy, shape = (
        build.strategy(config.augmentation.strategy, data.spec(config.dataset)),
        images.shape[-2:],
    )

    def draw() -> Transform:
        return unchanged if plain else drawn(strategy, config.augmentation.mode, len(labels), shape)

    def step(i: int) -> float:
        return steps.mtt(
            ends[0], images, rate, optimizers, labels, expert, draw, num_steps=m.num_steps
        )

    return Theirs(step, images, ends, optimizers)


def recovery(sizes, given, config, device: str, plain: bool) -> Theirs:
    """SRe2L's recovery, or INFER's."""
    net = frozen(_resnet(sizes, given.networks['encoder'], 'batch', device))
    images, seen, r = tensor(given.images, device), steps.watch(net), config.recover
    extra: dict[str, Any] = {'bn_weight': r.bn_weight, 'first_bn_weight': r.first_bn_weight}
    if config.entry.natural:
        learned = _parameter(torch.zeros_like(images[0]))
        extra['natural'] = images
    else:
        learned = _parameter(images)
        extra['box'] = _box(config, images)
    optimizer = _optimizer(config, learned)
    labels = torch.arange(len(images), device=device).repeat_interleave(images.shape[1])

    def step(i: int) -> float:
        see = unchanged if plain else drawn_roll(r.jitter)
        return steps.recovery(net, seen, learned, optimizer, labels, see, **extra)

    return Theirs(step, learned, [net], [optimizer])


def evaluation(sizes, given, config, device: str, plain: bool) -> Theirs:
    """Students of the evaluation, one after the other;
    every step takes a new order and a new augmentation."""
    e, images = config.evaluation, tensor(given.images, device)
    labels = torch.arange(len(images), device=device).repeat_interleave(images.shape[1])
    images = images.flatten(0, 1)
    nets = [_convnet(sizes, given, device, role) for role in given.networks]
    optimizers = [
        torch.optim.SGD(
            net.parameters(),
            lr=students.rate(e, 'convnet'),
            momentum=e.momentum,
            weight_decay=e.weight_decay,
        )
        for net in nets
    ]

    def seen() -> tuple[Tensor, Tensor]:
        if plain:
            return images, labels
        order = torch.randperm(len(images), device=device)
        see = drawn(
            build.strategy(e.strategy, data.spec(config.dataset)),
            e.mode,
            len(order),
            images.shape[2:],
        )
        return see(images[order]), labels[order]

    def step(i: int) -> float:
        values = [
            steps.student(net, optimizer, *seen()) for net, optimizer in zip(nets, optimizers)
        ]
        return sum(values) / len(values)

    return Theirs(step, images, nets, optimizers)


def _convnet(sizes, given, device: str, role: str = 'encoder') -> nn.Module:
    return load(ConvNet(sizes.num_classes, sizes.side, sizes.width), given.networks[role]).to(
        device
    )


def _resnet(sizes, variables: Variables, norm: str, device: str) -> nn.Module:
    return load(ResNet18(sizes.num_classes, norm, sizes.resnet_width), variables).to(device)


def _parameter(images: Tensor) -> Tensor:
    return images.detach().clone().requires_grad_()


def _optimizer(config, images: Tensor) -> torch.optim.Optimizer:
    o = config.optimizer
    if o.name == 'adam':
        return torch.optim.Adam([images], lr=o.learning_rate, betas=(o.momentum, o.b2))
    return torch.optim.SGD([images], lr=o.learning_rate, momentum=o.momentum)


def _box(config, images: Tensor) -> tuple[Tensor, Tensor]:
    spec = data.spec(config.dataset)
    return images.new_tensor(spec.mean).reshape(-1, 1, 1), images.new_tensor(spec.std).reshape(
        -1, 1, 1
    )


def _draws(
    sizes, given, config, device: str, plain: bool
) -> tuple[Callable[[int], steps.Real], Callable[[], Transform]]:
    """Where step i's real images come from, and a class's augmentation."""
    if plain:
        real = tensor(given.real, device)
        return lambda i: real[i % len(real)].__getitem__, lambda: unchanged
    strategy = build.strategy(config.augmentation.strategy, data.spec(config.dataset))
    return _resident(sizes, given, config, device), lambda: drawn(
        strategy, config.augmentation.mode, 1, (sizes.side, sizes.side)
    )


def _resident(sizes, given, config, device: str) -> Callable[[int], steps.Real]:
    """The training set, normalised once and kept on the device;
    a class's images are gathered when they are needed."""
    pixels = tensor(given.pool, device).flatten(0, 1).float().div_(255)
    mean, std = _box(config, pixels)
    images = pixels.sub_(mean).div_(std)
    members = np.arange(len(images)).reshape(sizes.num_classes, -1)

    def of_class(c: int) -> Tensor:
        return images[
            torch.from_numpy(np.random.permutation(members[c])[: sizes.per_class]).to(device)
        ]

    return lambda i: of_class
