"""The block that residual networks are made of."""

import flax.linen as nn

from jaxdd.models.layers import average_pool
from jaxdd.models.norms import normed_conv
from jaxdd.types import Array

EXPANSION = 4  # output channels of a bottleneck per channel inside it


class ResidualBlock(nn.Module):
    """Residual block of two 3x3 convolutions, or of a bottleneck.

    relu(x' + norm(conv(relu(norm(conv(x)))))), where x' is x, or norm(1x1 convolution of x) where
    the shape changes. He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, equations 1 and 2. A
    bottleneck has three convolutions, 1x1, 3x3 and 1x1, the last four times as wide (figure 5
    there).

    Attributes:
        features: channels inside, and of the output of a basic block.
        stride: of the first 3x3 convolution.
        norm: see `resnet.ResNet`.
        batch_statistics: see `resnet.ResNet`.
        dtype: see `resnet.ResNet`.
        downsampling: see `resnet.ResNet`.
        block: see `resnet.ResNet`.

    Note:
        The paper strides the first 1x1 convolution of a bottleneck, torchvision its 3x3; we follow
        torchvision.
    """

    features: int
    stride: int
    norm: str
    batch_statistics: bool
    dtype: str | None
    downsampling: str = 'stride'
    block: str = 'basic'

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[N, H, W, C]` to `[N, H / stride, W / stride, D]`,
        sides rounded as in `resnet.ResNet`."""
        stride, pool = (self.stride, 1) if self.downsampling == 'stride' else (1, self.stride)
        basic = self.block == 'basic'
        sizes, strided, expansion = ((3, 3), 0, 1) if basic else ((1, 3, 1), 1, EXPANSION)
        channels = self.features * expansion

        def pooled(x: Array) -> Array:
            return average_pool(x, (pool, pool)) if pool > 1 else x

        def normed(x: Array, name: str, features: int, size: int, stride: int, **options) -> Array:
            return normed_conv(
                x,
                features,
                kind=self.norm,
                batch_statistics=self.batch_statistics,
                names=(f'{name}_conv', f'{name}_norm'),
                size=size,
                stride=stride,
                padding=size // 2,
                use_bias=False,
                dtype=self.dtype,
                centred=False,
                **options,
            )

        y, last = x, len(sizes) - 1
        for i, size in enumerate(sizes):
            features = channels if i == last else self.features
            y = normed(y, f'layer{i}', features, size, stride if i == strided else 1)
            y = nn.relu(y) if i < last else y
            y = pooled(y) if i == strided else y
        if self.stride != 1 or x.shape[-1] != channels:
            x = normed(x, 'shortcut', channels, 1, stride, between=pooled)
        return nn.relu(x + y)
