"""What the networks of depthwise convolutions share."""

import math

from jaxdd.models.layers import at_least_float32, classifier
from jaxdd.types import Array


def scaled(channels: int, width: int, stem: int, *, multiple: int = 1) -> int:
    """Scales channels as the stem is scaled.

    Args:
        channels: of the paper's network.
        width: of the stem.
        stem: the paper's width of the stem.
        multiple: the result is the nearest multiple of it, at least one.

    Returns:
        The channels; those of the paper where `width` is `stem`.
    """
    return multiple * max(1, math.floor(channels * width / (stem * multiple) + 0.5))


def pooled_head(x: Array, num_classes: int) -> tuple[Array, Array, Array]:
    """Ends a network with a global average pool and the linear head, inside a compact module.

    Args:
        x: `[N, H, W, D]` last map.
        num_classes: Y.

    Returns:
        `[N, Y]` logits; `[N, D]` features; `[N, H * W, D]` maps. The last two are float32 or wider.
    """
    maps = at_least_float32(x).reshape(len(x), -1, x.shape[-1])
    features = maps.mean(1)
    return classifier(features, num_classes), features, maps


def located(layer: str) -> tuple[int, int, str, str]:
    """Splits a layer's path: 'stage1_block02/layer0_conv' -> (1, 2, 'layer0', 'conv')."""
    outer, inner = layer.split('/')
    stage, block = outer.split('_')
    place, _, kind = inner.rpartition('_')
    return int(stage.removeprefix('stage')), int(block.removeprefix('block')), place, kind


def numbered(place: str, kind: str) -> str:
    """Names a layer inside a block as UFC's classes do: ('layer0', 'norm') -> 'bn1'."""
    if place == 'shortcut':
        return f'shortcut.{int(kind == "norm")}'
    return f'{"bn" if kind == "norm" else "conv"}{int(place.removeprefix("layer")) + 1}'
