"""The tables that HAM10000 comes with: its own, and the two of ISIC 2018's Task 3, which has the same images."""

from collections.abc import Sequence

import pandas as pd

from dermaline.base.classes import CLASSES
from dermaline.base.columns import COLUMNS, SOURCE
from dermaline.base.errors import DermalineError
from dermaline.sources import separated
from dermaline.sources.folders import File

GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
_NEEDED = tuple(name for name in COLUMNS if name != "dx_type")
_IDS = ("lesion_id", "image_id", "dx")  # never empty
_MARKS = tuple(dx.upper() for dx in CLASSES)  # ISIC's columns: 1 for the diagnosis, 0 for the others


def ham10000(files: list[File]) -> pd.DataFrame:
    """Read HAM10000's own table: Kaggle's has commas; Dataverse's has tabs, quotes and an eighth column, `dataset`.

    Args:
        files: its copies, in either form; they must agree.

    Returns:
        `COLUMNS`, and what else a copy has, one row an image, sorted by image_id: strings, but `age` is a float
        wherever it is a number (what else stands there is for the reader of the raw table to judge). `dx_type`, which
        nothing reads, may be missing, as in one's own table; it is empty then.

    Raises:
        DermalineError: a column or an id is missing, an image has two rows, or two copies differ.
    """
    table = _read(files, _NEEDED)
    return table.reindex(columns=[*COLUMNS, *table.columns.difference(COLUMNS, sort=False)], fill_value="")


def isic2018(truths: list[File], groupings: list[File]) -> pd.DataFrame:
    """Read the ground truth and the lesion groupings of ISIC 2018's Task 3 (training) as one table of HAM10000.

    Args:
        truths, groupings: the copies of each; they must agree.

    Returns:
        `COLUMNS` as of `ham10000`; `age`, `sex` and `localization` are empty.

    Raises:
        DermalineError: as `ham10000`; the groupings are not there; an image has no lesion, or not one diagnosis.
    """
    place = truths[0].place
    if not groupings:
        why = "without it photographs of one lesion would land in train and test"
        raise DermalineError(f"{place}: {GROUPINGS} is not there; {why}, get it where this file is from")
    marks = _read(truths, ("image_id", *_MARKS)).set_index("image_id")[list(_MARKS)]
    marks = marks.apply(pd.to_numeric, errors="coerce")
    lesions = _read(groupings, ("image_id", "lesion_id")).set_index("image_id")
    unclear = marks.index[~marks.isin([0, 1]).all(axis=1) | (marks.sum(axis=1) != 1)]
    alone = marks.index.difference(lesions.index)
    for ids, what in ((unclear, "not one diagnosis"), (alone, f"no lesion in {groupings[0].place}")):
        if len(ids):
            raise DermalineError(f"{place}: {ids[0]} has {what}; get both files again")
    table = lesions.loc[marks.index].assign(dx=marks.idxmax(axis=1).str.lower()).reset_index()
    return table.rename(columns={"diagnosis_confirm_type": "dx_type"}).reindex(columns=list(COLUMNS), fill_value="")


def _read(files: list[File], columns: Sequence[str]) -> pd.DataFrame:
    """The table that `files` are copies of; rather one that says where the photographs are from."""
    tables = [_parse(file, columns) for file in files]
    for file, table in zip(files[1:], tables[1:], strict=True):
        if not table[list(columns)].equals(tables[0][list(columns)]):
            raise DermalineError(f"{files[0].place} and {file.place} differ; remove the wrong one")
    return max(tables, key=lambda table: SOURCE in table)


def _parse(file: File, columns: Sequence[str]) -> pd.DataFrame:
    """One copy, sorted by image id."""
    content = file.read()
    try:
        table = separated.read(content)
        if "image_id" not in table:
            table = table.rename(columns={"image": "image_id"})  # as ISIC calls it
        missing = [name for name in columns if name not in table]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        if table.empty:
            raise ValueError("no row")
        table = _tidy(table)
        for name in _IDS:
            if name in table and (table[name] == "").any():
                raise ValueError(f"a row without {name}")
        doubled = table["image_id"][table["image_id"].duplicated()]
        if len(doubled):
            raise ValueError(f"{doubled.iloc[0]} has more than one row")
    except ValueError as problem:
        raise DermalineError(
            f"{file.place}: not a table of HAM10000 ({problem}); correct it, or get it again"
        ) from None
    return table.sort_values("image_id", ignore_index=True)


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The same cells in one spelling: no blanks around them, ids as the images' names, 80 and 80.0 as one age."""
    table = table.apply(lambda column: column.str.strip())
    table["image_id"] = table["image_id"].str.replace(r"\.(jpe?g|png)$", "", case=False, regex=True).str.upper()
    if "dx" in table:
        table["dx"] = table["dx"].str.lower()
    if "age" in table:
        number = pd.to_numeric(table["age"], errors="coerce")
        table["age"] = number.astype(float).astype(object).where(number.notna(), table["age"])
    return table
