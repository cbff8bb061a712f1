"""The command `score`: predictions against the truth, by the same code as the evaluate stage."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermaline import forms, params
from dermaline.classes import CLASSES, DIAGNOSES
from dermaline.errors import DermalineError
from dermaline.evaluation import summary, tables
from dermaline.evaluation.bootstrap import CONFIDENCE
from dermaline.evaluation.metrics import HEADLINE, PER_CLASS
from dermaline.files import require_file, write_json

SUSPECTED = "melanoma_suspected"
REPLICATES = (10, 100_000)


def score(predictions: Path, truth: Path, output: Path, replicates: int) -> str:
    """Measure predictions, write all of it as JSON, and say the main things.

    Args:
        predictions: what `predict` wrote: `image_id`, `predicted`, seven probabilities, maybe `melanoma_suspected`;
            or ISIC's form, where the largest confidence is the prediction.
        truth: `image_id`, `dx`, or ISIC's form with a 1 for the diagnosis; with `lesion_id` intervals are drawn by
            lesion, else by image. Other columns (a weight, say) are not looked at.
        output: the JSON file to write: the files, `interval_by`, `image_level` and, where a melanoma threshold was
            applied, `melanoma_operating_point`, both as in `metrics/details.json`.
        replicates: of the bootstrap; its seed and the calibration's bins are those of `params.yaml`.

    Raises:
        DermalineError: a file is wrong, or the two are not about the same images.
    """
    if not REPLICATES[0] <= replicates <= REPLICATES[1]:
        raise DermalineError(f"score: --bootstrap {replicates} is outside {REPLICATES[0]} to {REPLICATES[1]}")
    require_file(output)
    options = params.read().evaluate.model_copy(update={"bootstrap": replicates})
    table = joined(predictions, read_predictions(predictions), truth, read_truth(truth))
    unit = "lesion" if "lesion_id" in table else "image"
    table = table.assign(group=table[f"{unit}_id"])
    found: dict[str, Any] = {"predictions": predictions.as_posix(), "truth": truth.as_posix(), "interval_by": unit}
    found["image_level"] = summary.scores(table, options)
    if SUSPECTED in table:
        found[summary.OPERATING_POINT] = summary.operating_point(table, table[SUSPECTED].to_numpy(bool), options)
    write_json(output, found)
    return f"{in_words(found)}\n\n{note(table, unit, replicates)}; details: {output}"


def read_predictions(path: Path) -> pd.DataFrame:
    """Read predictions in either form.

    Returns:
        `image_id`, the probabilities as numbers, `predicted`, and `melanoma_suspected` as bools where it is filled.

    Raises:
        DermalineError: a column, an id or a value is missing or wrong.
    """
    table = forms.read(path)
    if "image" in table:
        table = tables.with_numbers(path, forms.by_id(path, forms.from_isic(path, table)))
        return table.assign(predicted=np.array(CLASSES)[tables.probabilities(table).argmax(axis=1)])
    missing = [name for name in ("image_id", "predicted", *CLASSES) if name not in table]
    if missing:
        raise DermalineError(f"{path}: no column '{missing[0]}'; give what python -m dermaline predict wrote")
    table = tables.with_numbers(path, forms.by_id(path, table))
    tables.check(path, table, ~table["predicted"].isin(CLASSES), f"predicted is not one of {', '.join(CLASSES)}")
    if SUSPECTED not in table or table[SUSPECTED].isna().all():
        return table.drop(columns=SUSPECTED, errors="ignore")
    said = table[SUSPECTED].str.lower()
    tables.check(path, table, ~said.isin(["true", "false"]), f"{SUSPECTED} is neither true nor false")
    return table.assign(**{SUSPECTED: said == "true"})


def read_truth(path: Path) -> pd.DataFrame:
    """Read the truth in either form: `image_id`, `dx`, and `lesion_id` when there is one; raises as for predictions."""
    table = forms.read(path)
    if "image" in table:
        table = forms.by_id(path, forms.from_isic(path, table))
        marks = table[[*CLASSES]].apply(pd.to_numeric, errors="coerce")
        wrong = ~marks.isin([0, 1]).all(axis=1) | (marks.sum(axis=1) != 1)
        tables.check(path, table, wrong, "there is not one 1 and else 0 among the diagnoses")
        table = table.assign(dx=np.array(CLASSES)[marks.to_numpy().argmax(axis=1)])
    elif "dx" in table:
        table = forms.by_id(path, table)
        tables.check(path, table, ~table["dx"].isin(CLASSES), f"dx is not one of {', '.join(CLASSES)}")
    else:
        raise DermalineError(f"{path}: no column 'dx'; give image_id and dx, or ISIC's image, MEL, NV, ...")
    if "lesion_id" not in table:
        return table[["image_id", "dx"]]
    tables.check(path, table, table["lesion_id"].isna(), "has no lesion_id; fill it in, or leave out the column")
    return table[["image_id", "dx", "lesion_id"]]


def joined(first: Path, predictions: pd.DataFrame, second: Path, truth: pd.DataFrame) -> pd.DataFrame:
    """Predictions and truth side by side, in the order of the truth.

    Raises:
        DermalineError: an image is in one of them only: a score of what happens to be in both is no score.
    """
    alone = {
        first: predictions.image_id[~predictions.image_id.isin(truth.image_id)],
        second: truth.image_id[~truth.image_id.isin(predictions.image_id)],
    }
    if any(len(ids) for ids in alone.values()):
        said = [f"{len(ids)} only in {path} (such as {ids.iloc[0]})" for path, ids in alone.items() if len(ids)]
        raise DermalineError(f"not the same images: {'; '.join(said)}; cut the longer one down")
    known = predictions.drop(columns=["dx", "lesion_id"], errors="ignore")
    return truth.merge(known, on="image_id")


def in_words(found: dict[str, Any]) -> str:
    """The headline with its intervals, and a row for each class."""
    scores = found["image_level"]
    lines = [_line(name, scores) for name in HEADLINE if name in scores]
    point = found.get(summary.OPERATING_POINT, {})
    lines += [_line(name, point, " at threshold") for name in point if name != "intervals"]
    head = f"{'':22}{'support':>9}" + "".join(f"{name.replace('average_precision', 'AP'):>13}" for name in PER_CLASS)
    lines += ["", head]
    for name, values in scores["per_class"].items():
        cells = "".join(f"{values[metric]:13.3f}" if metric in values else f"{'-':>13}" for metric in PER_CLASS)
        lines.append(f"{DIAGNOSES[name]:22}{values['support']:9,}{cells}")
    return "\n".join(lines)


def _line(name: str, scores: dict[str, Any], more: str = "") -> str:
    ends = scores["intervals"].get(name)
    between = f"  ({ends['low']:.3f} to {ends['high']:.3f})" if ends else ""
    return f"{name.replace('_', ' ') + more:42}{scores[name]:.3f}{between}"


def note(table: pd.DataFrame, unit: str, replicates: int) -> str:
    """What the numbers are of, and how the intervals were drawn."""
    how = f"{CONFIDENCE:.0%} intervals from {replicates:,} draws of {unit}s"
    if unit == "lesion":
        return f"{len(table):,} images of {table['lesion_id'].nunique():,} lesions; {how}"
    return f"{len(table):,} images; {how}: no lesion_id, so they are too narrow if a lesion has several images"
