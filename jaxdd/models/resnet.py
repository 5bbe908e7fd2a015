"""Residual networks for small images."""
import flax.linen as nn

from jaxdd import checks
from jaxdd.models.layers import average_pool, classifier, conv, restored
from jaxdd.models.norms import norm as make_norm
from jaxdd.types import Array

POOL = 4    # side of the last average pooling: global for 32x32 images


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions.

    relu(x' + norm(conv(relu(norm(conv(x)))))), where x' is x, or norm(1x1 convolution of x) where the shape
    changes. He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, equations 1 and 2.

    Attributes:
        features: output channels.
        stride: of the first convolution.
        norm: see `ResNet`.
        batch_statistics: see `ResNet`.
        dtype: see `ResNet`.
        downsampling: see `ResNet`.
    """
    features: int
    stride: int
    norm: str
    batch_statistics: bool
    dtype: str | None
    downsampling: str = 'stride'

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[N, H, W, C]` to `[N, H / stride, W / stride, features]`, sides rounded as in `ResNet`."""
        stride, pool = (self.stride, 1) if self.downsampling == 'stride' else (1, self.stride)

        def pooled(x: Array) -> Array:
            return average_pool(x, (pool, pool)) if pool > 1 else x

        def convolved(x: Array, name: str, size: int = 3, stride: int = 1) -> Array:
            return conv(x, self.features, size=size, stride=stride, padding=size // 2, use_bias=False,
                        dtype=self.dtype, name=f'{name}_conv')

        def normed(x: Array, name: str) -> Array:
            return make_norm(self.norm, batch_statistics=self.batch_statistics, name=f'{name}_norm')(x)

        y = pooled(nn.relu(normed(convolved(x, 'layer0', stride=stride), 'layer0')))
        y = normed(convolved(y, 'layer1'), 'layer1')
        if self.stride != 1 or x.shape[-1] != self.features:
            x = normed(pooled(convolved(x, 'shortcut', size=1, stride=stride)), 'shortcut')
        return nn.relu(x + y)


class ResNet(nn.Module):
    """ResNet for small images: stages of basic blocks behind a 3x3 stem.

    No pooling after the stem; widths double and sides halve from stage to stage; 4x4 average pool; one linear
    layer. He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, in the form that DC, ICLR 2021,
    https://arxiv.org/abs/2006.05929, and its successors use. 11,173,962 parameters as ResNet-18 with Y = 10.

    Attributes:
        num_classes: Y.
        stage_sizes: blocks per stage; (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) ResNet-34.
        width: channels of the first stage.
        norm: 'instance' or 'batch'.
        batch_statistics: for norm 'batch': normalise by the batch (True) or by running moments (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.
        downsampling: what halves the sides: 'stride' of the convolutions, or 'average_pool' behind them, 2x2
            (on the main path after the ReLU, on the shortcut before the norm), as DC's ResNet18BN_AP, without
            a last pool: features are the flattened maps. Strides round odd sides up, pools down.

    Note:
        DC's code builds a head for 32x32 alone. Here the pool leaves 2x2 positions of 64x64 images, so D is
        4 * 512, as in IID's networks.py, and is global where the last map is smaller than 4x4. Maps are those
        BEFORE the pool (P = 16 at 32x32), since one pooled position has no local structure to compare.
        A stage keeps the side of a map that halving would make 1x1, which concerns images of side 8 or less
        (15 with average pools): the instance norm of a 1x1 map is a constant, so the network would not see
        its image.
    """
    num_classes: int
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    norm: str = 'instance'
    batch_statistics: bool = False
    dtype: str | None = None
    downsampling: str = 'stride'

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies a batch.

        Args:
            images: `[N, H, W, C]` normalised pixels.

        Returns:
            `[N, Y]` logits; `[N, D]` features, pooled and flattened; `[N, P, channels]` maps before the pool.

        Raises:
            ValueError: an unknown norm or downsampling.
        """
        checks.one_of('ResNet norm', self.norm, ('instance', 'batch'))
        checks.one_of('ResNet downsampling', self.downsampling, ('stride', 'average_pool'))
        kept = 2 if self.downsampling == 'stride' else 3    # the largest side whose half is 1
        # Names sort in the order of the network: pytrees of per-layer values then list the stem first.
        x = conv(images, self.width, use_bias=False, dtype=self.dtype, name='conv')
        x = nn.relu(make_norm(self.norm, batch_statistics=self.batch_statistics, name='norm')(x))
        for stage, num_blocks in enumerate(self.stage_sizes):
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 and min(x.shape[1:3]) > kept else 1
                x = BasicBlock(self.width * 2 ** stage, stride, self.norm, self.batch_statistics, self.dtype,
                               self.downsampling, name=f'stage{stage}_block{block}')(x)
        x = restored(x)
        maps = x.reshape(len(x), -1, x.shape[-1])
        if self.downsampling == 'stride':
            x = average_pool(x, (min(POOL, x.shape[1]), min(POOL, x.shape[2])))
        features = x.reshape(len(x), -1)
        return classifier(features, self.num_classes), features, maps
