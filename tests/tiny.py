"""Small things to train on: a recipe of the shipped kind and a handful of images that can be told apart."""

import torch
from closure import ROOT
from torch.nn.functional import interpolate

from dermaline.data.metadata import MISSING
from dermaline.data.photographs import in_memory
from dermaline.params.recipe import Recipe, read_recipe
from dermaline.training.loop import ImageSplit


def recipe(name: str = "lite0", **changes) -> Recipe:
    """A shipped recipe at 32 x 48 pixels, one frozen epoch and two whole ones, in fp32."""
    base = read_recipe(name, ROOT).model_dump()
    phases = [phase("head", 1, 0, 3), phase("all", 2, 0.5, 1)]
    small = {"size": (32, 48), "batch_size": 16, "phases": phases, "precision": "32-true"}
    return Recipe.model_validate(base | small | changes)


def phase(name: str, epochs: int, backbone: float, head: float, **more) -> dict:
    return {"name": name, "epochs": epochs, "backbone": backbone, "head": head, **more}


def photographs(count: int, seed: int, size: tuple[int, int] = (36, 54)) -> torch.Tensor:
    """Images whose colour says their class (0..6, in turn), with noise."""
    hue = torch.rand((7, 3), generator=torch.Generator().manual_seed(99)) * 200
    noise = torch.rand((count, 3, *size), generator=torch.Generator().manual_seed(seed)) * 55
    return (hue[torch.arange(count) % 7].view(-1, 3, 1, 1) + noise).to(torch.uint8)


def examples(count: int, seed: int) -> ImageSplit:
    """Photographs at whatever size is asked for, without metadata."""
    whole = photographs(count, seed)

    def images(size: tuple[int, int]) -> torch.Tensor:
        return interpolate(whole.float(), size).to(torch.uint8)

    return ImageSplit(
        images,
        torch.arange(count) % 7,
        MISSING.expand(count, -1),
        lambda size, view, crop_from: [in_memory(images(crop_from or size))],
    )
