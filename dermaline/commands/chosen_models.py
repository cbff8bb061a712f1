"""Which models a command applies: its options for that, the models and the decision they mean, loaded."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from dermaline.base.errors import DermalineError
from dermaline.base.files import digest
from dermaline.base.parameters import Size
from dermaline.commands.release import DECISION, RELEASED
from dermaline.data.photographs import channels_first
from dermaline.inference.decision import Decision, load
from dermaline.inference.ensemble import Ensemble, Prediction, load_ensemble, plain
from dermaline.inference.views import VIEWS
from dermaline.models.model_info import read_model_info
from dermaline.ood import detector
from dermaline.params import whole
from dermaline.params.ood import OOD_FOLDER
from dermaline.user_files import photographs

BACKENDS = ("torch", "onnx")
QUICK = {"tta": "none", "grid": (1, 1)}  # at each scale the middle, as it is
Predictor = Callable[[photographs.Block, torch.Tensor | None], Prediction]  # and what is known, as `Ensemble` takes it


class ModelSelection(NamedTuple):
    """Model folders, in the order of the decision's recipes, and how they decide, in words too."""

    folders: list[Path]
    decision: Decision
    description: str
    detector: Path | None = None  # of what is no dermatoscopic image, where there is one beside the models


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What says which models are applied, and how: the arguments that `choose` looks at, and the views."""
    models = parser.add_mutually_exclusive_group()
    several = {"nargs": "+", "action": "extend", "default": [], "type": Path}
    models.add_argument("--model", **several, metavar="FOLDER", help="default: the released ones")
    models.add_argument("--last-run", action="store_true", help="the last run's models and decision")
    more = "of the --model; default: the one in its folder, or else their plain mean"
    parser.add_argument("--decision", type=Path, metavar="FILE", help=more)
    views = parser.add_mutually_exclusive_group()
    views.add_argument("--tta", choices=VIEWS, help="default: as the model or predict.tta")
    views.add_argument("--quick", action="store_true", help="one view at each scale: docs/using-a-model.md")


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """What says where the models compute: `load_chosen` looks at the device, `in_backend` takes the backend."""
    devices = ("auto", "cpu", "cuda", "mps")
    parser.add_argument(
        "--device", choices=devices, default="auto", help="default: the first there is of cuda, mps, cpu"
    )
    more = "onnx: compute in onnxruntime, on a CPU; it takes some seconds more to start (default: %(default)s)"
    parser.add_argument("--backend", choices=BACKENDS, default="torch", help=more)


def choose(models: Sequence[Path], decision: Path | None, last_run: bool) -> ModelSelection:
    """The models and the decision that the options mean: when no model is named, the released ones or the last run's.

    One that was released beside others has its own decision in its folder, and shares their detector.

    Raises:
        DermalineError: there is no such decision, or it is of other models.
    """
    names = [path.resolve().name for path in models]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DermalineError(f"--model: two are called {min(twice)}; name each once, and give folders other names")
    beside, advice = None, "run dvc repro"
    if decision is None and len(models) == 1 and (own := models[0] / DECISION.name).exists():
        decision, beside, advice = own, models[0].parent / OOD_FOLDER, f"add --decision {own} to go without"
    if models and decision is None:
        what = "one model" if len(models) == 1 else f"plain mean of {len(models)} models"
        weights = [path / "model.safetensors" for path in models]
        digests = [digest(path) if path.exists() else "" for path in weights]  # what is not there is said on loading
        decided = plain(names).model_copy(update={"models": dict(zip(names, digests, strict=True))})
        return ModelSelection(list(models), decided, f"{what}, not calibrated, largest decides")
    if decision is not None and not models:
        raise DermalineError(f"{decision}: of which models? name them with --model")
    if decision is None:
        home, decision = (Path("models"), Path("metrics/decision.json")) if last_run else (RELEASED, DECISION)
        fitted = load(decision)
        folders, beside = [home / name for name in fitted.recipes], home / OOD_FOLDER
    else:
        fitted, named = load(decision), dict(zip(names, models, strict=True))
        if sorted(fitted.recipes) != sorted(names):
            wanted = ", ".join(fitted.recipes)
            raise DermalineError(f"{decision}: is of the models {wanted}; give --model for exactly these, or leave it")
        folders = [named[name] for name in fitted.recipes]
    fitted.require(folders)
    said = f"{', '.join(map(str, folders))}, decided by {decision}"
    if beside is None or not beside.exists():
        return ModelSelection(folders, fitted, said)
    detector.require_split(beside, [read_model_info(folder).get("split") for folder in folders], advice)
    return ModelSelection(folders, fitted, said, beside)


def load_chosen(selection: ModelSelection, options: argparse.Namespace, params: whole.Params) -> Ensemble:
    """The models of a selection, on the device and with the views that the options name."""
    for folder in selection.folders:
        if read_model_info(folder).get("generated"):
            print(
                f"note: {folder} learned from generated images; what it says of photographs means nothing",
                file=sys.stderr,
            )
    changes = QUICK if options.quick else {"tta": options.tta} if options.tta else None
    how = (selection.decision, options.device, params.predict, params.prepare.size, changes)
    return load_ensemble(selection.folders, *how)


def in_backend(ensemble: Ensemble, backend: str) -> Ensemble:
    """The same models, whose networks compute in PyTorch (`torch`), as they are, or in onnxruntime (`onnx`).

    Raises:
        DermalineError: onnxruntime on another device than a CPU.
    """
    if backend == "torch":
        return ensemble
    from dermaline.exporting.onnx_network import in_onnxruntime  # a second, which others need not wait

    return ensemble._replace(members=[in_onnxruntime(member) for member in ensemble.members])


def predictor(ensemble: Ensemble, folder: Path | None) -> tuple[Predictor, list[Size]]:
    """What predicts a block of photographs, and the sizes at which it needs them decoded."""
    sizes = set(ensemble.prepared_sizes)
    if folder is None:
        return lambda block, metadata: ensemble(block.images, metadata), sorted(sizes)
    detect = detector.load(folder, ensemble.members[0].fabric.device)
    size = detect.facts.prepared_size

    def predict(block: photographs.Block, metadata: torch.Tensor | None) -> Prediction:
        strange = detect(channels_first(block.images[size]))
        return ensemble(block.images, metadata)._replace(out_of_distribution=strange)

    return predict, sorted({*sizes, size})
