"""Residual networks: for small images as DC has them, and as torchvision has them."""

import flax.linen as nn

from jaxdd import checks
from jaxdd.models.layers import at_least_float32, average_pool, check_side, classifier
from jaxdd.models.norms import normed_conv
from jaxdd.models.residual import ResidualBlock
from jaxdd.types import Array

POOL = 4  # side of the last average pooling: global for 32x32 images


class ResNet(nn.Module):
    """ResNet: stages of residual blocks behind a 3x3 stem or that of ImageNet.

    Widths double and sides halve from stage to stage; an average pool; one linear layer. He et al.,
    CVPR 2016, https://arxiv.org/abs/1512.03385. The defaults are the form that DC, ICLR 2021,
    https://arxiv.org/abs/2006.05929, and its successors use: a 3x3 stem without pool, a last pool
    of 4x4; 11,173,962 parameters as ResNet-18 with Y = 10. With `pooling` 'global' and `norm`
    'batch' it is the form of SRe2L, NeurIPS 2023, https://arxiv.org/abs/2306.13092, for small
    images (as many parameters) and, with `stem` 'imagenet', torchvision's: 11,689,512 parameters as
    ResNet-18 with Y = 1000.

    Attributes:
        num_classes: Y.
        stage_sizes: blocks per stage; (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) ResNet-34 and, with
            bottlenecks, ResNet-50, (3, 4, 23, 3) ResNet-101.
        width: channels of the first stage (inside its bottlenecks).
        norm: 'instance' or 'batch'.
        batch_statistics: for norm 'batch': normalise by the batch (True) or by running moments
            (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.
        downsampling: what halves the sides: 'stride' of the convolutions, or 'average_pool' behind
            them, 2x2 (on the main path after the ReLU, on the shortcut before the norm), as DC's
            ResNet18BN_AP; with `pooling` 'fixed' there is no last pool: features are the flattened
            maps. Strides round odd sides up, pools down.
        stem: 'small', a 3x3 convolution; 'imagenet', a 7x7 convolution and a 3x3 max pool, both of
            stride 2.
        block: 'basic' or 'bottleneck'.
        pooling: the last one: 'fixed', 4x4 (none behind average pools), or 'global', over the whole
            map.

    Note:
        DC's code builds a head for 32x32 alone. Here the fixed pool leaves 2x2 positions of 64x64
        images, so D is 4 * 512, as in IID's networks.py, and is global where the last map is
        smaller than 4x4. Maps are those BEFORE the pool (P = 16 at 32x32), since one pooled
        position has no local structure to compare. With the fixed pool a stage keeps the side of a
        map that halving would make 1x1, which concerns images of side 8 or less (15 with average
        pools): the instance norm of a 1x1 map is a constant, so the network would not see its
        image. With the global one sides are always halved, as in torchvision. IDC (Kim et al., ICML
        2022, https://arxiv.org/abs/2205.14959) distils ImageNet with a ResNet-10 whose sides are
        halved by average pools; the paper describes its stem and head no further, so that
        'resnet10_ap_stem7' has those of torchvision.
    """

    num_classes: int
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    norm: str = 'instance'
    batch_statistics: bool = False
    dtype: str | None = None
    downsampling: str = 'stride'
    stem: str = 'small'
    block: str = 'basic'
    pooling: str = 'fixed'

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies a batch.

        Args:
            images: `[N, H, W, C]` normalised pixels.

        Returns:
            `[N, Y]` logits; `[N, D]` features, pooled and flattened; `[N, P, channels]` maps before
            the pool.

        Raises:
            ValueError: an unknown norm, downsampling, stem, block or pooling; with instance norm
                and the global pool, images that would leave a map of 1x1.
        """
        self._check(images.shape[1:])
        x = self._stem(images)
        for stage, num_blocks in enumerate(self.stage_sizes):
            for block in range(num_blocks):
                halved = stage > 0 and block == 0 and self._may_halve(min(x.shape[1:3]))
                x = ResidualBlock(
                    self.width * 2**stage,
                    2 if halved else 1,
                    self.norm,
                    self.batch_statistics,
                    self.dtype,
                    self.downsampling,
                    self.block,
                    name=_block(stage, block, num_blocks),
                )(x)
        x = at_least_float32(x)
        maps = x.reshape(len(x), -1, x.shape[-1])
        if self.pooling == 'global':
            x = maps.mean(1)
        elif self.downsampling == 'stride':
            x = average_pool(x, (min(POOL, x.shape[1]), min(POOL, x.shape[2])))
        features = x.reshape(len(x), -1)
        return classifier(features, self.num_classes), features, maps

    def torch_key(self, layer: str) -> str:
        """Names a layer as torchvision's ResNet does.

        Args:
            layer: its path here, e.g. 'stage0_block1/layer0_conv'.

        Returns:
            The prefix of its tensors' names there, e.g. 'layer1.1.conv1'.
        """
        if layer in ('conv', 'norm', 'classifier'):
            return {'conv': 'conv1', 'norm': 'bn1', 'classifier': 'fc'}[layer]
        block, inner = layer.split('/')
        stage, index = (
            int(part.removeprefix(kind)) for part, kind in zip(block.split('_'), ('stage', 'block'))
        )
        place, kind = inner.split('_')
        if place == 'shortcut':
            name = f'downsample.{0 if kind == "conv" else 1}'
        else:
            name = f'{"conv" if kind == "conv" else "bn"}{int(place.removeprefix("layer")) + 1}'
        return f'layer{stage + 1}.{index}.{name}'

    def _check(self, image_shape: tuple[int, ...]) -> None:
        for attribute, valid in (
            ('norm', ('instance', 'batch')),
            ('downsampling', ('stride', 'average_pool')),
            ('stem', ('small', 'imagenet')),
            ('block', ('basic', 'bottleneck')),
            ('pooling', ('fixed', 'global')),
        ):
            checks.one_of(f'ResNet {attribute}', getattr(self, attribute), valid)

        if self.pooling == 'global' and self.norm == 'instance':
            halvings = len(self.stage_sizes) - 1 + (0 if self.stem == 'small' else 2)
            check_side('ResNet', image_shape, 2 * 2**halvings)

    def _may_halve(self, side: int) -> bool:
        # The largest side whose half is 1 is 2 with strides, 3 with pools.
        if self.pooling == 'global':
            return self.downsampling == 'stride' or side > 1
        return side > (2 if self.downsampling == 'stride' else 3)

    def _stem(self, images: Array) -> Array:
        size, stride = (3, 1) if self.stem == 'small' else (7, 2)
        # Names sort in the order of the network:
        # pytrees of per-layer values then list the stem first.
        x = nn.relu(
            normed_conv(
                images,
                self.width,
                kind=self.norm,
                batch_statistics=self.batch_statistics,
                names=('conv', 'norm'),
                size=size,
                stride=stride,
                padding=size // 2,
                use_bias=False,
                dtype=self.dtype,
            )
        )
        return x if self.stem == 'small' else nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])


def _block(stage: int, block: int, num_blocks: int) -> str:
    """Names a block so that names sort by number, also where a stage has more than ten."""
    return f'stage{stage}_block{block:0{len(str(num_blocks - 1))}}'
