"""AlexNet for small images."""

import flax.linen as nn

from jaxdd import checks
from jaxdd.models.layers import SMALLEST_SIDES, check_side, flattened_head, stem_padding
from jaxdd.models.norms import normed_conv
from jaxdd.types import Array

# per convolution: 128ths of the width that are its channels, side of its kernel,
# whether a pool follows
LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))


class AlexNet(nn.Module):
    """AlexNet for small images: five convolutions with ReLU, three 2x2 max pools, one linear layer.

    Krizhevsky, Sutskever and Hinton, NIPS 2012,
    https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks,
    in the form that Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929 (DC),
    evaluate on: strides, hidden linear layers and dropout left out. 1,872,202 parameters at
    32x32x3, Y = 10.

    Attributes:
        num_classes: Y.
        width: channels of the first convolution; the others have 3/2, 2, 3/2 and 3/2 of it.
        norm: 'none', 'batch' or 'instance', behind every convolution.
        batch_statistics: for norm 'batch': normalise by the batch (True) or by running moments
            (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.

    Note:
        DC's code (networks.py) has a head for 32x32 alone; ours follows the last map. It pads the
        first convolution of every one-channel input by 4; we do so for 28x28 alone, see `ConvNet`.
        Features are flattened in the order H, W, C; torch's are C, H, W.
    """

    num_classes: int
    width: int = 128
    norm: str = 'none'
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies normalised `[N, H, W, C]`:
        `[N, Y]` logits, `[N, D]` features, `[N, P, channels]` maps.

        Raises:
            ValueError: an unknown norm, or images of a side below 8.
        """
        checks.one_of('AlexNet norm', self.norm, ('none', 'batch', 'instance'))
        check_side('AlexNet', images.shape[1:], SMALLEST_SIDES['alexnet'])
        x = images
        for i, (share, size, pool) in enumerate(LAYERS):
            padding = size // 2 + (stem_padding(images.shape[1:]) if i == 0 else 0)
            channels = self.width * share // 128
            x = normed_conv(
                x,
                channels,
                kind=self.norm,
                batch_statistics=self.batch_statistics,
                names=(f'conv{i}', f'norm{i}'),
                size=size,
                padding=padding,
                dtype=self.dtype,
            )
            x = nn.relu(x)
            x = nn.max_pool(x, (2, 2), (2, 2)) if pool else x
        return flattened_head(x, self.num_classes)
