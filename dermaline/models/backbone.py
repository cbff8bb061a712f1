"""Backbones: timm's, and the ResNet-50 v1 that `resnet_v1` (imported by `weights`) registers with it."""

from typing import Any

import timm
from timm.models import PretrainedCfg
from torch import nn

from dermaline.base.errors import DermalineError
from dermaline.base.parameters import nearest
from dermaline.models.weights import load_pretrained
from dermaline.params.recipe import Recipe


def input_size(recipe: Recipe) -> tuple[int, int]:
    """Height and width of a recipe's input in pixels: its `size`, or else the backbone's own.

    Raises:
        DermalineError: the backbone is unknown.
    """
    return recipe.size or _configuration(recipe.backbone).input_size[1:]


def build(recipe: Recipe, *, pretrained: bool) -> nn.Module:
    """The backbone of a recipe without timm's classifier, with its pretrained weights or without.

    Raises:
        DermalineError: it is unknown, does not take the recipe's options, has no order of its layers, or the weights
            can't be had.
    """
    options, (height, width) = _options(recipe), input_size(recipe)
    if recipe.crop_from and (height > recipe.crop_from[0] or width > recipe.crop_from[1]):  # where size is not stated
        what = f"no window of {height}x{width}, the size of {recipe.backbone}, fits into it"
        raise DermalineError(f"recipe: crop_from: {what}; raise it, or state a smaller size")
    try:
        body = timm.create_model(recipe.backbone, **options)
    except (TypeError, ValueError, AssertionError) as problem:  # not every architecture takes every option
        raise DermalineError(
            f"recipe: {recipe.backbone} can't be built with {options}: {problem}; set drop_path to 0, size to null"
        ) from None
    if not hasattr(body, "group_matcher"):
        what = f"timm does not say of {recipe.backbone} which layers come first, which freezing needs"
        raise DermalineError(f"recipe: {what}; take another backbone")
    if pretrained:
        load_pretrained(body, recipe.backbone, recipe.weights, options)
    return body


def _configuration(backbone: str) -> PretrainedCfg:
    if not timm.is_model(backbone):
        raise DermalineError(f"recipe: timm has no backbone '{backbone}'; {nearest(backbone, timm.list_models())}")
    try:
        return timm.get_pretrained_cfg(backbone) or PretrainedCfg()
    except RuntimeError as problem:  # the architecture is known, its tag is not
        raise DermalineError(f"recipe: backbone '{backbone}': {problem} Leave out what follows the dot") from None


def _options(recipe: Recipe) -> dict[str, Any]:
    """What timm is to build; dropout is our head's, and only a backbone made for one input size is told the size."""
    configuration, size = _configuration(recipe.backbone), input_size(recipe)
    options: dict[str, Any] = {"num_classes": 0}
    if recipe.drop_path:
        options["drop_path_rate"] = recipe.drop_path
    if configuration.fixed_input_size:
        for phase in recipe.phases:
            if phase.size not in (None, size):
                raise DermalineError(
                    f"recipe: phases: {phase.name}: size: {recipe.backbone} takes one size only; leave it out"
                )
        if size != configuration.input_size[1:]:
            options["img_size"] = size
    return options
