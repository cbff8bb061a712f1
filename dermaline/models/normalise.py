"""Pixels as a pretrained backbone wants them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Colours less the mean and over the standard deviation of those that a backbone's weights were trained on."""

    def __init__(self, pretrained_cfg: Mapping[str, Any]) -> None:
        """Take them from a timm backbone's `pretrained_cfg`; they are in no weights file."""
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(pretrained_cfg[name]).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Float [B, 3, height, width] of images in 0..1; in memory the channels are last, which is quicker."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
