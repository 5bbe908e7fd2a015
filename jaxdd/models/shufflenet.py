"""ShuffleNet with two groups, for small images."""

import flax.linen as nn
import jax.numpy as jnp

from jaxdd.models._depthwise import located, numbered, pooled_head, scaled
from jaxdd.models.cpu import grouped_convolution
from jaxdd.models.layers import conv
from jaxdd.models.norms import norm
from jaxdd.types import Array

STAGES = ((200, 4), (400, 8), (800, 4))  # channels, blocks; the first block of each has stride 2
STEM, GROUPS = 24, 2


def shuffled(x: Array, groups: int) -> Array:
    """Shuffles channels across groups: channel j of group i goes to place j * groups + i.

    Zhang et al., CVPR 2018, https://arxiv.org/abs/1707.01083, section 3.1.

    Args:
        x: `[N, H, W, C]`.
        groups: must divide C.

    Returns:
        The same shape.
    """
    n, h, w, c = x.shape
    return x.reshape(n, h, w, groups, c // groups).swapaxes(3, 4).reshape(x.shape)


class ShuffleBlock(nn.Module):
    """ShuffleNet unit: grouped 1x1, channel shuffle, 3x3 depthwise, grouped 1x1 convolution.

    relu(x + y), y = norm(conv(relu(norm(depthwise(shuffle(relu(norm(conv(x)))))))); at stride 2 the
    channels of y and of an average pool of x are joined instead. Zhang et al., CVPR 2018,
    https://arxiv.org/abs/1707.01083, figure 2.

    Attributes:
        features: output channels, joined ones included.
        stride: of the depthwise convolution: 1 or 2.
        groups: of the first convolution and the shuffle.
        batch_statistics: see `ShuffleNet`.
        dtype: see `ShuffleNet`.

    Note:
        The paper has no ReLU behind the depthwise convolution, UFC's code, which we follow, has
        one.
    """

    features: int
    stride: int
    groups: int
    batch_statistics: bool
    dtype: str | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[N, H, W, C]` to `[N, ceil(H / stride), ceil(W / stride), features]`."""

        def convolved(
            x: Array, name: str, features: int, groups: int, size: int = 1, stride: int = 1
        ) -> Array:
            x = conv(
                x,
                features,
                size=size,
                stride=stride,
                padding=size // 2,
                groups=groups,
                use_bias=False,
                dtype=self.dtype,
                name=f'{name}_conv',
            )
            return norm('batch', batch_statistics=self.batch_statistics, name=f'{name}_norm')(x)

        own = self.features - (x.shape[-1] if self.stride == 2 else 0)
        # a quarter of the output, as the groups divide it
        inside = GROUPS * max(1, own // (4 * GROUPS))
        y = shuffled(nn.relu(convolved(x, 'layer0', inside, self.groups)), self.groups)
        y = nn.relu(convolved(y, 'layer1', inside, inside, size=3, stride=self.stride))
        y = convolved(y, 'layer2', own, GROUPS)
        if self.stride == 1:
            return nn.relu(x + y)
        return nn.relu(jnp.concatenate([y, grouped_convolution.average_pool(x)], -1))


class ShuffleNet(nn.Module):
    """ShuffleNet (version 1) with two groups: three stages of shuffle units behind a 1x1 stem.

    Then a global average pool and one linear layer. Zhang, Zhou, Lin and Sun, CVPR 2018,
    https://arxiv.org/abs/1707.01083, table 1, g = 2, in the form that UFC (INFER, ICLR 2025)
    teaches with. 887,582 parameters with Y = 10, 49 batch norms.

    Attributes:
        num_classes: Y.
        width: channels of the stem, even; the others scale with it.
        batch_statistics: normalise by the batch (True) or by running moments (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.

    Note:
        INFER calls this network ShuffleNetV2; see `shufflenetv2.ShuffleNetV2` for the one of that
        name. For small images the stem is 1x1 instead of the paper's 3x3 of stride 2 with a max
        pool. UFC's 4x4 pool is global at 32x32; ours is global at every side. Sides are rounded up,
        so the map never vanishes.
    """

    num_classes: int
    width: int = STEM
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies normalised `[N, H, W, C]`:
        `[N, Y]` logits, `[N, D]` features, `[N, P, D]` maps, D = 800.

        Raises:
            ValueError: an odd width.
        """
        if self.width % GROUPS:
            raise ValueError(
                f'ShuffleNet has {GROUPS} groups and needs an even width, got {self.width}'
            )
        # Names sort in the order of the network:
        # pytrees of per-layer values then list the stem first.
        x = conv(
            images, self.width, size=1, padding=0, use_bias=False, dtype=self.dtype, name='conv'
        )
        x = nn.relu(norm('batch', batch_statistics=self.batch_statistics, name='norm')(x))
        for stage, (features, repeats) in enumerate(STAGES):
            for block in range(repeats):
                # The paper does not group the first convolution: its input is too narrow.
                x = ShuffleBlock(
                    scaled(features, self.width, STEM, multiple=GROUPS),
                    2 if block == 0 else 1,
                    1 if stage == block == 0 else GROUPS,
                    self.batch_statistics,
                    self.dtype,
                    name=f'stage{stage}_block{block}',
                )(x)
        return pooled_head(x, self.num_classes)

    def torch_key(self, layer: str) -> str:
        """Names a layer as UFC's class in torch does.

        Args:
            layer: its path here, e.g. 'stage1_block0/layer0_conv'.

        Returns:
            The prefix of its tensors' names there, e.g. 'layer2.0.conv1'.
        """
        outer = {'conv': 'conv1', 'norm': 'bn1', 'classifier': 'linear'}
        if layer in outer:
            return outer[layer]
        stage, block, place, kind = located(layer)
        return f'layer{stage + 1}.{block}.{numbered(place, kind)}'
