"""The ConvNet of dataset distillation."""

import flax.linen as nn

from jaxdd import checks
from jaxdd.models.layers import average_pool, flattened, flattened_head, stem_padding
from jaxdd.models.norms import normed_conv
from jaxdd.types import Array

ACTIVATIONS = {
    'relu': nn.relu,
    'sigmoid': nn.sigmoid,
    'swish': nn.swish,
    'leaky_relu': lambda x: nn.leaky_relu(x, negative_slope=0.01),
}
POOLINGS = ('avg', 'max', 'none')


class ConvNet(nn.Module):
    """ConvNet: blocks that halve the image, then one linear layer.

    Each of `depth` blocks is a 3x3 convolution, a normalisation, an activation and a 2x2 pooling.
    Gidaris and Komodakis, CVPR 2018, https://arxiv.org/abs/1804.09458, as Zhao, Mopuri and Bilen,
    ICLR 2021, https://arxiv.org/abs/2006.05929 (DC), and its successors use it. 320,010 parameters
    at 32x32x3, Y = 10.

    Attributes:
        num_classes: Y.
        width: channels of every block.
        depth: number of blocks.
        activation: 'relu', 'sigmoid', 'leaky_relu' (slope 0.01) or 'swish'.
        norm: 'instance', 'batch', 'layer', 'group' (4 groups) or 'none'.
        pooling: 'avg', 'max' or 'none' (the map keeps its side).
        features_after: blocks behind which features and maps are read; None: all of them. Logits
            are those of the whole network.
        batch_statistics: for norm 'batch': normalise by the batch (True) or by running moments
            (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.

    Note:
        DC's code (networks.py) pads the first convolution of every one-channel input by 3, which
        turns MNIST's 28x28 into the 32x32 that the depths were chosen for. We do so for 28x28
        alone: 8x8 would become 12x12.
        Features are flattened in the order H, W, C; torch's are C, H, W.
    """

    num_classes: int
    width: int = 128
    depth: int = 3
    activation: str = 'relu'
    norm: str = 'instance'
    pooling: str = 'avg'
    features_after: int | None = None
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies a batch.

        Args:
            images: `[N, H, W, C]` normalised pixels.

        Returns:
            `[N, Y]` logits; `[N, D]` features, the flattened maps; `[N, P, width]` maps after the
            last pool, or that of block `features_after`.

        Raises:
            ValueError: an unknown activation, norm or pooling, more poolings than the side allows,
                or features behind a block that is not there.
        """
        checks.one_of('activation', self.activation, ACTIVATIONS)
        checks.one_of('pooling', self.pooling, POOLINGS)
        extra = stem_padding(images.shape[1:])
        self._check_depth(min(images.shape[1:3]) + 2 * extra)
        x, taken = images, None
        for i in range(self.depth):
            padding = 1 + extra if i == 0 else 1
            x = normed_conv(
                x,
                self.width,
                kind=self.norm,
                batch_statistics=self.batch_statistics,
                names=(f'conv{i}', f'norm{i}'),
                padding=padding,
                dtype=self.dtype,
            )
            x = self._pooled(ACTIVATIONS[self.activation](x))
            taken = x if i + 1 == self.features_after else taken
        head = flattened_head(x, self.num_classes)
        return head if taken is None else (head[0], *flattened(taken))

    def _pooled(self, x: Array) -> Array:
        if self.pooling == 'avg':
            return average_pool(x, (2, 2))
        return nn.max_pool(x, (2, 2), (2, 2)) if self.pooling == 'max' else x

    def _check_depth(self, side: int) -> None:
        largest = side.bit_length() - 1
        if self.depth < 1 or (self.pooling != 'none' and self.depth > largest):
            raise ValueError(
                f'ConvNet depth must be between 1 and {largest} for images of side {side} '
                f'(each block halves the side), got {self.depth}'
            )
        if self.features_after is not None and not 1 <= self.features_after <= self.depth:
            raise ValueError(
                f'features_after must be a block of the ConvNet, between 1 and {self.depth}, got '
                f'{self.features_after}'
            )
