"""The network: colours, a timm backbone, attention, metadata, and a head over the seven classes."""

import timm
import torch
from torch import nn

from dermaline.base.errors import DermalineError
from dermaline.data.metadata import MISSING, WIDTH
from dermaline.models.attention import cbam
from dermaline.models.backbone import build, input_size
from dermaline.models.colour import shades_of_gray
from dermaline.models.fusion import FUSION
from dermaline.models.heads import HEADS
from dermaline.models.normalise import Normalise
from dermaline.params.recipe import Recipe


class Network(nn.Module):
    """Photographs, and what is known about the patient, to logits.

    Colour constancy and the backbone's own normalisation happen here, so whoever calls a network gives it the same
    thing: float images in 0..1 at `input_size(recipe)`.
    """

    def __init__(self, recipe: Recipe, *, pretrained: bool) -> None:
        """Build the network of a recipe, with its pretrained weights or (to load trained ones) without.

        Raises:
            DermalineError: the backbone is unknown or does not take the recipe's options, or weights can't be had.
        """
        super().__init__()
        self.backbone, self.colour_constancy = recipe.backbone, recipe.colour_constancy
        self.body = build(recipe, pretrained=pretrained)
        self.attention = _attention(self.body, recipe) if recipe.attention != "none" else nn.Identity()
        width = self.body.head_hidden_size
        self.fusion = FUSION[recipe.metadata](width, WIDTH) if recipe.metadata != "none" else None
        self.head = HEADS[recipe.head](self.fusion.width if self.fusion else width, recipe)
        self.normalise = Normalise(self.body.pretrained_cfg)
        self.register_buffer("missing", MISSING, persistent=False)
        self._check_layers(recipe)

    def forward(self, images: torch.Tensor, metadata: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [B, 7] in the order of `CLASSES`.

        Args:
            images: float [B, 3, height, width] in 0..1.
            metadata: float [B, M] as `dermaline.data.metadata.encode` gives it; None is all missing. A network
                without fusion does not look at it.
        """
        if self.colour_constancy:
            images = shades_of_gray(images, self.colour_constancy)
        maps = self.attention(self.body.forward_features(self.normalise(images)))
        features = self.body.forward_head(maps, pre_logits=True)
        if self.fusion is not None:
            known = self.missing.expand(len(images), -1) if metadata is None else metadata
            features = self.fusion(features, known)
        return self.head(features)

    def _check_layers(self, recipe: Recipe) -> None:
        """Refuse a phase that starts at a layer there is not, before anything is trained."""
        last = len(self.backbone_layers()) - 1
        for phase in recipe.phases:
            if phase.first_layer > last:
                raise DermalineError(
                    f"recipe: phases: {phase.name}: first_layer: {phase.first_layer} is outside 0 to {last}, "
                    f"the layers of {recipe.backbone}"
                )

    @property
    def takes_one_size(self) -> bool:
        """Whether images of another height or width than it was built for are refused by the backbone."""
        return bool(self.body.pretrained_cfg.get("fixed_input_size"))

    def head_parameters(self) -> list[nn.Parameter]:
        """All that is not the backbone's: those of head, fusion and attention."""
        return [value for name, value in self.named_parameters() if not name.startswith("body.")]

    def backbone_layers(self) -> list[list[nn.Parameter]]:
        """The backbone's parameters by depth, from the stem (0) on: timm's own layers, as for layer-wise decay."""
        groups = timm.models.group_parameters(self.body, self.body.group_matcher())
        return [[self.body.get_parameter(name) for name in groups[depth]] for depth in sorted(groups)]

    def start_training(self, *, first_layer: int | None) -> None:
        """Go into training mode, with the backbone frozen below `first_layer` (None: all of it).

        What is frozen has no gradients and stays in evaluation mode: batch norm's statistics held, nothing dropped.
        """
        layers = self.backbone_layers()
        first = len(layers) if first_layer is None else first_layer
        for depth, layer in enumerate(layers):
            for parameter in layer:
                parameter.requires_grad_(depth >= first)
                if depth < first:
                    parameter.grad = None  # an optimizer would still follow one left from an earlier phase
        _set_modes(self, training=True)


def _set_modes(module: nn.Module, *, training: bool) -> None:
    """A module trains if any parameter in it does; one without parameters (dropout) does as the one around it."""
    parameters = list(module.parameters())
    module.training = any(value.requires_grad for value in parameters) if parameters else training
    for child in module.children():
        _set_modes(child, training=module.training)


def _attention(body: nn.Module, recipe: Recipe) -> nn.Module:
    """Attention for the maps that `body` gives, which a blank image shows."""
    training = body.training
    with torch.no_grad():
        maps = body.eval().forward_features(torch.zeros(1, 3, *input_size(recipe)))
    body.train(training)
    if maps.ndim != 4 or maps.shape[1] != body.num_features:
        raise DermalineError(
            f"recipe: attention: {recipe.attention} needs the feature map of a convolutional backbone, which "
            f"{recipe.backbone} does not have; set it to none"
        )
    return cbam(body.num_features)
