"""A released model: the last run's models in half precision, with all that `predict` needs, in git."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from dermaline.base.errors import DermalineError
from dermaline.base.files import digest, read_json, replacing, rounded, write_json
from dermaline.commands.record import require_last_run
from dermaline.evaluation.summary import key_metrics
from dermaline.inference.decision import Decision, load
from dermaline.models.model_info import check_clean, read_model_info
from dermaline.params import whole
from dermaline.params.ood import OOD_FOLDER

RELEASED = Path("released")
DECISION = RELEASED / "decision.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    more = "one model that predict --model takes; what it takes without stays as it is"
    parser.add_argument("--beside", action="store_true", help=more)


def main(options: argparse.Namespace) -> str:
    return release(options.beside)


def release(beside: bool = False) -> str:
    """`write` the models of the last run; raises also when files or parameters are not as that left them."""
    require_last_run()
    return write(beside)


def write(beside: bool = False) -> str:
    """Write `released/`: the models of metrics/decision.json, that decision, and what was measured of each on the test.

    Weights are stored as float16, half the bytes, but for those beyond its range (a variance of ResNet-50's first batch
    norm is); they are computed with as before. Other models there stay: a recipe may start from one. Beside them goes
    the detector of what is no dermatoscopic image, as it is.

    Args:
        beside: write one model alone, with its decision in its folder, and leave what is used without a name.

    Raises:
        DermalineError: the models are not those of the last run, were trained on generated images, or have seen
            images of their test; it is not one to write beside others, or one of those.
    """
    decision, views = load(Path("metrics/decision.json")), whole.read().predict.model_dump(mode="json")
    details = read_json(Path("metrics/details.json"))
    if beside:
        _require_apart(decision.recipes)
    decision.require([Path("models", name) for name in decision.recipes])
    said = {name: read_model_info(Path("models", name)) for name in decision.recipes}
    for name, known in said.items():  # before anything is written: models and decision belong together
        if known.get("generated"):
            raise DermalineError(f"models/{name}: trained on generated images, which is nothing to release")
        check_clean(name, known)
    for name, known in said.items():
        measured = rounded(key_metrics(details[name]["image_level"]))
        _write(name, known | {"predict": views, "test": measured}, decision if beside else None)
    detector = Path("models", OOD_FOLDER)
    if detector.exists() and not beside:
        with replacing(RELEASED / OOD_FOLDER) as folder:
            shutil.copytree(detector, folder)
    if not beside:
        _save(decision, {name: RELEASED / name for name in decision.recipes}, DECISION)
    return f"{RELEASED}: {', '.join(decision.recipes)}"


def _require_apart(recipes: Sequence[str]) -> None:
    if len(recipes) > 1:
        raise DermalineError(f"--beside takes one model, and the last run has {', '.join(recipes)}")
    if DECISION.exists() and recipes[0] in load(DECISION).recipes:
        raise DermalineError(f"--beside: {RELEASED / recipes[0]} is used without a name; rename the recipe")


def _write(name: str, known: dict[str, Any], decision: Decision | None) -> None:
    """Write one model's folder whole, with what is known of it, and a decision of its own if it has one."""
    weights = load_file(Path("models", name, "model.safetensors"))
    with replacing(RELEASED / name) as folder:
        folder.mkdir()
        save_file({key: halved(value) for key, value in weights.items()}, folder / "model.safetensors")
        write_json(folder / "recipe.json", known, exact=True)
        if decision:
            _save(decision, {name: folder}, folder / DECISION.name)


def _save(decision: Decision, folders: dict[str, Path], path: Path) -> None:
    """The decision, of the models in half precision, which say themselves what views they want."""
    halves = {name: digest(folder / "model.safetensors") for name, folder in folders.items()}
    decision.model_copy(update={"models": halves, "views": None}).save(path)


def halved(value: torch.Tensor) -> torch.Tensor:
    """As float16, if it is float32 and stays finite."""
    half = value.half()
    return half if value.dtype == torch.float32 and half.isfinite().all() else value
