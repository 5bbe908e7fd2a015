"""LeNet, the smallest convolutional network of the evaluation pools."""

import flax.linen as nn

from jaxdd.models.layers import (
    SMALLEST_SIDES,
    at_least_float32,
    check_side,
    classifier,
    conv,
    stem_padding,
)
from jaxdd.models.precision import of_body
from jaxdd.types import Array


class LeNet(nn.Module):
    """LeNet: two blocks of a 5x5 convolution, ReLU and 2x2 max pooling.

    Two hidden layers and a linear one follow.

    LeCun et al., Proceedings of the IEEE 1998, https://doi.org/10.1109/5.726791, section II.B, in
    the form that Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929 (DC), evaluate
    on. 62,006 parameters at 32x32x3, Y = 10.

    Features are the last hidden layer, maps those after the last pool.

    Attributes:
        num_classes: Y.
        width: channels of the first block; the second has 16/6 of it, the hidden layers 20 and 14
            times it.
        batch_statistics: without effect: there is no batch norm.
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.

    Note:
        The paper's has scaled tanh, trained subsampling and radial basis functions at its end; DC's
        code (networks.py) has none of them, nor have we. It pads the first convolution of every
        one-channel input by 2; we do so for 28x28 alone, see `ConvNet`. Maps are flattened in the
        order H, W, C; torch's are C, H, W.
    """

    num_classes: int
    width: int = 6
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies normalised `[N, H, W, C]`:
        `[N, Y]` logits, `[N, 14 width]` features, `[N, P, channels]` maps.

        Raises:
            ValueError: images of a side below 16.
        """
        check_side('LeNet', images.shape[1:], SMALLEST_SIDES['lenet'])
        x = images
        for i, channels in enumerate((self.width, self.width * 16 // 6)):
            padding = stem_padding(images.shape[1:]) if i == 0 else 0
            x = nn.relu(
                conv(x, channels, size=5, padding=padding, dtype=self.dtype, name=f'conv{i}')
            )
            x = nn.max_pool(x, (2, 2), (2, 2))
        maps = at_least_float32(x).reshape(len(x), -1, x.shape[-1])
        x = x.reshape(len(x), -1)
        for i, units in enumerate((20 * self.width, 14 * self.width)):
            x = nn.relu(nn.Dense(units, dtype=of_body(self.dtype), name=f'dense{i}')(x))
        features = at_least_float32(x)
        return classifier(features, self.num_classes), features, maps
