"""Layers and checks that the networks share."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import parallel
from jaxdd.models import derivatives
from jaxdd.models.cpu import convolution, grouped_convolution
from jaxdd.types import Array

# Network -> smallest image side, `margin` included, at which no map vanishes and no instance norm
# sees 1x1.
SMALLEST_SIDES = {
    'mlp': 1,
    'convnet': 2,
    'resnet18': 2,
    'alexnet': 8,
    'lenet': 16,
    'vgg11': 32,
    'mobilenetv2': 1,
    'efficientnet_b0': 1,
    'shufflenet_g2': 1,
    'shufflenetv2': 1,
    'densenet': 16,
}


def conv(
    x: Array,
    features: int,
    *,
    name: str,
    size: int = 3,
    stride: int = 1,
    padding: int = 1,
    groups: int = 1,
    use_bias: bool = True,
    dtype: str | None = None,
) -> Array:
    """Applies a square convolution with torch's padding, inside a compact module.

    Args:
        x: `[N, H, W, C]`.
        features: output channels.
        name: of the submodule.
        size, stride, padding: pixels, the same for both axes and both sides ('SAME' would pad a
            stride-2 convolution of an even side by (0, 1)).
        groups: of neighbouring channels, each mapped on its own, in torch's order; as many as
            channels is a depthwise convolution.
        use_bias: whether to add a bias.
        dtype: of the products; None = promoted from image and parameters.

    Returns:
        `[N, H', W', features]`.
    """
    on_cpu = (convolution if groups == 1 else grouped_convolution).general_dilated
    own = parallel.on_cpu() and derivatives.own()
    layer = nn.Conv(
        features,
        (size, size),
        (stride, stride),
        [(padding, padding)] * 2,
        feature_group_count=groups,
        use_bias=use_bias,
        dtype=dtype,
        name=name,
        conv_general_dilated=on_cpu if own else None,
    )
    return layer(x)


def classifier(features: Array, num_classes: int) -> Array:
    """Applies the linear head 'classifier', inside a compact module.

    Args:
        features: `[N, D]`.
        num_classes: Y.

    Returns:
        `[N, Y]` logits, no softmax.
    """
    return nn.Dense(num_classes, name='classifier')(features)


def flattened_head(x: Array, num_classes: int) -> tuple[Array, Array, Array]:
    """Ends a network whose features are its last map, flattened, inside a compact module.

    Args:
        x: `[N, H, W, C]` last map.
        num_classes: Y.

    Returns:
        `[N, Y]` logits; `[N, H * W * C]` features; `[N, H * W, C]` maps. The last two are float32
        or wider.
    """
    features, maps = flattened(x)
    return classifier(features, num_classes), features, maps


def flattened(x: Array) -> tuple[Array, Array]:
    """A map as features and as maps of local features, both float32 or wider.

    Args:
        x: `[N, H, W, C]`.

    Returns:
        `[N, H * W * C]` features; `[N, H * W, C]` maps.
    """
    maps = at_least_float32(x).reshape(len(x), -1, x.shape[-1])
    return maps.reshape(len(x), -1), maps


def average_pool(x: Array, window: tuple[int, int]) -> Array:
    """Averages disjoint windows; a remainder at the lower and right edge is dropped, as in torch.

    Its derivative spreads a gradient evenly, whose derivative averages again: `reduce_window`'s is
    slow on a CPU, and that of slices adds up images full of zeros (second derivatives of ConvNet-3
    take 5.2 instead of 3.8 ms per image).

    Args:
        x: `[N, H, W, C]`.
        window: height and width of a window, pixels.

    Returns:
        `[N, H // window[0], W // window[1], C]`.
    """
    rows, columns = x.shape[1] // window[0], x.shape[2] // window[1]
    averaged = derivatives.chosen(_averaged)
    return averaged(x[:, : rows * window[0], : columns * window[1]], window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _averaged(x: Array, window: tuple[int, int]) -> Array:
    n, h, w, c = x.shape
    if not parallel.on_cpu():  # where slices with holes cost more than all arithmetic
        total = jax.lax.reduce_window(
            x, np.zeros((), x.dtype), jax.lax.add, (1, *window, 1), (1, *window, 1), 'VALID'
        )
        return total / math.prod(window)
    if math.prod(window) > 4:
        return x.reshape(n, h // window[0], window[0], w // window[1], window[1], c).mean((2, 4))
    taps = [
        x[:, i :: window[0], j :: window[1]] for i in range(window[0]) for j in range(window[1])
    ]
    return sum(taps[1:], taps[0]) / len(taps)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _spread(x: Array, window: tuple[int, int]) -> Array:
    n, h, w, c = x.shape
    even = jnp.broadcast_to(
        (x / math.prod(window))[:, :, None, :, None], (n, h, window[0], w, window[1], c)
    )
    return even.reshape(n, h * window[0], w * window[1], c)


_averaged.defvjp(
    lambda x, window: (_averaged(x, window), None), lambda window, _, g: (_spread(g, window),)
)
_spread.defvjp(
    lambda x, window: (_spread(x, window), None), lambda window, _, g: (_averaged(g, window),)
)


def at_least_float32(x: Array) -> Array:
    """Returns what a half-precision body computed as float32; wider types as they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def stem_padding(image_shape: tuple[int, ...]) -> int:
    """Counts the pixels that the first convolution pads beyond its usual padding, on each side.

    2 for one channel of 28x28 (MNIST), which the networks thus see as 32x32; 0 for everything else.

    Args:
        image_shape: height, width, channels.

    Returns:
        The pixels.
    """
    return 2 if tuple(image_shape) == (28, 28, 1) else 0


def check_side(network: str, image_shape: tuple[int, ...], smallest: int) -> None:
    """Refuses images that a network would shrink to nothing.

    Args:
        network: its name, for the message.
        image_shape: height, width, channels.
        smallest: the smallest valid side in pixels, `margin` included.

    Raises:
        ValueError: a shorter side; names the networks that fit it.
    """
    side = min(image_shape[:2]) + 2 * stem_padding(image_shape)
    if side < smallest:
        fitting = [name for name, other in SMALLEST_SIDES.items() if other <= side]
        raise ValueError(
            f'{network} is too deep for images of side {side}: it needs a side of {smallest} or '
            f'more. Networks that fit: {", ".join(fitting) or "none"}'
        )
