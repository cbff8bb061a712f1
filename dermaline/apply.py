"""The command `predict`: trained models on photographs from anywhere, the results in a table."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import pandas as pd
from tqdm import tqdm

from dermaline import forms, params, release
from dermaline.classes import CLASSES
from dermaline.compute import in_words
from dermaline.data import photographs
from dermaline.errors import DermalineError
from dermaline.files import replacing, require_file
from dermaline.inference.decision import Decision, load
from dermaline.inference.ensemble import Ensemble, Outcome, Preparation, load_member, plain
from dermaline.models.store import facts
from dermaline.patients import Known, read_metadata

Home = tuple[Path, Path]  # a decision, and the folder with the models it is of
LAST_RUN: Home = (Path("metrics/decision.json"), Path("models"))
RELEASED: Home = (release.RELEASED / "decision.json", release.RELEASED)


class Chosen(NamedTuple):
    """Model folders, in the order of the decision's recipes, and how they decide, in words too."""

    folders: list[Path]
    decision: Decision
    said: str


def predict(
    paths: Sequence[Path],
    models: Sequence[Path],
    decision: Path | None,
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
        decision: what `evaluate` wrote; without one, named models are averaged plainly.
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
    options, found = params.read(), photographs.find(paths)
    chosen = choose(models, decision)
    known = read_metadata(metadata, [one.image_id for one in found])
    preparation = Preparation(options.prepare.size, options.predict.tta)
    members = [load_member(folder, device, preparation, tta) for folder in chosen.folders]
    ensemble = Ensemble(members, chosen.decision)
    if ensemble.takes_metadata and metadata is None:
        print("note: a model uses age, sex and localization; without --metadata it sees none", file=sys.stderr)
    blocks = photographs.decoded(found, ensemble.prepared_sizes, options.prepare.max_megapixels)
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


def choose(models: Sequence[Path], decision: Path | None) -> Chosen:
    """The models and the decision that the options mean.

    When no model is named it is the last run's, or else the released one; a last run's that was trained on generated
    images knows nothing of real skin, and comes last.

    Raises:
        DermalineError: there are none, or they do not belong together.
    """
    if models and decision is None:
        said = "one model" if len(models) == 1 else f"plain mean of {len(models)} models"
        return Chosen(list(models), plain([str(path) for path in models]), f"{said}, not calibrated, largest decides")
    if models:
        fitted, folders = load(decision), {path.name: path for path in models}
        if sorted(fitted.recipes) != sorted(path.name for path in models):
            wanted = ", ".join(fitted.recipes)
            raise DermalineError(f"{decision}: is of the models {wanted}; give --model for exactly these, or leave it")
        return Chosen([folders[name] for name in fitted.recipes], fitted, f"decided by {decision}")
    missing, toys = [], []
    for file, home in _homes(decision):
        if decision is None and not file.exists():
            missing.append(file)
            continue
        fitted = load(file)
        folders = [home / name for name in fitted.recipes]
        absent = [folder for folder in folders if not (folder / "recipe.json").exists()]
        missing += absent
        if not absent:
            found = Chosen(folders, fitted, f"{', '.join(map(str, folders))}, decided by {file}")
            if not any(facts(folder).get("generated") for folder in folders):
                return found
            toys.append(found)
    if toys:
        return toys[0]
    raise DermalineError(f"{', '.join(map(str, missing))}: not there; run dvc repro, or name a model with --model")


def _homes(decision: Path | None) -> list[Home]:
    """Where models may be: anywhere, but those of the last run's decision or of the released one at its own place."""
    homes = [LAST_RUN, RELEASED]
    if decision is None:
        return homes
    own = [home for home in homes if home[0].resolve() == decision.resolve()]
    return own or [(decision, folder) for _, folder in homes]


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
