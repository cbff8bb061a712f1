"""The command `predict`: trained models on photographs from anywhere, the results in a table."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import pandas as pd
from tqdm import tqdm

from dermaline import forms
from dermaline.classes import CLASSES
from dermaline.compute import in_words
from dermaline.data import photographs
from dermaline.errors import DermalineError
from dermaline.files import replacing, require_file
from dermaline.inference.decision import Decision, load
from dermaline.inference.ensemble import Ensemble, Outcome, plain
from dermaline.inference.member import Member, load_member
from dermaline.inference.views import VIEWS
from dermaline.models.store import facts
from dermaline.params import whole
from dermaline.params.base import Size
from dermaline.params.whole import Params
from dermaline.patients import Known, read_metadata
from dermaline.release import DECISION, RELEASED


class Chosen(NamedTuple):
    """Model folders, in the order of the decision's recipes, and how they decide, in words too."""

    folders: list[Path]
    decision: Decision
    said: str


def predict(
    paths: Sequence[Path],
    models: Sequence[Path],
    decision: Path | None,
    last_run: bool,
    output: Path,
    form: str,
    metadata: Path | None,
    tta: str | None,
    device: str,
) -> str:
    """Predict every photograph of `paths` and write a table; images that can't be used are named on stderr.

    Images are decoded at `prepare.size` and then resized to the network's input, as the pipeline does: the network
    sees what it was trained on, in shape and sharpness, and the numbers agree with those of the predict stage.

    Args:
        paths: image files, folders and zips, see `photographs.find`.
        models: model folders; none: see `choose`.
        decision: of exactly these models, what `evaluate` wrote; without one they are averaged plainly.
        last_run: whether it is the last run's models, not the released ones, when none are named.
        output: the CSV file to write, whole or not at all.
        form: a key of `FORMS`.
        metadata: a table as of `read_metadata`; None, and images it lacks: nothing is known.
        tta: None is as the model's folder or `predict.tta` says.
        device: as `compute.device`.

    Returns:
        A line that says what was done.

    Raises:
        DermalineError: something given is missing or wrong, or, once the others are written, images were bad.
    """
    require_file(output)
    options, found = whole.read(), photographs.find(paths)
    chosen = choose(models, decision, last_run)
    known = read_metadata(metadata, [one.image_id for one in found])
    members, sizes = zip(*(_member(folder, device, tta, options) for folder in chosen.folders), strict=True)
    ensemble = Ensemble(members, sizes, chosen.decision)
    if ensemble.takes_metadata and metadata is None:
        print("note: a model uses age, sex and localization; without --metadata it sees none", file=sys.stderr)
    blocks = photographs.decoded(found, sorted(set(sizes)), options.prepare.max_megapixels)
    with replacing(output) as partial:
        with (
            # A file's name may be any bytes, which no encoding has.
            partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
            tqdm(total=len(found), disable=None) as progress,
        ):
            bad = _write(file, blocks, ensemble, known, FORMS[form], progress)
        if bad == len(found):
            raise DermalineError(f"none of {bad} images could be used, see above; {output} is not written")
    if bad:
        raise DermalineError(f"{bad} of {len(found)} images could not be used, see above; the others are in {output}")
    tried = ", ".join(sorted({member.tta for member in members}))
    return f"{len(found)} images -> {output}; {chosen.said}; tta {tried}; on {in_words(members[0].device)}"


def choose(models: Sequence[Path], decision: Path | None, last_run: bool) -> Chosen:
    """The models and the decision that the options mean: when no model is named, the released ones or the last run's.

    Raises:
        DermalineError: there is no such decision, or it is of other models.
    """
    if len(set(models)) < len(models):
        raise DermalineError("--model: one is named twice; name each once")
    if models and decision is None:
        said = "one model" if len(models) == 1 else f"plain mean of {len(models)} models"
        return Chosen(list(models), plain([str(path) for path in models]), f"{said}, not calibrated, largest decides")
    if decision is not None and not models:
        raise DermalineError(f"{decision}: of which models? name them with --model")
    if decision is None:
        home, decision = (Path("models"), Path("metrics/decision.json")) if last_run else (RELEASED, DECISION)
        fitted = load(decision)
        folders = [home / name for name in fitted.recipes]
    else:
        fitted, named = load(decision), {path.name: path for path in models}
        if sorted(fitted.recipes) != sorted(path.name for path in models):
            wanted = ", ".join(fitted.recipes)
            raise DermalineError(f"{decision}: is of the models {wanted}; give --model for exactly these, or leave it")
        folders = [named[name] for name in fitted.recipes]
    fitted.require(folders)
    return Chosen(folders, fitted, f"{', '.join(map(str, folders))}, decided by {decision}")


def _member(folder: Path, device: str, tta: str | None, otherwise: Params) -> tuple[Member, Size]:
    """A model, and the size at which images are decoded for it: as its folder says, or else the parameters."""
    stated = facts(folder)
    tta = tta or stated.get("tta", otherwise.predict.tta)
    if tta not in VIEWS:
        raise DermalineError(f"{folder / 'recipe.json'}: tta: '{tta}' is not one of {', '.join(VIEWS)}")
    size = tuple(stated.get("prepared_size", otherwise.prepare.size))
    return load_member(folder, device, tta, portable=False), size


def _write(
    file: TextIO,
    blocks: Iterator[photographs.Block],
    ensemble: Ensemble,
    known: Known,
    form: Callable[[list[str], Outcome], pd.DataFrame],
    progress: tqdm,
) -> int:
    """Write the rows of block after block; gives the number of bad images, each named on stderr."""
    header, bad = True, 0
    for block in blocks:
        for name, reason in block.bad.items():
            progress.write(f"skipped {name}: {reason}", file=sys.stderr)
        if block.image_ids:
            outcome = ensemble(block.images, known(block.image_ids))
            form(block.image_ids, outcome).to_csv(file, index=False, header=header, lineterminator="\n")
            header = False
        bad += len(block.bad)
        progress.update(len(block.image_ids) + len(block.bad))
    return bad


def _own(image_ids: list[str], outcome: Outcome) -> pd.DataFrame:
    suspected = "" if outcome.suspected is None else np.where(outcome.suspected, "true", "false")
    shown = {
        name: [f"{value:.7f}" for value in column]
        for name, column in zip(CLASSES, outcome.probabilities.T, strict=True)
    }
    predicted = np.array(CLASSES)[outcome.predicted]
    return pd.DataFrame({"image_id": image_ids, "predicted": predicted, **shown, "melanoma_suspected": suspected})


def _isic(image_ids: list[str], outcome: Outcome) -> pd.DataFrame:
    """With every digit: the scorer counts a row whose largest value stands there twice as wrong."""
    return forms.to_isic(image_ids, outcome.confidences)


FORMS: dict[str, Callable[[list[str], Outcome], pd.DataFrame]] = {"csv": _own, "isic": _isic}
