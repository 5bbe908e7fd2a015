"""VGG for small images."""

import flax.linen as nn

from jaxdd import checks
from jaxdd.models.layers import check_side, flattened_head, stem_padding
from jaxdd.models.norms import normed_conv
from jaxdd.types import Array

# layers -> per stage, per convolution: how many times the width its channels are (table 1: A, B,
# D, E)
STAGES = {
    11: ((1,), (2,), (4, 4), (8, 8), (8, 8)),
    13: ((1, 1), (2, 2), (4, 4), (8, 8), (8, 8)),
    16: ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8)),
    19: ((1, 1), (2, 2), (4, 4, 4, 4), (8, 8, 8, 8), (8, 8, 8, 8)),
}


class VGG(nn.Module):
    """VGG for small images: stages of 3x3 convolutions that end in a 2x2 max pooling.

    A linear layer is last.

    Simonyan and Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556, table 1, in the form
    that Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929 (DC), evaluate on:
    a norm behind every convolution, no hidden linear layers, no dropout. 9,231,114 parameters as
    VGG-11 at 32x32x3, Y = 10.

    Attributes:
        num_classes: Y.
        stages: per stage, per convolution, how many times `width` its channels are.
        width: channels of the first convolution.
        norm: 'instance' or 'batch'.
        batch_statistics: for norm 'batch': normalise by the batch (True) or by running moments
            (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.

    Note:
        DC's code (networks.py) has a head for 32x32 alone; ours follows the last map. It pads the
        first convolution of every one-channel input by 3; we do so for 28x28 alone, see `ConvNet`.
        Features are flattened in the order H, W, C; torch's are C, H, W.
    """

    num_classes: int
    stages: tuple[tuple[int, ...], ...] = STAGES[11]
    width: int = 64
    norm: str = 'instance'
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies normalised `[N, H, W, C]`:
        `[N, Y]` logits, `[N, D]` features, `[N, P, channels]` maps.

        Raises:
            ValueError: an unknown norm, or images of a side below 2^stages (VGG-11: 32).
        """
        checks.one_of('VGG norm', self.norm, ('instance', 'batch'))
        # Each stage halves the side; its convolutions, thus its norms,
        # still see twice what it leaves.
        check_side('VGG', images.shape[1:], 2 ** len(self.stages))
        x, extra = images, stem_padding(images.shape[1:])
        for stage, multiples in enumerate(self.stages):
            for i, multiple in enumerate(multiples):
                x = normed_conv(
                    x,
                    multiple * self.width,
                    kind=self.norm,
                    batch_statistics=self.batch_statistics,
                    names=(f'stage{stage}_conv{i}', f'stage{stage}_norm{i}'),
                    padding=1 + extra,
                    dtype=self.dtype,
                )
                x, extra = nn.relu(x), 0
            x = nn.max_pool(x, (2, 2), (2, 2))
        return flattened_head(x, self.num_classes)
