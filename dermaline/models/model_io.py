"""A trained model on disk: `model.safetensors` and `recipe.json`, all that is needed to use it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.base.files import replacing, rounded, write_json
from dermaline.models.folding import folded
from dermaline.models.model_info import read_model_info
from dermaline.models.network import Network, input_size
from dermaline.models.weights import read_tensors
from dermaline.params.recipe import Recipe


def save(folder: Path, weights: dict[str, torch.Tensor], recipe: Recipe, facts: dict) -> None:
    """Write a model folder whole: the weights, and the recipe with the class order and whatever `facts` add."""
    with replacing(folder) as partial:
        partial.mkdir(parents=True)
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in weights.items()}, partial / "model.safetensors"
        )
        settings = recipe.model_dump(mode="json")
        write_json(partial / "recipe.json", {"classes": CLASSES, "recipe": settings, **rounded(facts)}, exact=True)


def recipe(folder: Path) -> Recipe:
    """The recipe of a model folder.

    Raises:
        DermalineError: it is missing or broken, or the model's classes are not this version's.
    """
    with _clearly(folder):
        description = read_model_info(folder)
        classes, found = tuple(description["classes"]), Recipe.model_validate(description["recipe"])
    if classes != CLASSES:
        raise DermalineError(f"{folder}: made for the classes {list(classes)}; retrain it")
    return found


def load(folder: Path) -> tuple[Network, Recipe]:
    """The network of a model folder in evaluation mode, and its recipe; raises as `recipe`, for broken weights too."""
    found = recipe(folder)
    with _clearly(folder):
        weights = read_tensors(folder / "model.safetensors")
    network = Network(found, pretrained=False)
    try:
        network.load_state_dict(weights)
    except RuntimeError as problem:
        raise DermalineError(
            f"{folder}: weights and recipe do not match ({str(problem).splitlines()[1].strip()})"
        ) from None
    return network.eval(), found


def load_to_predict(folder: Path) -> tuple[Network, Recipe]:
    """As `load`, with batch norm folded into the convolutions: to be applied, not to be trained."""
    network, found = load(folder)
    return folded(network, input_size(found)), found


@contextmanager
def _clearly(folder: Path) -> Iterator[None]:
    """What a broken model raises, in one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as problem:
        reason = " ".join(str(problem).split())[:200]  # pydantic's and JSON's have several lines
        raise DermalineError(f"{folder}: not a trained model ({reason}); run its train stage") from None
