"""MobileNetV2, for small images and for ImageNet."""

import flax.linen as nn

from jaxdd import checks
from jaxdd.models._depthwise import located, numbered, pooled_head, scaled
from jaxdd.models.layers import conv
from jaxdd.models.norms import norm
from jaxdd.types import Array

# form -> per stage: expansion, channels, blocks, stride of the first
STAGES = {'cifar': ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                    (6, 160, 3, 2), (6, 320, 1, 1)),
          'imagenet': ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                       (6, 160, 3, 2), (6, 320, 1, 1))}  # fmt: skip
STEM, TAIL = 32, 1280  # channels


class InvertedResidual(nn.Module):
    """Inverted residual block: 1x1 expansion, 3x3 depthwise convolution, linear 1x1 projection.

    x' + norm(project(act(norm(depthwise(act(norm(expand(x)))))))). Sandler et al., CVPR 2018,
    https://arxiv.org/abs/1801.04381, section 3.3 and table 1.

    Attributes:
        expansion: channels inside per input channel.
        features: output channels.
        stride: of the depthwise convolution.
        form: see `MobileNetV2`, whose Note says how the two differ.
        batch_statistics: see `MobileNetV2`.
        dtype: see `MobileNetV2`.
    """

    expansion: int
    features: int
    stride: int
    form: str
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

        activation = nn.relu if self.form == 'cifar' else nn.relu6
        channels, y = x.shape[-1] * self.expansion, x
        if self.form == 'cifar' or self.expansion != 1:
            y = activation(convolved(y, 'layer0', channels))
        y = activation(
            convolved(y, 'layer1', channels, size=3, stride=self.stride, groups=channels)
        )
        y = convolved(y, 'layer2', self.features)
        if self.stride == 1 and x.shape[-1] == self.features:
            return x + y
        if self.stride == 1 and self.form == 'cifar':
            return convolved(x, 'shortcut', self.features) + y
        return y


class MobileNetV2(nn.Module):
    """MobileNetV2: inverted residual blocks between a 3x3 stem and a 1x1 convolution.

    Then a global average pool and one linear layer. Sandler et al., CVPR 2018,
    https://arxiv.org/abs/1801.04381, table 2. Form 'cifar' as UFC (INFER, ICLR 2025) teaches with:
    2,296,922 parameters with Y = 10, 57 batch norms. Form 'imagenet' as torchvision has it:
    3,504,872 with Y = 1000, 52 batch norms.

    Attributes:
        num_classes: Y.
        width: channels of the stem; the others scale with it.
        form: 'cifar' (sides divided by 8) or 'imagenet' (by 32).
        batch_statistics: normalise by the batch (True) or by running moments (False).
        dtype: of the body, e.g. 'bfloat16'; None = that of images and parameters.

    Note:
        The paper has ReLU6, an identity around a block of stride 1 and equal widths, and no
        expansion in the first block; so has the form 'imagenet'. UFC's code has ReLU, residuals
        around all blocks of stride 1, through a 1x1 convolution where the width changes, an
        expansion of the first block 1:1, and a 4x4 pool, which is global at 32x32; ours is global
        at every side. Sides are rounded up, so the map never vanishes. Torchvision drops out a
        fifth of the features in training; we do not, since `Model.apply` draws nothing.
    """

    num_classes: int
    width: int = STEM
    form: str = 'cifar'
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies normalised `[N, H, W, C]`:
        `[N, Y]` logits, `[N, D]` features, `[N, P, D]` maps, D = 1280.

        Raises:
            ValueError: an unknown form.
        """
        checks.one_of('MobileNetV2 form', self.form, STAGES)

        def normed(x: Array, name: str) -> Array:
            x = norm('batch', batch_statistics=self.batch_statistics, name=name)(x)
            return nn.relu(x) if self.form == 'cifar' else nn.relu6(x)

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
        for stage, (expansion, features, repeats, stride) in enumerate(STAGES[self.form]):
            for block in range(repeats):
                x = InvertedResidual(
                    expansion,
                    scaled(features, self.width, STEM),
                    stride if block == 0 else 1,
                    self.form,
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
        """Names a layer as the class of this form in torch does:
        UFC's ('cifar') or torchvision's ('imagenet').

        Args:
            layer: its path here, e.g. 'stage1_block0/layer0_conv'.

        Returns:
            The prefix of its tensors' names there, e.g. 'layers.1.conv1' or 'features.2.conv.0.0'.
        """
        checks.one_of('MobileNetV2 form', self.form, STAGES)
        cifar, total = self.form == 'cifar', sum(stage[2] for stage in STAGES[self.form])
        outer = (
            {
                'conv': 'conv1',
                'norm': 'bn1',
                'tail_conv': 'conv2',
                'tail_norm': 'bn2',
                'classifier': 'linear',
            }
            if cifar
            else {
                'conv': 'features.0.0',
                'norm': 'features.0.1',
                'tail_conv': f'features.{total + 1}.0',
                'tail_norm': f'features.{total + 1}.1',
                'classifier': 'classifier.1',
            }
        )
        if layer in outer:
            return outer[layer]
        stage, block, place, kind = located(layer)
        index = sum(stage[2] for stage in STAGES[self.form][:stage]) + block
        if cifar:
            return f'layers.{index}.{numbered(place, kind)}'
        # Without expansion everything moves up by one.
        number = int(place.removeprefix('layer')) - (stage == 0)
        last = 1 if stage == 0 else 2
        if number < last:
            return f'features.{index + 1}.conv.{number}.{int(kind == "norm")}'
        return f'features.{index + 1}.conv.{last + int(kind == "norm")}'
