"""Small things to train on: a recipe of the shipped kind and a handful of images that can be told apart."""

import torch
from closure import ROOT

from dermaline import params
from dermaline.params import Recipe
from dermaline.training.loop import Examples


def recipe(**changes) -> Recipe:
    """The recipe `lite0` at 32 x 48 pixels, one frozen epoch and two whole ones, in fp32."""
    base = params.load("recipes.lite0", ROOT / "params.yaml").model_dump()
    phases = [phase("head", 1, 0, 3), phase("all", 2, 0.5, 1)]
    small = {"size": (32, 48), "batch_size": 16, "phases": phases, "precision": "32-true"}
    return Recipe.model_validate(base | small | changes)


def phase(name: str, epochs: int, backbone: float, head: float) -> dict:
    return {"name": name, "epochs": epochs, "backbone": backbone, "head": head}


def examples(count: int, seed: int, size: tuple[int, int] = (36, 54)) -> Examples:
    """Images whose colour says their class, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 7
    hue = torch.rand((7, 3), generator=torch.Generator().manual_seed(99)) * 200
    noise = torch.rand((count, 3, *size), generator=generator) * 55
    return Examples((hue[labels].view(-1, 3, 1, 1) + noise).to(torch.uint8), labels)
