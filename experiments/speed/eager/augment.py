"""Differentiable Siamese augmentation (DSA) and recovery's roll, in PyTorch.

Zhao & Bilen, ICML 2021, https://arxiv.org/abs/2102.08259; the operations of `jaxdd.augment`, each
as the usual torch calls. Images are `[m, C, H, W]` in normalised pixels. What is drawn has one row
per image, or a single one for all; two numbers per row are (vertical, horizontal). Draws are made
on the host, so that no step waits for a device.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jaxdd.augment.dsa import Strengths

STRENGTHS = Strengths()
Transform = Callable[[Tensor], Tensor]


def color(images: Tensor, draw: Tensor) -> Tensor:
    """Brightness, saturation, contrast; `draw` `[m, 3]`: an offset and two factors."""
    offset, saturation, contrast = draw.to(images).T.reshape(3, -1, 1, 1, 1)
    images = images + offset
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * saturation + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * contrast + mean


def crop(images: Tensor, offset: Tensor) -> Tensor:
    """Shifts by whole pixels `[m, 2]`, zero outside."""
    height, width = images.shape[2:]
    rows, columns = _pixels(STRENGTHS.crop, height), _pixels(STRENGTHS.crop, width)
    padded = functional.pad(images, (columns, columns, rows, rows))
    if len(offset) == 1:
        top, left = offset[0, 0].item() + rows, offset[0, 1].item() + columns
        return padded[:, :, top : top + height, left : left + width]
    offset = offset.to(images.device)
    i = offset[:, :1] + rows + torch.arange(height, device=images.device)
    j = offset[:, 1:] + columns + torch.arange(width, device=images.device)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, i[:, :, None], j[:, None]].permute(0, 3, 1, 2)


def cutout(images: Tensor, centre: Tensor) -> Tensor:
    """Sets a rectangle around `[m, 2]` to zero, clipped at the border."""
    rows, columns = (_inside(centre[:, axis], images.shape[2 + axis]) for axis in (0, 1))
    kept = ~(rows[:, None, :, None] & columns[:, None, None, :])
    return images * kept.to(images)


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirrors left and right where `[m]` is true."""
    if len(mirrored) == 1:
        return images.flip(3) if mirrored.item() else images
    return torch.where(mirrored.to(images.device).reshape(-1, 1, 1, 1), images.flip(3), images)


def scale(images: Tensor, factor: Tensor) -> Tensor:
    """Shrinks (factors `[m, 2]` above 1) or enlarges about the centre."""
    theta = torch.zeros((len(factor), 2, 3), dtype=factor.dtype)
    theta[:, 0, 0], theta[:, 1, 1] = factor[:, 1], factor[:, 0]
    return _warped(images, theta)


def rotate(images: Tensor, angle: Tensor) -> Tensor:
    """Rotates about the centre by `[m]` radians."""
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return _warped(images, torch.stack([cos, -sin, zero, sin, cos, zero], 1).reshape(-1, 2, 3))


def roll(images: Tensor, shift: tuple[int, int]) -> Tensor:
    """Shifts all images in a circle, (down, right)."""
    return torch.roll(images, shift, (2, 3))


def _warped(images: Tensor, theta: Tensor) -> Tensor:
    theta = theta.to(images).expand(len(images), 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _inside(centre: Tensor, length: int) -> Tensor:
    side = _pixels(STRENGTHS.cutout, length)
    position = torch.arange(length) - (centre[:, None] - side // 2)
    return (position >= 0) & (position < side)


def _pixels(ratio: float, length: int) -> int:
    return int(ratio * length + 0.5)


def _integers(low: list[int], high: list[int], rows: int) -> Tensor:
    """Uniform in low..high, both included, per axis: `[rows, len(low)]`."""
    return torch.stack([torch.randint(a, b + 1, (rows,)) for a, b in zip(low, high)], 1)


def draw_color(rows: int, size: tuple[int, int]) -> Tensor:
    """For `color`."""
    low = torch.tensor([-STRENGTHS.brightness / 2, 0, STRENGTHS.contrast])
    return torch.rand(rows, 3) * torch.tensor([STRENGTHS.brightness, STRENGTHS.saturation, 1]) + low


def draw_crop(rows: int, size: tuple[int, int]) -> Tensor:
    """For `crop`: up to an eighth of the side."""
    most = [_pixels(STRENGTHS.crop, length) for length in size]
    return _integers([-pixels for pixels in most], most, rows)


def draw_cutout(rows: int, size: tuple[int, int]) -> Tensor:
    """For `cutout`: 0..side, of an odd rectangle 0..side - 1."""
    return _integers(
        [0, 0], [length - _pixels(STRENGTHS.cutout, length) % 2 for length in size], rows
    )


def draw_flip(rows: int, size: tuple[int, int]) -> Tensor:
    """For `flip`: half of them."""
    return torch.rand(rows) < 0.5


def draw_scale(rows: int, size: tuple[int, int]) -> Tensor:
    """For `scale`: 1/1.2 to 1.2."""
    most = STRENGTHS.scale
    return torch.rand(rows, 2) * (most - 1 / most) + 1 / most


def draw_rotate(rows: int, size: tuple[int, int]) -> Tensor:
    """For `rotate`: up to 15 degrees to either side."""
    return (2 * torch.rand(rows) - 1) * math.radians(STRENGTHS.rotate)


OPERATIONS = {
    'color': (draw_color, color),
    'crop': (draw_crop, crop),
    'cutout': (draw_cutout, cutout),
    'flip': (draw_flip, flip),
    'scale': (draw_scale, scale),
    'rotate': (draw_rotate, rotate),
}


def drawn(strategy: str, mode: str, rows: int, size: tuple[int, int]) -> Transform:
    """One draw of a strategy, to be applied to as many batches as one likes: Siamese.

    Args:
        strategy: operations joined by '_'.
        mode: 'S' for one of them, 'IDC' for flip, color, one of the rest and cutout, each if named.
        rows: 1 for one draw shared by all images, else the number of images.
        size: (H, W) pixels.
    """
    names = strategy.split('_')
    if mode == 'S':
        chosen = [np.random.choice(names)]
    else:
        others = [name for name in names if name not in ('flip', 'color', 'cutout')]
        chosen = [name for name in ('flip', 'color') if name in names]
        chosen += [np.random.choice(others)] if others else []
        chosen += [name for name in ('cutout',) if name in names]
    steps = [(OPERATIONS[name][1], OPERATIONS[name][0](rows, size)) for name in chosen]

    def transform(images: Tensor) -> Tensor:
        for operation, parameter in steps:
            images = operation(images, parameter)
        return images

    return transform


def drawn_roll(jitter: int) -> Transform:
    """Recovery's augmentation of small images: one roll of 0..jitter pixels for the batch."""
    shift = tuple(int(pixels) for pixels in np.random.randint(0, jitter + 1, 2))
    return lambda images: roll(images, shift)


def unchanged(images: Tensor) -> Tensor:
    """No augmentation."""
    return images
