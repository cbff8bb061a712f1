"""Attention on a backbone's last feature map, which starts as the identity."""

import torch
from timm.layers import SEModule
from timm.layers.cbam import CbamModule
from torch import nn


class _Gate(nn.Module):
    """Twice the sigmoid: a factor of 0 to 2, and 1 for an input of 0."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * values.sigmoid()


def squeeze_excitation(channels: int) -> nn.Module:
    """Weighs channels by their means (Hu et al. 2018).

    The last layer starts at 0, so every factor is 1 (the paper's sigmoid would halve a pretrained network's features).
    """
    module = SEModule(channels, gate_layer=_Gate)
    nn.init.zeros_(module.fc2.weight)
    nn.init.zeros_(module.fc2.bias)
    return module


def cbam(channels: int) -> nn.Module:
    """Weighs channels, then places, by their means and maxima (Woo et al. 2018), from factors of 1 as above."""
    module = CbamModule(channels, gate_layer=_Gate)
    nn.init.zeros_(module.channel.fc2.weight)
    nn.init.zeros_(module.spatial.conv.bn.weight)
    return module


ATTENTION = {"se": squeeze_excitation, "cbam": cbam}
