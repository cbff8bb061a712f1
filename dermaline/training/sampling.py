"""Cutting views out of photographs: each in one resampling, which reads no more of the photograph than it shows."""

from collections.abc import Sequence

import torch
from torch.nn.functional import affine_grid, grid_sample

from dermaline.base.parameters import Size
from dermaline.data.photographs import Photographs

MARGIN = 2  # pixels around what a view shows: those that bilinear sampling takes in


def sample(
    images: Sequence[Photographs], chosen: torch.Tensor, geometry: torch.Tensor, size: Size, device: torch.device
) -> torch.Tensor:
    """Sample a view of each image, from the smallest images that have its detail.

    Args:
        images: of the same photographs, largest first, each smaller by sqrt(2) than those before.
        chosen: int64 [B], which of them.
        geometry: float [B, 2, 3], from a view to its image, both in -1..1. The centre of a view is in its image.
        size: height and width of the views.
        device: where the views are to be.

    Returns:
        float32 [B, C, height, width] in 0..1. What lies outside of an image is mirrored.
    """
    level, channels = _levels(images, geometry, size), images[0].pixels.shape[1]
    views = torch.empty(len(chosen), channels, *size, device=device)
    for number in level.unique().tolist():
        here = level == number
        windows, inside = _windows(images[number], chosen[here], geometry[here])
        grid = affine_grid(inside.to(device), [len(windows), channels, *size], align_corners=False)
        pixels = windows.to(device).to(torch.float32).div_(255)
        pixels = grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        if len(pixels) == len(chosen):
            return pixels
        views[here.to(device)] = pixels
    return views


def _levels(images: Sequence[Photographs], geometry: torch.Tensor, size: Size) -> torch.Tensor:
    """int64 [B], the smallest images of which a view takes every pixel, or all but every second one on a diagonal."""
    area = geometry[:, :, :2].det().abs() * images[0].size[0] * images[0].size[1] / (size[0] * size[1])
    return area.log2().floor().clamp(0, len(images) - 1).long()


def _windows(images: Photographs, chosen: torch.Tensor, geometry: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The part of each image that its view shows, uint8 [B, C, h, w] of one size, and the geometry within it.

    Where a view reaches over an edge of the image, so does it over the part's, which mirrors the same pixels.
    """
    rows = images.rows[chosen]
    sides = torch.tensor([images.size[1], images.size[0]])  # of x, y
    centre = (geometry[:, :, 2] + 1) / 2 * sides
    reach = geometry[:, :, :2].abs().sum(dim=2) / 2 * sides + MARGIN
    low = (centre - reach).floor().long().clamp(min=0)
    high = (centre + reach).ceil().long().minimum(sides)
    extent = (high - low).amax(dim=0)
    if (extent == sides).all():
        return images.pixels[rows.to(images.pixels.device)], geometry
    low = low.minimum(sides - extent)
    wide, high = extent.tolist()
    parts = [
        images.pixels[row, :, top : top + high, left : left + wide]
        for row, (left, top) in zip(rows.tolist(), low.tolist(), strict=True)
    ]
    scale = sides / extent
    shift = (geometry[:, :, 2] + 1) * scale - 2 * low / extent - 1
    return torch.stack(parts), torch.cat([geometry[:, :, :2] * scale[:, None], shift[:, :, None]], dim=2)
