"""EfficientNet-B0, for small images and for ImageNet."""

import flax.linen as nn

from jaxdd import checks
from jaxdd.models._depthwise import located, numbered, pooled_head, scaled
from jaxdd.models.layers import conv
from jaxdd.models.norms import norm
from jaxdd.types import Array

FORMS = ('cifar', 'imagenet')
# per stage: expansion, channels, blocks, side of the depthwise kernel, stride of the first
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
STEM, TAIL = 32, 1280  # channels
SQUEEZE = 4  # input channels of a block per channel between its two squeeze-and-excite layers


class MBConv(nn.Module):
    """Bottleneck: 1x1 expansion, depthwise convolution, squeeze-and-excite, linear 1x1 projection.

    x' + norm(project(y * sigmoid(excite(swish(squeeze(mean(y))))))), where
    y = swish(norm(depthwise(swish(norm(expand(x)))))), x' is x if the shape stays, else 0, and the
    mean is over positions. Tan and Le, ICML 2019, https://arxiv.org/abs/1905.11946, section 4.

    Attributes:
        expansion: channels inside per input channel; 1 = no expansion layer.
        features: output channels.
        size: side of the depthwise kernel, odd.
        stride: of the depthwise convolution.
        batch_statistics: see `EfficientNet`.
        dtype: see `EfficientNet`.
    """

    expansion: int
    features: int
    size: int
    stride: int
    batch_statistics: bool
    dtype: str | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[N, H, W, C]` to `[N, ceil(H / stride), ceil(W / stride), features]`."""

        def convolved(
            x: Array, name: str, features: int, size: int = 1, stride: int = 1, groups: int = 1
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

        def dense(x: Array, name: str, features: int) -> Array:
            return conv(x, features, size=1, padding=0, dtype=self.dtype, name=name)

        channels, y = x.shape[-1] * self.expansion, x
        if self.expansion != 1:
            y = nn.swish(convolved(y, 'layer0', channels))
        y = nn.swish(convolved(y, 'layer1', channels, self.size, self.stride, channels))
        squeezed = nn.swish(
            dense(y.mean((1, 2), keepdims=True), 'squeeze', max(1, x.shape[-1] // SQUEEZE))
        )
        y = convolved(y * nn.sigmoid(dense(squeezed, 'excite', channels)), 'layer2', self.features)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


class EfficientNet(nn.Module):
    """EfficientNet-B0: mobile bottlenecks with squeeze-and-excite behind a 3x3 stem.

    Then a global average pool and one linear layer. Tan and Le, ICML 2019,
    https://arxiv.org/abs/1905.11946, table 1. Form 'cifar' as UFC (INFER, ICLR 2025) teaches with:
    3,598,598 parameters with Y = 10, 48 batch norms. Form 'imagenet' as torchvision has it:
    5,288,548 with Y = 1000, 49 batch norms.

    Attributes:
        num_classes: Y.
        width: channels of the stem; the others scale with it.
        form: 'cifar' (stem of stride 1, sides divided by 16, features straight from the last block)
            or 'imagenet' (stem of stride 2, sides divided by 32, a 1x1 convolution before the
            pool).
        batch_statistics: normalise by the batch (True) or by running moments (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.

    Note:
        UFC's class also holds an expansion convolution and norm of the first block, 1,088
        parameters that it never uses (3,599,686 with them); they are not built, and
        `unused_torch_keys` names them. Dropout of the features and whole blocks dropped at random,
        which the paper trains with, are left out, since `Model.apply` draws nothing. Sides are
        rounded up, so the map never vanishes.
    """

    num_classes: int
    width: int = STEM
    form: str = 'cifar'
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies normalised `[N, H, W, C]`:
        `[N, Y]` logits, `[N, D]` features, `[N, P, D]` maps.

        D is 320 ('cifar') or 1280 ('imagenet').

        Raises:
            ValueError: an unknown form.
        """
        checks.one_of('EfficientNet form', self.form, FORMS)

        def normed(x: Array, name: str) -> Array:
            return nn.swish(norm('batch', batch_statistics=self.batch_statistics, name=name)(x))

        # Names sort in the order of the network:
        # pytrees of per-layer values then list the stem first.
        x = normed(
            conv(
                images,
                self.width,
                stride=1 if self.form == 'cifar' else 2,
                use_bias=False,
                dtype=self.dtype,
                name='conv',
            ),
            'norm',
        )
        for stage, (expansion, features, repeats, size, stride) in enumerate(STAGES):
            for block in range(repeats):
                x = MBConv(
                    expansion,
                    scaled(features, self.width, STEM),
                    size,
                    stride if block == 0 else 1,
                    self.batch_statistics,
                    self.dtype,
                    name=f'stage{stage}_block{block}',
                )(x)
        if self.form == 'imagenet':
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
        """Names a layer as the class of this form in torch does:
        UFC's ('cifar') or torchvision's ('imagenet').

        Args:
            layer: its path here, e.g. 'stage1_block0/layer0_conv'.

        Returns:
            The prefix of its tensors' names there, e.g. 'layers.1.conv1' or
            'features.2.0.block.0.0'.
        """
        checks.one_of('EfficientNet form', self.form, FORMS)
        cifar, last = self.form == 'cifar', len(STAGES) + 1
        outer = (
            {'conv': 'conv1', 'norm': 'bn1', 'classifier': 'linear'}
            if cifar
            else {
                'conv': 'features.0.0',
                'norm': 'features.0.1',
                'tail_conv': f'features.{last}.0',
                'tail_norm': f'features.{last}.1',
                'classifier': 'classifier.1',
            }
        )
        if layer in outer:
            return outer[layer]
        stage, block, place, kind = located(layer)
        if cifar:
            index = sum(stage[2] for stage in STAGES[:stage]) + block
            return f'layers.{index}.{numbered(place, kind) if place else SQUEEZES[kind][0]}'
        # expansion, where there is one, depthwise, squeeze-and-excite, projection
        number = {'layer0': 0, 'layer1': 1, '': 2, 'layer2': 3}[place] - (STAGES[stage][0] == 1)
        inner = int(kind == 'norm') if place else SQUEEZES[kind][1]
        return f'features.{stage + 1}.{block}.block.{number}.{inner}'

    def unused_torch_keys(self) -> frozenset[str]:
        """Names the torch class's layers that no forward pass reads and that are not built here."""
        return frozenset({'layers.0.conv1', 'layers.0.bn1'} if self.form == 'cifar' else ())


SQUEEZES = {'squeeze': ('se.se1', 'fc1'), 'excite': ('se.se2', 'fc2')}  # UFC's name, torchvision's
