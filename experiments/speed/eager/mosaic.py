"""Images stored as mosaics of factor x factor tiles (IDM, IDC), in PyTorch;
tile * ipc + i is a tile of mosaic i."""

import torch
from torch import Tensor
from torch.nn import functional


def decoded(images: Tensor, factor: int, order: str) -> Tensor:
    """Cuts mosaics `[ipc, C, H, W]` into tiles and enlarges each to the full size:
    `[factor^2 ipc, C, H, W]`."""
    height, width = images.shape[2] // factor, images.shape[3] // factor
    tiles = [
        images[:, :, i * height : (i + 1) * height, j * width : (j + 1) * width]
        for i, j in _places(factor, order)
    ]
    return functional.interpolate(
        torch.cat(tiles), images.shape[2:], mode='bilinear', align_corners=False
    )


def encoded(images: Tensor, factor: int, order: str, shrink: str) -> Tensor:
    """Mosaics `[K, ipc, C, H, W]` of images `[K, factor^2 ipc, C, H, W]`,
    shrunk by 'mean' or 'nearest' pixel."""
    small = images[..., ::factor, ::factor]
    if shrink == 'mean':
        small = functional.avg_pool2d(images.flatten(0, 1), factor).unflatten(0, images.shape[:2])
    tiles = dict(zip(_places(factor, order), small.chunk(factor**2, 1)))
    return torch.cat(
        [torch.cat([tiles[i, j] for j in range(factor)], -1) for i in range(factor)], -2
    )


def _places(factor: int, order: str) -> list[tuple[int, int]]:
    """(row, column) of each tile, along the rows or down the columns."""
    places = [(i, j) for i in range(factor) for j in range(factor)]
    return places if order == 'row' else [place[::-1] for place in places]
