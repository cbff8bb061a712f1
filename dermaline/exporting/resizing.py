"""Torchvision's antialiased resizing of 8-bit images as matrix products.

ONNX's Resize antialiases as well, but computes in floating point. Torchvision computes 8-bit images in integers (the
kernel of ATen that follows Pillow's): weights are of 16 bits, and what one direction gives is rounded before the other.
In floating point these integers are exact, so the pixels are the same and not only alike.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dermaline.base.parameters import Size

WEIGHT_BITS, LARGEST_SHIFT = 15, 22  # of UpSampleKernel's int16 weights
FLOAT_SHIFT = 16  # up to which sums of weighted pixels, of 8 bits more, are exact in float32


class Resize(nn.Module):
    """`torchvision.transforms.v2.functional.resize(images, to, antialias=True)` of one size to another."""

    def __init__(self, of: Size, to: Size) -> None:
        super().__init__()
        self.of, self.to = tuple(of), tuple(to)
        self.register_buffer("columns", weights(of[1], to[1]).T.contiguous())
        self.register_buffer("rows", weights(of[0], to[0]))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, height, width] at size `to`, of such images at size `of`."""
        if self.of == self.to:
            return images
        across = _rounded(images.to(self.columns.dtype) @ self.columns)
        return _rounded(self.rows @ across.to(self.rows.dtype)).to(torch.uint8)


def weights(of: int, to: int) -> Tensor:
    """What each of `of` pixels in a line gives to each of `to`: [to, of], whole multiples of a power of 2.

    float32, or float64 where an image shrinks to less than a fourth and its sums would not be exact in float32.
    """
    exact = interpolate(torch.eye(of, dtype=torch.float64)[None, :, None], (1, to), mode="bilinear", antialias=True)
    exact = exact[0, :, 0].T
    largest, shift = exact.max().item(), LARGEST_SHIFT
    while int(0.5 + largest * 2**shift) >= 2**WEIGHT_BITS:
        shift -= 1
    whole = (exact * 2**shift + 0.5).floor() / 2**shift
    return whole.float() if shift <= FLOAT_SHIFT else whole


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor()
