"""Heads: from pooled features to the seven logits."""

from torch import nn

from dermaline.base.classes import CLASSES
from dermaline.params.recipe import Architecture

HIDDEN = 512


def linear(width: int, recipe: Architecture) -> nn.Sequential:
    """Dropout and one layer."""
    return nn.Sequential(nn.Dropout(recipe.dropout), _last(width))


def mlp(width: int, recipe: Architecture) -> nn.Sequential:
    """Two layers, with dropout before each; layer norm, which does not mind small batches."""
    hidden = (nn.Linear(width, HIDDEN), nn.LayerNorm(HIDDEN), nn.GELU())
    return nn.Sequential(nn.Dropout(recipe.dropout), *hidden, nn.Dropout(recipe.dropout), _last(HIDDEN))


def _last(width: int) -> nn.Linear:
    layer = nn.Linear(width, len(CLASSES))
    nn.init.normal_(layer.weight, std=0.01)  # so small that the first loss is that of chance
    nn.init.zeros_(layer.bias)
    return layer


HEADS = {"linear": linear, "mlp": mlp}
