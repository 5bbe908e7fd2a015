"""Normalisation layers with torch's conventions:
eps 1e-5, biased two-pass variance, float32 or wider."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdd import checks, parallel
from jaxdd.models import derivatives
from jaxdd.models.layers import conv
from jaxdd.types import Array, Moments, PyTree

NORMS = ('instance', 'batch', 'layer', 'group', 'none')
EPSILON = 1e-5  # torch's default; Flax has 1e-6
GROUPS = 4  # of the 'group' variant in DC's architecture tables


class GroupNorm(nn.Module):
    """Group normalisation: moments per image and group of channels.

    y = (x - E[x]) / sqrt(Var[x] + 1e-5) * scale + bias, moments over H, W and the channels of one
    group. One channel per group is the "instance norm" of DC, DM, MTT and their successors.
    Wu and He, ECCV 2018, https://arxiv.org/abs/1803.08494, equation 1.

    Attributes:
        groups: number of groups; None = one per channel.
        centred: the maps come from a `layers.conv` that is centred, too: their means are small
            against their deviations.
    """

    groups: int | None = None
    centred: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalises `[N, H, W, C]`; returns the same shape and dtype.

        Raises:
            ValueError: the channels do not divide into the groups.
        """
        n, h, w, channels = x.shape
        groups = self.groups or channels
        if channels % groups:
            raise ValueError(
                f'group norm with {groups} groups needs a width divisible by {groups}, '
                f'got {channels}'
            )
        # No axis of length 1 for the instance norm: a CPU would not vectorise over it.
        wide = _widened(x).reshape(
            n, h, w, *((channels,) if groups == channels else (groups, channels // groups))
        )
        standardise = derivatives.chosen(_standardise)
        y, _ = standardise(wide, (1, 2, 4)[: wide.ndim - 2], self.centred)
        y = y.reshape(x.shape)
        scale = self.param('scale', nn.initializers.ones, (channels,))
        bias = self.param('bias', nn.initializers.zeros, (channels,))
        return (y * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)).astype(x.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation: moments per image over H, W and C.
    Every element of the map has a scale and a bias.

    Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450, equation 3.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalises `[N, H, W, C]`; returns the same shape and dtype."""
        wide = _widened(x)
        y, _ = derivatives.chosen(_standardise)(wide, (1, 2, 3), False)
        scale = self.param('scale', nn.initializers.ones, x.shape[1:])
        bias = self.param('bias', nn.initializers.zeros, x.shape[1:])
        return (y * scale[None] + bias[None]).astype(x.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation: its batch moments are an output, its running moments are only read.

    y = (x - mean) / sqrt(var + 1e-5) * scale + bias, moments over N, H and W, biased variance.
    Ioffe and Szegedy, ICML 2015, https://arxiv.org/abs/1502.03167, algorithm 1.

    Whatever normalises, the moments of this batch are sown into the collection 'moments'. Running
    moments change through `update_batch_stats` alone, so that a forward pass stays a pure function.

    Attributes:
        batch_statistics: normalise by this batch (True) or by the collection 'batch_stats' (False).
    """

    batch_statistics: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalises `[N, H, W, C]`; returns the same shape and dtype."""
        channels = x.shape[-1]
        wide = _widened(x)
        running_mean = self.variable(
            'batch_stats', 'mean', jnp.zeros, (channels,), jnp.float32
        ).value
        running_var = self.variable('batch_stats', 'var', jnp.ones, (channels,), jnp.float32).value
        mean, var = _moments(wide, (0, 1, 2), near=running_mean.reshape(1, 1, 1, -1))
        self.sow(
            'moments',
            'input',
            Moments(mean.reshape(-1), var.reshape(-1), x.size // channels),
            init_fn=lambda: None,
            reduce_fn=lambda _, new: new,
        )
        if not self.batch_statistics:
            mean, var = running_mean.reshape(1, 1, 1, -1), running_var.reshape(1, 1, 1, -1)
        scale = self.param('scale', nn.initializers.ones, (channels,))
        bias = self.param('bias', nn.initializers.zeros, (channels,))
        y = (wide - mean) / jnp.sqrt(var + EPSILON)
        return (y * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)).astype(x.dtype)


def norm(
    kind: str, *, batch_statistics: bool, name: str, centred: bool = False
) -> Callable[[Array], Array]:
    """Chooses a normalisation layer by name, for use inside a compact module.

    Args:
        kind: 'instance', 'batch', 'layer', 'group' (4 groups) or 'none' (the identity).
        batch_statistics: for 'batch' alone, see `BatchNorm`.
        name: of the submodule.
        centred: for 'instance' alone, see `GroupNorm`.

    Returns:
        A function on `[N, H, W, C]`, dtype kept.

    Raises:
        ValueError: an unknown kind.
    """
    checks.one_of('norm', kind, NORMS)
    if kind == 'batch':
        return BatchNorm(batch_statistics, name=name)
    if kind == 'layer':
        return LayerNorm(name=name)
    if kind == 'none':
        return lambda x: x
    if kind == 'group':
        return GroupNorm(GROUPS, name=name)
    return GroupNorm(centred=centred, name=name)


def normed_conv(
    x: Array,
    features: int,
    *,
    kind: str,
    batch_statistics: bool,
    names: tuple[str, str],
    between: Callable[[Array], Array] = lambda x: x,
    centred: bool = True,
    **options: Any,
) -> Array:
    """Applies a convolution and a normalisation, inside a compact module.

    Args:
        x: `[N, H, W, C]`.
        features: output channels.
        kind: of the norm, see `norm`.
        batch_statistics: for 'batch' alone, see `BatchNorm`.
        names: of the two submodules.
        between: what happens to the maps on their way to the norm, and keeps their means.
        centred: whether an instance norm is made to need one pass; see `layers.conv`.
        options: see `layers.conv`.

    Returns:
        `[N, H', W', features]`.
    """
    # any other norm would notice that something was subtracted from every map
    centred = centred and kind == 'instance'
    maps = between(conv(x, features, name=names[0], centred=centred, **options))
    normed = norm(kind, batch_statistics=batch_statistics, name=names[1], centred=centred)
    return normed(maps)


def update_batch_stats(
    batch_stats: Mapping[str, PyTree], moments: Mapping[str, Moments], *, momentum: float = 0.1
) -> dict[str, dict[str, Array]]:
    """Moves running moments towards those of one batch.

    running <- (1 - momentum) * running + momentum * batch, the variance counted without bias:
    var * count / (count - 1).

    Args:
        batch_stats: `Variables.batch_stats`: per layer path `{'mean': [D], 'var': [D]}`.
        moments: `Outputs.moments` of the batch: the same paths, biased variance.
        momentum: weight of the batch, fraction in [0, 1].

    Returns:
        New running moments, structure and dtypes of `batch_stats`.

    Note:
        `momentum` is torch's; Flax calls 1 - momentum by this name. Torch normalises by the biased
        variance but keeps the unbiased one, Flax the biased one in both places; we follow torch, as
        the papers do.
    """

    def moved(old: Array, new: Array) -> Array:
        return ((1 - momentum) * old + momentum * new).astype(old.dtype)

    updated = {}
    for path, (mean, var, count) in sorted(moments.items()):
        old = batch_stats[path]
        unbiased = var * count / jnp.maximum(count - 1, 1)
        updated[path] = {'mean': moved(old['mean'], mean), 'var': moved(old['var'], unbiased)}
    return updated


def _widened(x: Array) -> Array:
    """Half precision cannot hold a sum of squares over a feature map."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _standardise(x: Array, axes: tuple[int, ...], centred: bool) -> tuple[Array, Array]:
    """x around its mean in units of its standard deviation, and one over the latter.

    The derivative is made of these two again, so that gradients of gradients stay short: an image
    gradient of ConvNet-3 takes 1.2 ms instead of 1.4 on a CPU core, one through the gradient to the
    weights 5.1 instead of 6.2.
    """
    mean, var = _moments(x, axes, near=jnp.zeros((), x.dtype) if centred else None)
    scale = jax.lax.rsqrt(var + EPSILON)
    return (x - mean) * scale, scale


def _standardise_forward(
    x: Array, axes: tuple[int, ...], centred: bool
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    found = _standardise(x, axes, centred)
    return found, found


def _standardise_backward(
    axes: tuple[int, ...],
    centred: bool,
    found: tuple[Array, Array],
    cotangents: tuple[Array, Array],
) -> tuple[Array]:
    del centred
    (y, scale), (to_y, to_scale) = found, cotangents
    slope = (to_y * y).mean(axes, keepdims=True) + to_scale * scale * (scale.size / y.size)
    return (scale * (to_y - to_y.mean(axes, keepdims=True) - y * slope),)


_standardise.defvjp(_standardise_forward, _standardise_backward)


def _moments(x: Array, axes: tuple[int, ...], near: Array | None) -> tuple[Array, Array]:
    """Mean and biased variance.

    Accelerators take both in the pass that writes x, around what the mean is near to; where that is
    not known E[x^2] - E[x]^2 would cancel, and there are two passes.
    """
    if near is None or parallel.on_cpu():
        mean = x.mean(axes, keepdims=True)
        return mean, jnp.square(x - mean).mean(axes, keepdims=True)
    x = x - near
    mean = x.mean(axes, keepdims=True)
    return near + mean, jnp.maximum(jnp.square(x).mean(axes, keepdims=True) - jnp.square(mean), 0)
