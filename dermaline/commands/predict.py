"""The command `predict`: trained models on photographs from anywhere, the results in a table."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from tqdm import tqdm

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.base.files import digest, replacing, require_file
from dermaline.base.parameters import Size
from dermaline.commands.release import DECISION, RELEASED
from dermaline.compute import in_words
from dermaline.evaluation.tables import SUSPECTED
from dermaline.inference.decision import Decision, load
from dermaline.inference.ensemble import OUT, Ensemble, Prediction, load_ensemble, plain
from dermaline.inference.views import VIEWS
from dermaline.models.model_info import read_model_info
from dermaline.ood import detector
from dermaline.params import whole
from dermaline.params.ood import FOLDER
from dermaline.user_files import forms, photographs
from dermaline.user_files.metadata_table import MetadataLookup, read_metadata

BACKEND = "onnx: compute in onnxruntime, on a CPU; quicker for hundreds of images (default: %(default)s)"
QUICK = {"tta": "none", "grid": (1, 1)}  # at each scale the middle, as it is
Predictor = Callable[[photographs.Block], Prediction]


class ModelSelection(NamedTuple):
    """Model folders, in the order of the decision's recipes, and how they decide, in words too."""

    folders: list[Path]
    decision: Decision
    description: str
    detector: Path | None = None  # of what is no dermatoscopic image, where there is one beside the models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an image, a folder, or a zip")
    add_model_arguments(parser)
    add_device_argument(parser)
    parser.add_argument("--backend", choices=("torch", "onnx"), default="torch", help=BACKEND)
    output = {"default": Path("predictions.csv"), "metavar": "FILE.csv", "help": "default: %(default)s"}
    parser.add_argument("--output", type=Path, **output)
    parser.add_argument("--format", choices=FORMATS, default="csv", help="isic: ISIC 2018 Task 3")
    parser.add_argument("--metadata", type=Path, metavar="TABLE", help="image_id and any of age, sex, localization")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What says which models are applied, and how: the arguments that `choose` looks at, and the views."""
    models = parser.add_mutually_exclusive_group()
    several = {"nargs": "+", "action": "extend", "default": [], "type": Path}
    models.add_argument("--model", **several, metavar="FOLDER", help="default: the released ones")
    models.add_argument("--last-run", action="store_true", help="the last run's models and decision")
    parser.add_argument("--decision", type=Path, metavar="FILE", help="of the --model; default: their plain mean")
    views = parser.add_mutually_exclusive_group()
    views.add_argument("--tta", choices=VIEWS, help="default: as the model or predict.tta")
    views.add_argument("--quick", action="store_true", help="one view at each scale: docs/using-a-model.md")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    devices = ("auto", "cpu", "cuda", "mps")
    parser.add_argument(
        "--device", choices=devices, default="auto", help="default: the first there is of cuda, mps, cpu"
    )


def main(options: argparse.Namespace) -> str:
    """Predict every photograph of `paths` and write a table; images that can't be used are named on stderr.

    Images are decoded at `prepare.size` and then resized to the network's input, as the pipeline does: the network
    sees what it was trained on, in shape and sharpness, and the numbers agree with those of the predict stage.

    Args:
        options: of `add_arguments`.

    Returns:
        A line that says what was done.

    Raises:
        DermalineError: something given is missing or wrong, or, once the others are written, images were bad.
    """
    output = options.output
    require_file(output)
    params, found = whole.read(), photographs.find(options.paths)
    selection = choose(options.model, options.decision, options.last_run)
    metadata = read_metadata(options.metadata, [one.image_id for one in found])
    ensemble = load_chosen(selection, options, params)
    if options.backend == "onnx":
        from dermaline.exporting.onnx_network import in_onnxruntime  # a second, which others need not wait

        ensemble = ensemble._replace(members=[in_onnxruntime(member) for member in ensemble.members])
    if ensemble.takes_metadata and options.metadata is None:
        print("note: a model uses age, sex and localization; without --metadata it sees none", file=sys.stderr)
    predict, sizes = predictor(ensemble, metadata, selection.detector)
    blocks = photographs.decoded(found, sizes, params.prepare.max_megapixels)
    with replacing(output) as partial, tqdm(total=len(found), disable=None) as progress:
        bad, strange = _write(partial, blocks, predict, FORMATS[options.format], progress)
        if bad == len(found):
            raise DermalineError(f"none of {bad} images could be used, see above; {output} is not written")
    if strange:
        what = f"{strange} of {len(found) - bad} images are unlike the dermatoscopic images of the training ({OUT})"
        print(f"note: {what}; do not rely on what is predicted of them", file=sys.stderr)
    if bad:
        raise DermalineError(f"{bad} of {len(found)} images could not be used, see above; the others are in {output}")
    tried = ", ".join(sorted({member.tta for member in ensemble.members}))
    device = in_words(ensemble.members[0].device)
    return f"{len(found)} images -> {output}; {selection.description}; tta {tried}; on {device}"


def choose(models: Sequence[Path], decision: Path | None, last_run: bool) -> ModelSelection:
    """The models and the decision that the options mean: when no model is named, the released ones or the last run's.

    Raises:
        DermalineError: there is no such decision, or it is of other models.
    """
    names = [path.resolve().name for path in models]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DermalineError(f"--model: two are called {min(twice)}; name each once, and give folders other names")
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
        folders, beside = [home / name for name in fitted.recipes], home / FOLDER
    else:
        fitted, named = load(decision), dict(zip(names, models, strict=True))
        if sorted(fitted.recipes) != sorted(names):
            wanted = ", ".join(fitted.recipes)
            raise DermalineError(f"{decision}: is of the models {wanted}; give --model for exactly these, or leave it")
        folders, beside = [named[name] for name in fitted.recipes], None
    fitted.require(folders)
    said = f"{', '.join(map(str, folders))}, decided by {decision}"
    if beside is None or not beside.exists():
        return ModelSelection(folders, fitted, said)
    detector.require_split(beside, [read_model_info(folder).get("split") for folder in folders])
    return ModelSelection(folders, fitted, said, beside)


def load_chosen(selection: ModelSelection, options: argparse.Namespace, params: whole.Params) -> Ensemble:
    """The models of a selection, on the device and with the views that the options name."""
    changes = QUICK if options.quick else {"tta": options.tta} if options.tta else None
    how = (selection.decision, options.device, params.predict, params.prepare.size, changes)
    return load_ensemble(selection.folders, *how)


def predictor(ensemble: Ensemble, metadata: MetadataLookup, folder: Path | None) -> tuple[Predictor, list[Size]]:
    """What predicts a block of photographs, and the sizes at which it needs them decoded."""
    sizes = set(ensemble.prepared_sizes)
    if folder is None:
        return lambda block: ensemble(block.images, metadata(block.image_ids)), sorted(sizes)
    detect = detector.load(folder, ensemble.members[0].device.device)
    size = detect.facts.prepared_size

    def predict(block: photographs.Block) -> Prediction:
        strange = detect(torch.from_numpy(block.images[size]).permute(0, 3, 1, 2))
        return ensemble(block.images, metadata(block.image_ids))._replace(out_of_distribution=strange)

    return predict, sorted({*sizes, size})


def _write(
    path: Path,
    blocks: Iterator[photographs.Block],
    predict: Predictor,
    to_table: Callable[[list[str], Prediction], pd.DataFrame],
    progress: tqdm,
) -> tuple[int, int]:
    """Write the rows of block after block.

    Returns:
        The number of bad images, each named on stderr, and that of images out of distribution.
    """
    header, bad, strange = True, 0, 0
    # A file's name may be any bytes, which no encoding has.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for block in blocks:
            for name, reason in block.bad.items():
                progress.write(f"skipped {name}: {reason}", file=sys.stderr)
            if block.image_ids:
                prediction = predict(block)
                strange += 0 if prediction.out_of_distribution is None else int(prediction.out_of_distribution.sum())
                to_table(block.image_ids, prediction).to_csv(file, index=False, header=header, lineterminator="\n")
                header = False
            bad += len(block.bad)
            progress.update(len(block.image_ids) + len(block.bad))
    return bad, strange


def _own(image_ids: list[str], prediction: Prediction) -> pd.DataFrame:
    table = prediction.table(image_ids)
    shown = {name: table[name].map("{:.7f}".format) for name in CLASSES}
    told = [name for name in (SUSPECTED, "not_sure", OUT) if name in table]
    words = {name: table[name].map({True: "true", False: "false"}) for name in told}
    return table.assign(**shown, **words)


def _isic(image_ids: list[str], prediction: Prediction) -> pd.DataFrame:
    """With every digit: the scorer counts a row whose largest value stands there twice as wrong."""
    return forms.to_isic(image_ids, prediction.confidences)


FORMATS: dict[str, Callable[[list[str], Prediction], pd.DataFrame]] = {"csv": _own, "isic": _isic}
