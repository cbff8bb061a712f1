"""The network: a timm backbone, a linear head over the seven classes, and the input's normalisation."""

import timm
import torch
from torch import nn

from dermaline.classes import CLASSES
from dermaline.errors import DermalineError
from dermaline.models.weights import load_pretrained
from dermaline.params import Recipe, nearest


class Network(nn.Module):
    """Photographs to logits.

    The normalisation is the backbone's own and happens here, so whoever calls a network gives it the same thing:
    float images in 0..1.
    """

    def __init__(self, recipe: Recipe, *, pretrained: bool) -> None:
        """Build the network of a recipe, with its pretrained weights or (to load trained ones) without.

        Raises:
            DermalineError: the backbone is unknown, or the weights can't be had.
        """
        super().__init__()
        if not timm.is_model(recipe.backbone):
            raise DermalineError(
                f"recipe: timm has no backbone '{recipe.backbone}'; {nearest(recipe.backbone, timm.list_models())}"
            )
        options = {"drop_rate": recipe.dropout} | ({"drop_path_rate": recipe.drop_path} if recipe.drop_path else {})
        try:
            self.body = timm.create_model(recipe.backbone, num_classes=len(CLASSES), **options)
        except TypeError as problem:  # not every architecture has every kind of dropout
            raise DermalineError(f"recipe: {recipe.backbone}: {problem}; set that one to 0") from None
        for parameter in self.head_parameters():  # timm's start for seven outputs is so wide that the first loss is 4
            nn.init.normal_(parameter, std=0.01)
        if pretrained:
            load_pretrained(self.body, recipe.backbone, recipe.weights)
        for name in ("mean", "std"):
            value = torch.tensor(self.body.pretrained_cfg[name]).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, 7] in the order of `CLASSES`, for float images [B, 3, height, width] in 0..1."""
        normalised = (images - self.mean) / self.std
        return self.body(normalised.contiguous(memory_format=torch.channels_last))

    def head_parameters(self) -> list[nn.Parameter]:
        return list(self.body.get_classifier().parameters())

    def backbone_parameters(self) -> list[nn.Parameter]:
        head = {id(parameter) for parameter in self.head_parameters()}
        return [parameter for parameter in self.body.parameters() if id(parameter) not in head]

    def start_training(self, *, backbone_frozen: bool) -> None:
        """Go into training mode; a frozen backbone stays in evaluation mode: no dropout, statistics held."""
        self.train(not backbone_frozen)
        for parameter in self.backbone_parameters():
            parameter.requires_grad_(not backbone_frozen)
