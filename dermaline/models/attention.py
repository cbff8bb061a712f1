"""Attention on a backbone's last feature map, which starts as the identity."""

import torch
from timm.layers.cbam import CbamModule
from torch import nn


class _Gate(nn.Module):
    """Twice the sigmoid: a factor of 0 to 2, and 1 for an input of 0."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * values.sigmoid()


def cbam(channels: int) -> nn.Module:
    """Weighs channels, then places, by their means and maxima (Woo et al. 2018).

    The last layers start at 0, so every factor is 1 (the paper's sigmoid would halve a pretrained network's features).
    """
    module = CbamModule(channels, gate_layer=_Gate)
    nn.init.zeros_(module.channel.fc2.weight)
    nn.init.zeros_(module.spatial.conv.bn.weight)
    return module
