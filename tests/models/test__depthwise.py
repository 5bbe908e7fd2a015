import pytest

from jaxdd.models._depthwise import located, numbered, scaled


@pytest.mark.parametrize(
    'channels, width, stem, multiple, expected',
    [
        (1280, 32, 32, 1, 1280),
        (1280, 8, 32, 1, 320),
        (16, 1, 32, 1, 1),
        (16, 0, 32, 1, 1),
        (200, 24, 24, 2, 200),
        (200, 4, 24, 2, 34),
        (116, 12, 24, 2, 58),
        (24, 3, 32, 1, 2),
    ],
)
def test_channels_scale_to_the_nearest_multiple(channels, width, stem, multiple, expected):
    assert scaled(channels, width, stem, multiple=multiple) == expected


def test_layers_are_located_and_numbered():
    assert located('stage1_block02/layer0_conv') == (1, 2, 'layer0', 'conv')
    assert located('stage0_block0/squeeze') == (0, 0, '', 'squeeze')
    assert [
        numbered('layer0', 'norm'),
        numbered('layer2', 'conv'),
        numbered('shortcut', 'norm'),
        numbered('shortcut', 'conv'),
    ] == ['bn1', 'conv3', 'shortcut.1', 'shortcut.0']
