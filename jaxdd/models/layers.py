"""Layers and checks that the networks share."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from jaxdd import parallel
from jaxdd.models import derivatives
from jaxdd.models.cpu import convolution, grouped_convolution
from jaxdd.models.precision import of_body
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
    centred: bool = False,
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
        dtype: of the products; None = see `precision.of_body`.
        centred: a norm that subtracts the mean of every map comes next. On accelerators something
            near to it is subtracted at once, see `_centred`.

    Returns:
        `[N, H', W', features]`.
    """
    on_cpu = (convolution if groups == 1 else grouped_convolution).general_dilated
    product = on_cpu if parallel.on_cpu() and derivatives.own() else None
    if centred and groups == 1 and not parallel.on_cpu():
        product = _centred
    layer = nn.Conv(
        features,
        (size, size),
        (stride, stride),
        [(padding, padding)] * 2,
        feature_group_count=groups,
        use_bias=use_bias,
        dtype=of_body(dtype),
        name=name,
        conv_general_dilated=product,
        promote_dtype=_without_slope if product is _centred else promote_dtype,
    )
    return layer(x)


def _centred(x: Array, kernel: Array, *args: Any, **options: Any) -> Array:
    """A convolution less what the mean of each of its maps would be without borders.

    The mean of the image and the sum of the kernel give it before the product is there. A norm then
    needs one pass over the map for its mean and its variance, since what is left of the mean is
    too small to cancel; and half precision rounds deviations instead of the whole.
    """
    y = jax.lax.conv_general_dilated(x, kernel, *args, **options)
    # What writes a map sums it on the way; of images, which are read once more, some rows do.
    some = x[:, ::4] if x.shape[-1] <= 4 else x
    mean, total = at_least_float32(some).mean((1, 2)), at_least_float32(kernel).sum((0, 1))
    return y - jax.lax.stop_gradient(mean @ total)[:, None, None].astype(y.dtype)


def _without_slope(x: Array, kernel: Array, bias: Array | None, **options: Any) -> Sequence[Any]:
    """Flax's promotion, after which the bias has no gradient: the norm that follows subtracts it
    with the mean of its map, so that nothing depends on it, and a sum over all maps would only
    gather rounding errors."""
    return promote_dtype(
        x, kernel, None if bias is None else jax.lax.stop_gradient(bias), **options
    )


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
    if not parallel.on_cpu():  # where a window of ones over an image with holes costs least
        return jax.lax.reduce_window(
            x / math.prod(window),
            np.zeros((), x.dtype),
            jax.lax.add,
            (1, *window, 1),
            (1, 1, 1, 1),
            [(0, 0), *((side - 1, side - 1) for side in window), (0, 0)],
            base_dilation=(1, *window, 1),
        )
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
