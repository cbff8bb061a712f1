"""Metadata joined with an image's pooled features."""

import torch
from torch import nn

UNITS = 64


class Concat(nn.Module):
    """The features, followed by a small network's view of the metadata."""

    def __init__(self, features: int, metadata: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(metadata, UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU())
        self.width = features + UNITS

    def forward(self, features: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """[B, features + UNITS] of features [B, features] and metadata [B, M]."""
        return torch.cat([features, self.layers(metadata)], dim=1)


class Film(nn.Module):
    """Feature-wise linear modulation (Perez et al. 2018): metadata scale and shift each feature.

    The scale is 1 + gamma, and gamma and beta start at 0: at first the features pass unchanged.
    """

    def __init__(self, features: int, metadata: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(metadata, UNITS), nn.ReLU(), nn.Linear(UNITS, 2 * features))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self.width = features

    def forward(self, features: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """[B, features] of features [B, features] and metadata [B, M]."""
        gamma, beta = self.layers(metadata).chunk(2, dim=1)
        return (1 + gamma) * features + beta


FUSION = {"concat": Concat, "film": Film}
