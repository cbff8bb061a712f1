"""Augmentation of a whole batch at once, with random numbers of its own for every image.

Geometry is one resampling (rotation, flip, zoom, stretch and shift make one affine map), colour one matrix
product; both run on whatever device the images are on. The random numbers are drawn on the CPU, so a seed means
the same thing on every device.
"""

import math

import torch
from torch.nn.functional import affine_grid, grid_sample

from dermaline.params import Augment

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def augment(images: torch.Tensor, size: tuple[int, int], options: Augment, generator: torch.Generator) -> torch.Tensor:
    """Augment and resample a batch.

    Args:
        images: uint8 [B, 3, H, W].
        size: height and width of the result; without zoom it shows the whole image, whatever H and W.
        options: the ranges, see `params.yaml`.
        generator: a CPU generator, the only source of randomness.

    Returns:
        float32 [B, 3, height, width] in 0..1. What a rotation brings in from outside is mirrored, never black.
    """
    geometry = _affine(len(images), images.shape[3] / images.shape[2], options, generator).to(images.device)
    colour = [draw.to(images.device) for draw in _colour(len(images), options, generator)]
    grid = affine_grid(geometry, [len(images), 3, *size], align_corners=False)
    pixels = images.to(torch.float32).div_(255)
    pixels = grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _recolour(pixels, *colour)


def _uniform(count: int, spread: float, generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(count, generator=generator) * 2 - 1) * spread


def _affine(count: int, aspect: float, options: Augment, generator: torch.Generator) -> torch.Tensor:
    """Maps [B, 2, 3] from the result to the image, both in -1..1; `aspect` (width / height) keeps angles right."""
    angle = _uniform(count, math.radians(options.rotation), generator)
    zoom = torch.exp(-_uniform(count, math.log1p(options.zoom), generator))
    stretch = torch.exp(_uniform(count, math.log1p(options.stretch), generator) / 2)
    shift = torch.stack([_uniform(count, 2 * options.shift, generator) for _ in range(2)], dim=1)
    mirror = torch.ones(count)
    if options.flip:
        mirror = (torch.rand(count, generator=generator) < 0.5).float() * 2 - 1
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    x = torch.stack([cos * stretch * mirror, -sin / stretch / aspect, shift[:, 0]], dim=1)
    y = torch.stack([sin * stretch * aspect * mirror, cos / stretch, shift[:, 1]], dim=1)
    return torch.stack([x, y], dim=1)


def _colour(
    count: int, options: Augment, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Saturation as matrices [B, 3, 3], contrast [B, 1, 1], and brightness with colour cast as gains [B, 3, 1]."""
    saturation = (1 + _uniform(count, options.saturation, generator)).view(-1, 1, 1)
    matrix = saturation * torch.eye(3) + (1 - saturation) * torch.tensor(LUMA).expand(3, 3)
    contrast = (1 + _uniform(count, options.contrast, generator)).view(-1, 1, 1)
    brightness = (1 + _uniform(count, options.brightness, generator)).view(-1, 1, 1)
    cast = 1 + _uniform(3 * count, options.colour_cast, generator).view(-1, 3, 1)
    return matrix, contrast, brightness * cast


def _recolour(pixels: torch.Tensor, matrix: torch.Tensor, contrast: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    flat = pixels.flatten(2)
    grey = (matrix @ flat.mean(dim=2, keepdim=True)).mean(dim=1, keepdim=True)  # contrast turns about the image's mean
    recoloured = torch.baddbmm(gain * (1 - contrast) * grey, gain * contrast * matrix, flat)
    return recoloured.clamp_(0, 1).view_as(pixels)
