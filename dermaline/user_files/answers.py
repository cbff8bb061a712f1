"""Predictions and the truth from files of people's own, in our form or ISIC's, read so that they can be scored.

What is only written otherwise (rounded, in per cent, as file names) is taken and said on stderr; what may be wrong is
refused.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.data import words
from dermaline.evaluation import tables
from dermaline.evaluation.tables import SUSPECTED
from dermaline.user_files import forms
from dermaline.user_files.photographs import less_suffix

ROUNDED = 0.01  # by which a sum of probabilities may miss 1 when they were rounded to three digits or half precision
WEIGHT = "score_weight"
WITHDRAWN = "ISIC_0035068"  # the challenge's scorer gives it weight 0 in any truth; it is not among the images


class Predictions(NamedTuple):
    """`image_id`, a number of each class, `predicted`, and `melanoma_suspected` as bools where it is filled."""

    table: pd.DataFrame
    chances: bool  # whether the numbers of a row sum to 1


class Truth(NamedTuple):
    """`image_id`, `dx`, and `lesion_id` when there is one, of the images that count."""

    table: pd.DataFrame
    unscored: list[str]  # the images that don't


def read_predictions(path: Path, unscored: Sequence[str] = ()) -> Predictions:
    """Read predictions in either form, without the images that are not scored, whatever they say of these.

    Raises:
        DermalineError: a column, an id or a value is missing or wrong.
    """
    table, isic = _read(path)
    missing = [name for name in ("predicted", *CLASSES) if name not in table and not isic]
    if missing:
        raise DermalineError(f"{path}: no column '{missing[0]}'; give what python -m dermaline predict wrote")
    found = _numbers(path, table[~table["image_id"].isin(unscored)], isic)
    if isic:
        return found._replace(table=_largest(path, found.table))
    table = found.table
    tables.check(path, table, ~table["predicted"].isin(CLASSES), f"predicted is not one of {', '.join(CLASSES)}")
    if SUSPECTED not in table or table[SUSPECTED].isna().all():
        return found._replace(table=table.drop(columns=SUSPECTED, errors="ignore"))
    said = table[SUSPECTED].str.lower()
    tables.check(path, table, ~said.isin(["true", "false"]), f"{SUSPECTED} is neither true nor false")
    return found._replace(table=table.assign(**{SUSPECTED: said == "true"}))


def _read(path: Path) -> tuple[pd.DataFrame, bool]:
    """A table with our names, whose ids may have been the names of image files, and whether it is in ISIC's form."""
    table = forms.read(path)
    isic = "image" in table and "image_id" not in table
    table = forms.from_isic(path, table) if isic else table
    if "image_id" in table:
        plain = table["image_id"].map(less_suffix, na_action="ignore")
        table = table.assign(image_id=plain.mask(plain.duplicated(keep=False), table["image_id"]))
    return forms.by_id(path, table), isic


def _numbers(path: Path, table: pd.DataFrame, isic: bool) -> Predictions:
    """The table with numbers: as they are, or made to sum to 1, or, in ISIC's form alone, not summing to 1."""
    numbers = table[[*CLASSES]].apply(pd.to_numeric, errors="coerce")
    if len(table) and ((numbers.sum(axis=1) - 100).abs() <= 100 * ROUNDED).all():
        _note(path, "the probabilities are in per cent, and are divided by 100")
        table = table.assign(**numbers / 100)
    table = tables.with_numbers(path, table)
    far = tables.off(table) > ROUNDED
    if far.any() and isic:
        _note(path, f"{_rows(table, far)} not summing to 1: what needs probabilities (nll, brier, ece) is left out")
        return Predictions(table, chances=False)
    tables.check(path, table, far, "the probabilities do not sum to 1")
    rounded = tables.off(table) > tables.SUM_TOLERANCE
    if not rounded.any():
        return Predictions(table, chances=True)
    _note(path, f"{_rows(table, rounded)} not quite summing to 1: all are divided by their sums")
    shares = table[[*CLASSES]].div(table[[*CLASSES]].sum(axis=1), axis=0)
    return Predictions(table.assign(**shares), chances=True)


