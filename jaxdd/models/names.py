"""Which networks have a name, and what the name says of them."""

import functools

from jaxdd.models import vgg
from jaxdd.models.alexnet import AlexNet
from jaxdd.models.convnet import ConvNet
from jaxdd.models.densenet import DenseNet
from jaxdd.models.efficientnet import EfficientNet
from jaxdd.models.lenet import LeNet
from jaxdd.models.mlp import MLP
from jaxdd.models.mobilenet import MobileNetV2
from jaxdd.models.resnet import ResNet
from jaxdd.models.shufflenet import ShuffleNet
from jaxdd.models.shufflenetv2 import ShuffleNetV2
from jaxdd.models.vgg import VGG

BLOCKS = {  # per stage, and of which kind: He et al., table 1
    10: ((1, 1, 1, 1), 'basic'),  # IDC's, https://arxiv.org/abs/2205.14959
    18: ((2, 2, 2, 2), 'basic'),
    34: ((3, 4, 6, 3), 'basic'),
    50: ((3, 4, 6, 3), 'bottleneck'),
    101: ((3, 4, 23, 3), 'bottleneck'),
    152: ((3, 8, 36, 3), 'bottleneck'),
}


# IDC's ResNetAP-10 of ImageNet
_AP = {'downsampling': 'average_pool', 'pooling': 'global', 'stem': 'imagenet'}


def _resnet(layers: int, **options: str) -> functools.partial:
    stage_sizes, block = BLOCKS[layers]
    return functools.partial(ResNet, stage_sizes=stage_sizes, block=block, **options)


def _vgg(layers: int) -> functools.partial:
    return functools.partial(VGG, stages=vgg.STAGES[layers])


def _convnet(**options: int | str) -> tuple[functools.partial, str]:
    return functools.partial(ConvNet, **options), 'instance'


# The variants that DC's pools test, by its names: width, depth, activation, pooling.
_CONVNETS = {
    **{f'convnet_w{width}': _convnet(width=width) for width in (32, 64, 128, 256)},
    **{f'convnet_d{depth}': _convnet(depth=depth) for depth in (1, 2, 3, 4)},
    'convnet_as': _convnet(activation='sigmoid'),
    'convnet_al': _convnet(activation='leaky_relu'),
    'convnet_aswish': _convnet(activation='swish'),
    'convnet_aswish_bn': (functools.partial(ConvNet, activation='swish'), 'batch'),
    'convnet_np': _convnet(pooling='none'),
    'convnet_mp': _convnet(pooling='max'),
}
# name -> (module class, its norm; None where it has no norm to choose)
NAMES = {
    'convnet': (ConvNet, 'instance'),
    'convnet_bn': (ConvNet, 'batch'),
    'convnet_ln': (ConvNet, 'layer'),
    'convnet_gn': (ConvNet, 'group'),
    'convnet_nn': (ConvNet, 'none'),
    **_CONVNETS,
    'resnet10': (_resnet(10), 'instance'),
    'resnet10_bn': (_resnet(10), 'batch'),
    'resnet10_ap_stem7': (_resnet(10, **_AP), 'instance'),
    'resnet18': (ResNet, 'instance'),
    'resnet18_bn': (ResNet, 'batch'),
    'resnet34': (_resnet(34), 'instance'),
    'resnet34_bn': (_resnet(34), 'batch'),
    'resnet50': (_resnet(50), 'instance'),
    'resnet50_bn': (_resnet(50), 'batch'),
    'resnet101': (_resnet(101), 'instance'),
    'resnet101_bn': (_resnet(101), 'batch'),
    'resnet152': (_resnet(152), 'instance'),
    'resnet152_bn': (_resnet(152), 'batch'),
    'resnet18_bn_ap': (functools.partial(ResNet, downsampling='average_pool'), 'batch'),
    'vgg11': (VGG, 'instance'),
    'vgg11_bn': (VGG, 'batch'),
    'vgg13': (_vgg(13), 'instance'),
    'vgg13_bn': (_vgg(13), 'batch'),
    'vgg16': (_vgg(16), 'instance'),
    'vgg16_bn': (_vgg(16), 'batch'),
    'vgg19': (_vgg(19), 'instance'),
    'vgg19_bn': (_vgg(19), 'batch'),
    'alexnet': (AlexNet, 'none'),
    'alexnet_bn': (AlexNet, 'batch'),
    'alexnet_in': (AlexNet, 'instance'),
    'resnet18_stem3': (_resnet(18, pooling='global'), 'batch'),
    'resnet34_stem3': (_resnet(34, pooling='global'), 'batch'),
    'resnet50_stem3': (_resnet(50, pooling='global'), 'batch'),
    'resnet101_stem3': (_resnet(101, pooling='global'), 'batch'),
    'resnet152_stem3': (_resnet(152, pooling='global'), 'batch'),
    'resnet18_stem7': (_resnet(18, pooling='global', stem='imagenet'), 'batch'),
    'resnet34_stem7': (_resnet(34, pooling='global', stem='imagenet'), 'batch'),
    'resnet50_stem7': (_resnet(50, pooling='global', stem='imagenet'), 'batch'),
    'resnet101_stem7': (_resnet(101, pooling='global', stem='imagenet'), 'batch'),
    'resnet152_stem7': (_resnet(152, pooling='global', stem='imagenet'), 'batch'),
    'mobilenetv2': (MobileNetV2, None),
    'mobilenetv2_imagenet': (functools.partial(MobileNetV2, form='imagenet'), None),
    'efficientnet_b0': (EfficientNet, None),
    'efficientnet_b0_imagenet': (functools.partial(EfficientNet, form='imagenet'), None),
    'shufflenet_g2': (ShuffleNet, None),
    'shufflenetv2': (ShuffleNetV2, None),
    'densenet': (DenseNet, 'instance'),
    'densenet_bn': (DenseNet, 'batch'),
    'densenet121_stem7': (functools.partial(DenseNet, growth=32, stem='imagenet'), 'batch'),
    'lenet': (LeNet, None),
    'mlp': (MLP, None),
}


def is_convnet(name: str) -> bool:
    """Whether a network of this name is a ConvNet."""
    network = NAMES[name][0]
    return getattr(network, 'func', network) is ConvNet


def fixed(name: str) -> dict[str, object]:
    """What a name says of the network: option -> value; of 'convnet_d2' {'depth': 2}."""
    return dict(getattr(NAMES[name][0], 'keywords', {}))


def open_options(name: str) -> frozenset[str]:
    """What a name leaves to choose: the width; of 'convnet' depth, norm, activation, pooling."""
    own = {'depth', 'activation', 'pooling'} if is_convnet(name) else set()
    norm = {'norm'} if is_convnet(name) and NAMES[name][1] == 'instance' else set()
    return frozenset({'width', *own, *norm} - fixed(name).keys())


def has_depth(name: str) -> bool:
    """Whether a network of this name has a number of blocks to choose."""
    return 'depth' in open_options(name)
