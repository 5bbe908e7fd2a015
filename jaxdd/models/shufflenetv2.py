"""ShuffleNet V2 for small images."""

import flax.linen as nn
import jax.numpy as jnp

from jaxdd.models._depthwise import located, pooled_head, scaled
from jaxdd.models.layers import conv
from jaxdd.models.norms import norm
from jaxdd.models.shufflenet import shuffled
from jaxdd.types import Array

STAGES = ((116, 4), (232, 8), (464, 4))  # channels, blocks; the first block of each has stride 2
STEM, TAIL = 24, 1024  # channels


class SplitBlock(nn.Module):
    """ShuffleNet V2 unit: half of the channels pass, the other half are convolved.

    With 1x1, 3x3 depthwise and 1x1: shuffle(join(a,
    relu(norm(conv(norm(depthwise(relu(norm(conv(b))))))))), where a and b are the halves of x; at
    stride 2 both are x, and a goes through relu(norm(conv(norm(depthwise(a))))). Ma et al., ECCV
    2018, https://arxiv.org/abs/1807.11164, figure 3 (c) and (d).

    Attributes:
        features: output channels, even.
        stride: of the depthwise convolutions: 1 or 2.
        batch_statistics: see `ShuffleNetV2`.
        dtype: see `ShuffleNetV2`.
    """

    features: int
    stride: int
    batch_statistics: bool
    dtype: str | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[N, H, W, C]` to `[N, ceil(H / stride), ceil(W / stride), features]`."""

        def normed(x: Array, name: str) -> Array:
            return norm('batch', batch_statistics=self.batch_statistics, name=f'{name}_norm')(x)

        def pointwise(x: Array, name: str) -> Array:
            x = conv(
                x,
                self.features // 2,
                size=1,
                padding=0,
                use_bias=False,
                dtype=self.dtype,
                name=f'{name}_conv',
            )
            return nn.relu(normed(x, name))

        def depthwise(x: Array, name: str) -> Array:
            return normed(
                conv(
                    x,
                    x.shape[-1],
                    stride=self.stride,
                    groups=x.shape[-1],
                    use_bias=False,
                    dtype=self.dtype,
                    name=f'{name}_conv',
                ),
                name,
            )

        if self.stride == 1:
            kept, y = jnp.split(x, 2, -1)
        else:
            kept, y = pointwise(depthwise(x, 'kept0'), 'kept1'), x
        y = pointwise(depthwise(pointwise(y, 'layer0'), 'layer1'), 'layer2')
        return shuffled(jnp.concatenate([kept, y], -1), 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNet V2 1.0x: three stages of split units between a 3x3 stem and a 1x1 convolution.

    Then a global average pool and one linear layer. Ma, Zhang, Zheng and Sun, ECCV 2018,
    https://arxiv.org/abs/1807.11164, table 5. 1,263,854 parameters with Y = 10, 56 batch norms.

    Attributes:
        num_classes: Y.
        width: channels of the stem; the others scale with it.
        batch_statistics: normalise by the batch (True) or by running moments (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.

    Note:
        For small images the stem has stride 1 and no max pool follows; its parameters are those of
        the paper's. Sides are rounded up, so the map never vanishes.
    """

    num_classes: int
    width: int = STEM
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies normalised `[N, H, W, C]`:
        `[N, Y]` logits, `[N, D]` features, `[N, P, D]` maps, D = 1024."""

        def normed(x: Array, name: str) -> Array:
            return nn.relu(norm('batch', batch_statistics=self.batch_statistics, name=name)(x))

        # Names sort in the order of the network:
        # pytrees of per-layer values then list the stem first.
        x = normed(conv(images, self.width, use_bias=False, dtype=self.dtype, name='conv'), 'norm')
        for stage, (features, repeats) in enumerate(STAGES):
            for block in range(repeats):
                x = SplitBlock(
                    scaled(features, self.width, STEM, multiple=2),
                    2 if block == 0 else 1,
                    self.batch_statistics,
                    self.dtype,
                    name=f'stage{stage}_block{block}',
                )(x)
        x = normed(
            conv(
                x,
                scaled(TAIL, self.width, STEM),
                size=1,
                padding=0,
                use_bias=False,
                dtype=self.dtype,
                name='tail_conv',
            ),
            'tail_norm',
        )
        return pooled_head(x, self.num_classes)

    def torch_key(self, layer: str) -> str:
        """Names a layer as torchvision's ShuffleNetV2 does.

        Args:
            layer: its path here, e.g. 'stage1_block0/layer0_conv'.

        Returns:
            The prefix of its tensors' names there, e.g. 'stage3.0.branch2.0'.
        """
        outer = {
            'conv': 'conv1.0',
            'norm': 'conv1.1',
            'tail_conv': 'conv5.0',
            'tail_norm': 'conv5.1',
            'classifier': 'fc',
        }
        if layer in outer:
            return outer[layer]
        stage, block, place, kind = located(layer)
        # Torch counts the ReLU behind each 1x1 convolution.
        first = {'kept0': 0, 'kept1': 2, 'layer0': 0, 'layer1': 3, 'layer2': 5}[place]
        branch = 1 if place.startswith('kept') else 2
        return f'stage{stage + 2}.{block}.branch{branch}.{first + (kind == "norm")}'
