"""The table of predictions: reading it, adding what was decided, averaging over the photographs of a lesion.

As `predict` wrote it, a row holds `IDENTITY`, `model` (the digest of the weights file) and raw probabilities. Once
decided it holds calibrated probabilities and `predicted`, the name of the class that the decision rule chose; of images
also `SUSPECTED`, whether the melanoma threshold is reached.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.errors import EmptyDataError, ParserError

from dermaline.base.classes import CLASSES, INDEX
from dermaline.base.errors import DermalineError
from dermaline.evaluation.scores import Floats, Ints

IDENTITY: tuple[str, ...] = ("image_id", "lesion_id", "group", "split", "dx")
SPLITS: tuple[str, ...] = ("val", "test")
SUSPECTED = "melanoma_suspected"
SUM_TOLERANCE = 1e-4


def read_predictions(path: Path) -> pd.DataFrame:
    """Read one recipe's predictions.

    Returns:
        A row for each image of val and test: the strings of `IDENTITY` and `model`, then a probability of each class in
        order.

    Raises:
        DermalineError: naming the file and the first row at fault: a column missing, an image twice, an unknown
            diagnosis or split, another model, probabilities that are not within 0..1 or do not sum to 1 (to
            `SUM_TOLERANCE`), a split without images.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys((*IDENTITY, "model"), str), keep_default_na=False)
    except FileNotFoundError:
        raise DermalineError(f"{path}: not found; run the predict stage first") from None
    except (EmptyDataError, ParserError, UnicodeDecodeError) as problem:
        raise DermalineError(f"{path}: not a CSV table ({problem}); run the predict stage again") from None
    missing = [name for name in (*IDENTITY, "model", *CLASSES) if name not in table]
    if missing:
        raise DermalineError(f"{path}: no column '{missing[0]}'; run the predict stage again")
    table = table[[*IDENTITY, "model", *CLASSES]]
    if table.empty:
        raise DermalineError(f"{path}: has no rows; run the predict stage again")
    check(path, table, table["image_id"].duplicated(), "the image stands there twice")
    check(path, table, table["model"] != table["model"].iloc[0], "is of another model than the first row")
    for column, known in (("dx", CLASSES), ("split", SPLITS)):
        check(path, table, ~table[column].isin(known), f"{column} is not one of {', '.join(known)}")
    table = with_numbers(path, table)
    check(path, table, off(table) > SUM_TOLERANCE, "the probabilities do not sum to 1")
    for split in SPLITS:
        if not (table["split"] == split).any():
            raise DermalineError(f"{path}: no image of {split}; run the split stage again")
    return table


def with_numbers(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table of a file with its probabilities as numbers; raises as `read_predictions` when they are none.

    By rounding they may lie outside of 0..1, by less than `SUM_TOLERANCE`, and are then put on its end.
    """
    numbers = table[[*CLASSES]].apply(pd.to_numeric, errors="coerce")
    inside = numbers.clip(0, 1)
    wrong = ~((numbers - inside).abs() < SUM_TOLERANCE).all(axis=1)
    check(path, table, wrong, "a probability is not a number from 0 to 1")
    return table.assign(**inside)


def off(table: pd.DataFrame) -> pd.Series:
    """By how much each row's probabilities do not sum to 1, [N]."""
    return (table[[*CLASSES]].sum(axis=1) - 1).abs()


def check(path: Path, table: pd.DataFrame, wrong: pd.Series, what: str) -> None:
    """Refuse the file that a table is from for the first row that is wrong, [N] bools, and say what is."""
    if wrong.any():
        raise DermalineError(f"{path}: {where(table, wrong)}: {what}")


def where(table: pd.DataFrame, chosen: pd.Series) -> str:
    """The line and the image of the first row chosen, [N] bools; the index counts the rows of the file from 0."""
    row = int(chosen.to_numpy().argmax())
    return f"line {table.index[row] + 2} ({table['image_id'].iloc[row]})"


def truth(table: pd.DataFrame) -> Ints:
    """The diagnoses as class numbers, [N]."""
    return table["dx"].map(INDEX).to_numpy(dtype=np.int64)


def probabilities(table: pd.DataFrame) -> Floats:
    """The probabilities, [N, C]."""
    return table[[*CLASSES]].to_numpy(dtype=np.float64)


def decided(table: pd.DataFrame, probabilities: Floats, predicted: Ints) -> pd.DataFrame:
    """The table with these probabilities [N, C] and the names of these predicted classes [N]."""
    return table.assign(**dict(zip(CLASSES, probabilities.T, strict=True)), predicted=np.array(CLASSES)[predicted])


def decisions(table: pd.DataFrame) -> Floats:
    """The predicted classes as one-hot rows, [N, C]: what the metrics `OF_DECISIONS` take for probabilities."""
    return np.eye(len(CLASSES))[table["predicted"].map(INDEX)]


def aligned(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The tables of several recipes, each in the first one's order of images.

    Raises:
        DermalineError: the tables are not about the same images, or disagree on an image's lesion, group, split or dx.
    """
    first = tables[0].set_index("image_id")
    found = []
    for table in tables:
        other = table.set_index("image_id")
        if len(other) != len(first) or not other.index.isin(first.index).all():
            raise DermalineError("the recipes' predictions are not for the same images; run every predict stage again")
        other = other.loc[first.index]
        for column in IDENTITY[1:]:
            unequal = (other[column] != first[column]).to_numpy()
            if unequal.any():
                name = first.index[unequal.argmax()]
                raise DermalineError(f"the recipes' predictions disagree on the {column} of {name}; run predict again")
        found.append(other.reset_index())
    return found


def by_lesion(table: pd.DataFrame) -> pd.DataFrame:
    """One row a lesion: the mean of its photographs' probabilities, still to be decided on.

    `image_id` is that of its first photograph.

    Raises:
        DermalineError: a lesion has two diagnoses, or lies in two groups or splits.
    """
    lesions = table.groupby("lesion_id", sort=False)
    for column in ("dx", "group", "split"):
        several = lesions[column].nunique()
        if several.max() > 1:
            raise DermalineError(f"lesion {several.idxmax()} has more than one {column}; run prepare and split again")
    rows = lesions.agg({name: "first" for name in IDENTITY if name != "lesion_id"} | dict.fromkeys(CLASSES, "mean"))
    return rows.reset_index()[[*IDENTITY, *CLASSES]]
