"""Network architectures as pure functions."""

from jaxdd.models.alexnet import AlexNet as AlexNet
from jaxdd.models.build import by_name as by_name
from jaxdd.models.build import default_depth as default_depth
from jaxdd.models.convnet import ConvNet as ConvNet
from jaxdd.models.densenet import DenseNet as DenseNet
from jaxdd.models.derivatives import xla_derivatives as xla_derivatives
from jaxdd.models.efficientnet import EfficientNet as EfficientNet
from jaxdd.models.lenet import LeNet as LeNet
from jaxdd.models.microbatch import microbatched as microbatched
from jaxdd.models.mlp import MLP as MLP
from jaxdd.models.mobilenet import MobileNetV2 as MobileNetV2
from jaxdd.models.names import NAMES as NAMES
from jaxdd.models.names import fixed as fixed
from jaxdd.models.names import has_depth as has_depth
from jaxdd.models.names import open_options as open_options
from jaxdd.models.norms import update_batch_stats as update_batch_stats
from jaxdd.models.precision import precision as precision
from jaxdd.models.resnet import ResNet as ResNet
from jaxdd.models.shufflenet import ShuffleNet as ShuffleNet
from jaxdd.models.shufflenetv2 import ShuffleNetV2 as ShuffleNetV2
from jaxdd.models.vgg import VGG as VGG
from jaxdd.models.wrap import from_params as from_params
from jaxdd.models.wrap import model as model
from jaxdd.models.wrap import of_pixels as of_pixels
