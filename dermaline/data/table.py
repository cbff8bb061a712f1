"""Reading and checking the metadata table."""

import sys
from pathlib import Path

import pandas as pd

from dermaline.base.classes import CLASSES
from dermaline.base.columns import PATIENT, SOURCE
from dermaline.base.errors import DermalineError
from dermaline.base.parameters import nearest
from dermaline.data import words
from dermaline.sources import separated

REQUIRED: tuple[str, ...] = ("image_id", "lesion_id", "dx", "age", "sex", "localization")

OPTIONAL: tuple[str, ...] = (SOURCE, PATIENT)  # a slice to score, and who is dealt as one; never an input


def read_table(path: Path) -> pd.DataFrame:
    """Read a table in HAM10000's form, one row an image, sorted by image_id.

    Returns:
        The columns of `REQUIRED`, and of `OPTIONAL` those that are there: strings, but `age` float in years; NaN is
        what says nothing (see `words.said`). Sex and place are in HAM10000's words where those are known, else as they
        are, which is said on stderr. `dx_type` is left behind on purpose: it gives the label away (every
        follow-up is a nevus).

    Raises:
        DermalineError: a column or an id is missing, an image is listed twice, a diagnosis is unknown, or an age is
            none.
    """
    try:
        table = separated.read(path.read_bytes()).apply(words.said)
    except FileNotFoundError:
        raise DermalineError(f"{path}: not found; run the download stage first") from None
    except separated.NoTableError as problem:
        raise DermalineError(f"{path}: not a CSV table ({problem}); run the download stage again") from None
    for column in REQUIRED:
        if column not in table:
            why = "; without it photographs of one lesion would land in train and test" if column == "lesion_id" else ""
            raise DermalineError(f"{path}: no column '{column}'{why}; found {', '.join(table.columns)}")
    if table.empty:
        raise DermalineError(f"{path}: has no rows; run the download stage again")
    for column in ("image_id", "lesion_id", "dx"):
        empty = table.index[table[column].isna()]
        if len(empty):
            raise DermalineError(f"{path}: row {empty[0] + 2} has no {column}; fill it in or remove the row")
    twice = table.image_id[table.image_id.duplicated()]
    if len(twice):
        raise DermalineError(f"{path}: image_id {twice.iloc[0]} stands in two rows; remove one")
    unknown = table[~table.dx.isin(CLASSES)]
    if len(unknown):
        row = unknown.iloc[0]
        raise DermalineError(
            f"{path}: {row.image_id} has the unknown dx '{row.dx}'; {nearest(row.dx.lower(), list(CLASSES))}"
        )
    alike = words.alike(table.lesion_id)
    if alike:
        raise DermalineError(
            f"{path}: lesions {' and '.join(alike)} differ by case alone; make them one, or rename one"
        )
    diagnoses = table.groupby("lesion_id").dx.nunique()
    if (diagnoses > 1).any():
        raise DermalineError(f"{path}: lesion {diagnoses.idxmax()} has two diagnoses; a lesion has one, correct it")
    try:
        table["age"] = words.ages(table.age)
    except DermalineError as problem:
        raise DermalineError(f"{path}: {problem}") from None
    understood = words.known(table)
    for name in words.WORDS:  # one spelling, as slices and near-duplicates compare them
        table[name] = understood[name].fillna(table[name])
    if such := words.strange_listed(table):
        print(f"note: {path}: not known, and taken as missing by models: {such}", file=sys.stderr)
    columns = [*REQUIRED, *(name for name in OPTIONAL if name in table)]
    return table.loc[:, columns].sort_values("image_id", ignore_index=True)
