"""Networks by name."""

import functools

from jaxdd import checks
from jaxdd.models.alexnet import AlexNet
from jaxdd.models.convnet import ConvNet
from jaxdd.models.efficientnet import EfficientNet
from jaxdd.models.lenet import LeNet
from jaxdd.models.mlp import MLP
from jaxdd.models.mobilenet import MobileNetV2
from jaxdd.models.resnet import ResNet
from jaxdd.models.shufflenet import ShuffleNet
from jaxdd.models.shufflenetv2 import ShuffleNetV2
from jaxdd.models.vgg import VGG
from jaxdd.models.wrap import model
from jaxdd.types import Model

# name -> (module class, its norm; None where it has no norm to choose)
NAMES = {
    'convnet': (ConvNet, 'instance'),
    'convnet_bn': (ConvNet, 'batch'),
    'convnet_ln': (ConvNet, 'layer'),
    'convnet_gn': (ConvNet, 'group'),
    'convnet_nn': (ConvNet, 'none'),
    'resnet18': (ResNet, 'instance'),
    'resnet18_bn': (ResNet, 'batch'),
    'resnet18_bn_ap': (functools.partial(ResNet, downsampling='average_pool'), 'batch'),
    'vgg11': (VGG, 'instance'),
    'vgg11_bn': (VGG, 'batch'),
    'alexnet': (AlexNet, 'none'),
    'alexnet_bn': (AlexNet, 'batch'),
    'alexnet_in': (AlexNet, 'instance'),
    'resnet18_stem3': (functools.partial(ResNet, pooling='global'), 'batch'),
    'resnet34_stem3': (
        functools.partial(ResNet, pooling='global', stage_sizes=(3, 4, 6, 3)),
        'batch',
    ),
    'resnet50_stem3': (
        functools.partial(ResNet, pooling='global', stage_sizes=(3, 4, 6, 3), block='bottleneck'),
        'batch',
    ),
    'resnet101_stem3': (
        functools.partial(ResNet, pooling='global', stage_sizes=(3, 4, 23, 3), block='bottleneck'),
        'batch',
    ),
    'resnet18_stem7': (functools.partial(ResNet, pooling='global', stem='imagenet'), 'batch'),
    'resnet34_stem7': (
        functools.partial(ResNet, pooling='global', stem='imagenet', stage_sizes=(3, 4, 6, 3)),
        'batch',
    ),
    'resnet50_stem7': (
        functools.partial(
            ResNet, pooling='global', stem='imagenet', stage_sizes=(3, 4, 6, 3), block='bottleneck'
        ),
        'batch',
    ),
    'resnet101_stem7': (
        functools.partial(
            ResNet, pooling='global', stem='imagenet', stage_sizes=(3, 4, 23, 3), block='bottleneck'
        ),
        'batch',
    ),
    'mobilenetv2': (MobileNetV2, None),
    'mobilenetv2_imagenet': (functools.partial(MobileNetV2, form='imagenet'), None),
    'efficientnet_b0': (EfficientNet, None),
    'efficientnet_b0_imagenet': (functools.partial(EfficientNet, form='imagenet'), None),
    'shufflenet_g2': (ShuffleNet, None),
    'shufflenetv2': (ShuffleNetV2, None),
    'lenet': (LeNet, None),
    'mlp': (MLP, None),
}


def has_depth(name: str) -> bool:
    """Whether a network of this name has a number of blocks to choose: the ConvNets."""
    return NAMES[name][0] is ConvNet


def default_depth(image_shape: tuple[int, int, int]) -> int:
    """Returns the ConvNet depth for an image:
    3, or less where the last map would fall below 2x2 (8x8: 2)."""
    return max(1, min(3, min(image_shape[:2]).bit_length() - 2))


def by_name(
    name: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    width: int | None = None,
    depth: int | None = None,
    batch_statistics: bool = False,
    norm: str | None = None,
    activation: str | None = None,
    pooling: str | None = None,
    dtype: str | None = None,
) -> Model:
    """Builds a network by its name; None = the papers' default.

    Args:
        name: 'convnet', 'resnet18' or 'vgg11' (instance norm), with '_bn' for batch norm; the
            ConvNet also with '_ln', '_gn', '_nn' for layer, group and no norm; 'resnet18_bn_ap',
            whose sides are halved by average pools; 'resnet18_stem3', 34, 50 and 101 (batch norm,
            3x3 stem, global pool), which SRe2L and INFER teach with, and 'resnet18_stem7' to 101,
            torchvision's for ImageNet; 'alexnet' (no norm), with '_bn' or '_in' for batch or
            instance norm; 'mobilenetv2', 'efficientnet_b0', 'shufflenet_g2' and 'shufflenetv2'
            (batch norm), the first two also with '_imagenet' in torchvision's form; 'lenet' and
            'mlp' (no norm).
        image_shape: height, width, channels.
        num_classes: Y.
        width: channels of the first block (convnet and alexnet 128, resnet18 and vgg11 64, lenet
            6), of the stem (mobilenetv2 and efficientnet_b0 32, shufflenets 24) or units of a
            hidden layer (mlp 128); the other widths scale with it.
        depth: ConvNet blocks; None = `default_depth`.
        batch_statistics: see `wrap.model`.
        norm, activation, pooling: ConvNet variants, see `ConvNet`; `norm` overrides the name's.
        dtype: of the network's body, e.g. 'bfloat16'; outputs are float32 then.

    Returns:
        The model.

    Raises:
        ValueError: an unknown name or variant, a width below 1, a network too deep for the image
            side, or a ConvNet variant asked of another network.
    """
    checks.one_of('network', name, NAMES)
    if width is not None and width < 1:
        raise ValueError(f'{name} needs a width of at least 1, got {width}')
    network, named_norm = NAMES[name]
    variants = {'depth': depth, 'norm': norm, 'activation': activation, 'pooling': pooling}
    if network is ConvNet:
        if depth is None:
            variants['depth'] = 3 if pooling == 'none' else default_depth(image_shape)
    else:
        for option, value in variants.items():
            if value is not None:
                raise ValueError(
                    f'{name} has no option {option} (got {value!r}); only the convnet networks do'
                )
    options = {**variants, 'norm': norm or named_norm, 'width': width, 'dtype': dtype}
    module = network(
        num_classes, **{option: value for option, value in options.items() if value is not None}
    )
    return model(module, image_shape, batch_statistics=batch_statistics)
