"""DenseNet, for small images and as torchvision has it."""

import flax.linen as nn
import jax.numpy as jnp

from jaxdd import checks
from jaxdd.models.layers import at_least_float32, average_pool, check_side, classifier, conv
from jaxdd.models.norms import norm as make_norm
from jaxdd.types import Array

EXPANSION = 4  # channels of a layer's 1x1 convolution per channel that it adds


class DenseNet(nn.Module):
    """DenseNet-BC: every layer sees what all layers of its block before it made.

    A stem; blocks of layers that add `growth` channels each; between blocks a 1x1 convolution to
    half the channels and a 2x2 average pool; a norm, the mean over the map and one linear layer.
    Huang, Liu, van der Maaten & Weinberger, CVPR 2017, https://arxiv.org/abs/1608.06993, section 3.
    IDC (Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959) tests such a network on CIFAR.

    Attributes:
        num_classes: Y.
        blocks: layers per block; (6, 12, 24, 16) is DenseNet-121.
        growth: k, channels that a layer adds: 12 for small images, 32 for ImageNet.
        width: channels of the stem; None: 2 k.
        stem: 'small', a 3x3 convolution; 'imagenet', a 7x7 convolution, a norm and a 3x3 max pool.
        norm: 'instance' or 'batch'.
        batch_statistics: for norm 'batch': normalise by the batch (True) or by running moments
            (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.
    """

    num_classes: int
    blocks: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 12
    width: int | None = None
    stem: str = 'small'
    norm: str = 'instance'
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies normalised `[N, H, W, C]`:
        `[N, Y]` logits, `[N, D]` features, `[N, P, D]` maps before the mean.

        Raises:
            ValueError: an unknown norm or stem, or images of a side below 16 (ImageNet's stem: 64).
        """
        checks.one_of('DenseNet norm', self.norm, ('instance', 'batch'))
        checks.one_of('DenseNet stem', self.stem, ('small', 'imagenet'))
        # an instance norm of a 1x1 map would be a constant
        halvings = len(self.blocks) - 1 + (0 if self.stem == 'small' else 2)
        check_side('DenseNet', images.shape[1:], 2 * 2**halvings)
        x = self._stem(images, self.width or 2 * self.growth)
        for i, count in enumerate(self.blocks):
            for j in range(count):
                x = self._layer(x, f'block{i}_layer{j:02}')
            if i + 1 < len(self.blocks):
                x = self._convolved(x, x.shape[-1] // 2, 1, f'block{i}_transition')
                x = average_pool(x, (2, 2))
        x = at_least_float32(nn.relu(self._normed(x, 'tail_norm')))
        maps = x.reshape(len(x), -1, x.shape[-1])
        features = maps.mean(1)
        return classifier(features, self.num_classes), features, maps

    def torch_key(self, layer: str) -> str:
        """Names a layer as torchvision's DenseNet does.

        Args:
            layer: its path here, e.g. 'block0_layer03_first_conv'.

        Returns:
            The prefix of its tensors' names there, e.g. 'features.denseblock1.denselayer4.conv1'.
        """
        whole = {
            'conv': 'features.conv0',
            'norm': 'features.norm0',
            'tail_norm': 'features.norm5',
            'classifier': 'classifier',
        }
        if layer in whole:
            return whole[layer]
        block, kind, *rest = layer.split('_')
        number = int(block.removeprefix('block')) + 1
        if kind == 'transition':
            return f'features.transition{number}.{rest[0]}'
        place = f'features.denseblock{number}.denselayer{int(kind.removeprefix("layer")) + 1}'
        return f'{place}.{rest[1]}{1 if rest[0] == "first" else 2}'

    def _stem(self, images: Array, width: int) -> Array:
        size, stride = (3, 1) if self.stem == 'small' else (7, 2)
        x = conv(
            images,
            width,
            size=size,
            stride=stride,
            padding=size // 2,
            use_bias=False,
            dtype=self.dtype,
            name='conv',
        )
        if self.stem == 'small':
            return x
        x = nn.relu(self._normed(x, 'norm'))
        return nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])

    def _layer(self, x: Array, name: str) -> Array:
        """What came in, and `growth` channels more."""
        new = self._convolved(x, EXPANSION * self.growth, 1, f'{name}_first')
        return jnp.concatenate([x, self._convolved(new, self.growth, 3, f'{name}_second')], axis=-1)

    def _convolved(self, x: Array, features: int, size: int, name: str) -> Array:
        """A norm, a ReLU and a convolution."""
        return conv(
            nn.relu(self._normed(x, f'{name}_norm')),
            features,
            size=size,
            padding=size // 2,
            use_bias=False,
            dtype=self.dtype,
            name=f'{name}_conv',
        )

    def _normed(self, x: Array, name: str) -> Array:
        return make_norm(self.norm, batch_statistics=self.batch_statistics, name=name)(x)
