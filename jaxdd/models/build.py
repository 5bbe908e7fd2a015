"""Networks by name."""

from jaxdd import checks
from jaxdd.models.names import NAMES, fixed, is_convnet
from jaxdd.models.wrap import model
from jaxdd.types import Model


def default_depth(image_shape: tuple[int, int, int], pooling: object = None) -> int:
    """Returns the ConvNet depth for an image: 3, or less for small sides (8x8: 2).

    Less where the last map would fall below 2x2, which it cannot without pools.
    """
    if pooling == 'none':
        return 3
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
    features_after: int | None = None,
    dtype: str | None = None,
) -> Model:
    """Builds a network by its name; None = the papers' default.

    Args:
        name: 'convnet', 'resnet10' to 152, 'densenet' or 'vgg11' to 19 (instance norm), with '_bn'
            for batch norm; the ConvNet also with '_ln', '_gn', '_nn' for layer, group and no norm,
            '_w32' to '_w256' and '_d1' to '_d4' for its width and depth, '_as', '_al', '_aswish'
            for sigmoid, leaky ReLU and swish ('_aswish_bn' with batch norm), '_np' and '_mp' for no
            and max pooling; 'resnet18_bn_ap', whose sides are halved by average pools;
            'resnet18_stem3' to 152 (batch norm, 3x3 stem, global pool), which SRe2L and INFER teach
            with, and 'resnet18_stem7' to 152, torchvision's for ImageNet, as is
            'densenet121_stem7'; 'resnet10_ap_stem7' (instance norm, average pools), IDC's for
            ImageNet; 'alexnet' (no norm), with '_bn' or '_in' for batch or instance norm;
            'mobilenetv2', 'efficientnet_b0', 'shufflenet_g2' and 'shufflenetv2' (batch norm), the
            first two also with '_imagenet' in torchvision's form; 'lenet' and 'mlp' (no norm).
        image_shape: height, width, channels.
        num_classes: Y.
        width: channels of the first block (convnet and alexnet 128, resnet18 and vgg11 64, lenet
            6), of the stem (mobilenetv2 and efficientnet_b0 32, shufflenets 24) or units of a
            hidden layer (mlp 128); the other widths scale with it.
        depth: ConvNet blocks; None = `default_depth`.
        batch_statistics: see `wrap.model`.
        norm, activation, pooling, features_after: ConvNet variants, see `ConvNet`; `norm` overrides
            the name's.
        dtype: of the network's body, e.g. 'bfloat16'; outputs are float32 then.

    Returns:
        The model.

    Raises:
        ValueError: an unknown name or variant, a width below 1, a network too deep for the image
            side, a ConvNet variant asked of another network, or what the name says otherwise.
    """
    checks.one_of('network', name, NAMES)
    if width is not None and width < 1:
        raise ValueError(f'{name} needs a width of at least 1, got {width}')
    network, named_norm = NAMES[name]
    variants = {
        'depth': depth,
        'norm': norm,
        'activation': activation,
        'pooling': pooling,
        'features_after': features_after,
    }
    for option, value in {**variants, 'width': width}.items():
        if value is not None and option in fixed(name):
            raise ValueError(
                f'{name} has {option} {fixed(name)[option]} by its name, got {value!r}'
            )
    if is_convnet(name):
        if depth is None and 'depth' not in fixed(name):
            variants['depth'] = default_depth(image_shape, pooling or fixed(name).get('pooling'))
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
