"""Photographs at the sizes that are asked for: the one way to resize them, and the sizes that views are made of."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from dermaline.base.parameters import Size
from dermaline.params.recipe import ViewName


class Photographs(NamedTuple):
    """Images, in memory or mapped from disk."""

    pixels: torch.Tensor  # uint8 [M, C, height, width]; C is 3, or more with what goes along
    rows: torch.Tensor  # int64 [N], of `pixels`: where each of the N images is

    @property
    def size(self) -> Size:
        return tuple(self.pixels.shape[2:])


def channels_first(images: NDArray[np.uint8]) -> Tensor:
    """Photographs [N, height, width, 3], as they are decoded, as [N, 3, height, width], which share their memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def resized(images: Tensor, size: Size) -> Tensor:
    """Photographs uint8 [N, C, height, width] at a size, antialiased; as they are where they have it."""
    return resize(images, list(size), antialias=True)


def in_memory(pixels: torch.Tensor) -> Photographs:
    """All of uint8 [N, C, height, width]."""
    return Photographs(pixels, torch.arange(len(pixels)))


def sizes_for(size: Size, view: ViewName, crop_from: Size | None, packed: Size) -> list[Size]:
    """The sizes of photographs, largest first, from which `training.augment` makes views of `size`.

    - `whole`: one, with a seventh more on each side, so that zooming in shows more. No larger than they were `packed`,
      where that is enough; and of the packed images' shape, so that what is turned is the lesion as it was
      photographed, also for a network whose square input squeezes it.
    - `crop`: `crop_from`.
    - `mixed`: `crop_from`, and smaller by sqrt(2) each as long as they hold `size`: no view is sampled so coarsely
      that it shows what is not there (Williams 1983, "Pyramidal parametrics").
    """
    whole = crop_from if view != "whole" and crop_from else packed
    needed = max(side / of for side, of in zip(size, whole, strict=True))
    if view == "whole":
        return [_scaled(whole, max(needed, min(needed * 8 / 7, 1)))]
    steps = math.floor(-2 * math.log2(needed) + 1e-9) if view == "mixed" else 0
    return [_scaled(whole, 2 ** (-step / 2)) for step in range(steps + 1)]


def _scaled(size: Size, scale: float) -> Size:
    height, width = size
    return round(height * scale), round(width * scale)