def _largest(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the class of the largest confidence as `predicted`, the first in our order of several such."""
    confidences = tables.probabilities(table)
    tied = pd.Series((confidences == confidences.max(axis=1, keepdims=True)).sum(axis=1) > 1)
    if tied.any():
        _note(path, f"{_rows(table, tied)} with two largest confidences: the first counts, ISIC's scorer takes neither")
    return table.assign(predicted=np.array(CLASSES)[confidences.argmax(axis=1)])


def read_truth(path: Path) -> Truth:
    """Read the truth in either form; raises as for predictions."""
    table, isic = _read(path)
    if not isic and "dx" not in table:
        raise DermalineError(f"{path}: no column 'dx'; give image_id and dx, or ISIC's image, MEL, NV, ...")
    table, unscored = _weighted(path, table)
    if isic:
        marks = table[[*CLASSES]].apply(pd.to_numeric, errors="coerce")
        wrong = ~marks.isin([0, 1]).all(axis=1) | (marks.sum(axis=1) != 1)
        tables.check(path, table, wrong, "there is not one 1 and else 0 among the diagnoses")
        table = table.assign(dx=marks.idxmax(axis=1))
    tables.check(path, table, ~table["dx"].isin(CLASSES), f"dx is not one of {', '.join(CLASSES)}")
    if "lesion_id" not in table:
        return Truth(table[["image_id", "dx"]], unscored)
    tables.check(path, table, table["lesion_id"].isna(), "has no lesion_id; fill it in, or leave out the column")
    alike = words.alike(table["lesion_id"])
    if alike:
        raise DermalineError(
            f"{path}: lesions {' and '.join(alike)} differ by case alone; make them one, or rename one"
        )
    several = table.groupby("lesion_id")["dx"].transform("nunique") > 1
    tables.check(path, table, several, "its lesion has two diagnoses; a lesion has one, correct it")
    return Truth(table[["image_id", "dx", "lesion_id"]], unscored)


def _weighted(path: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows of weight 1, and the images of weight 0."""
    weight = pd.to_numeric(table.get(WEIGHT, pd.Series(1, table.index)), errors="coerce")
    tables.check(path, table, ~weight.isin([0, 1]), f"{WEIGHT} is neither 0 nor 1; no other is known here")
    unscored = (weight == 0) | (table["image_id"] == WITHDRAWN)
    if unscored.all():
        raise DermalineError(f"{path}: every {WEIGHT} is 0; there is nothing to score")
    if unscored.any():
        _note(path, f"{_rows(table, unscored)} of weight 0 left out")
    return table[~unscored], table["image_id"][unscored].tolist()


def joined(first: Path, predictions: Predictions, second: Path, truth: Truth) -> pd.DataFrame:
    """Predictions and truth side by side, in the order of the truth.

    Raises:
        DermalineError: an image is in one of them only: a score of what happens to be in both is no score.
    """
    one, other = predictions.table, truth.table
    alone = {
        first: one.image_id[~one.image_id.isin(other.image_id)],
        second: other.image_id[~other.image_id.isin(one.image_id)],
    }
    if any(len(ids) for ids in alone.values()):
        said = [f"{len(ids)} only in {path} (such as {ids.iloc[0]})" for path, ids in alone.items() if len(ids)]
        raise DermalineError(f"not the same images: {'; '.join(said)}; cut the longer one down")
    return other.merge(one.drop(columns=["dx", "lesion_id"], errors="ignore"), on="image_id")


def _rows(table: pd.DataFrame, chosen: pd.Series) -> str:
    count = int(chosen.sum())
    return f"{count} row{'s' if count > 1 else ''}, the first {tables.where(table, chosen)},"


def _note(path: Path, what: str) -> None:
    print(f"note: {path}: {what}", file=sys.stderr)
