"""Tables that people bring and take away: separated by commas, semicolons or tabs, and the form of ISIC 2018 Task 3."""

from pathlib import Path

import pandas as pd

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.data import words
from dermaline.evaluation.scores import Floats
from dermaline.sources import separated

# Column -> class. A row is an image: 1 for its diagnosis in a truth, confidences 0..1 in a prediction, of which the
# challenge's scorer takes the largest.
ISIC: dict[str, str] = {name.upper(): name for name in ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")}


def read(path: Path) -> pd.DataFrame:
    """Read a separated file as strings, without blanks around them; NaN is what says nothing, see `words.said`.

    Raises:
        DermalineError: it is missing, no table, or without rows.
    """
    try:
        table = separated.read(path.read_bytes())
    except (OSError, separated.NoTableError) as problem:
        raise DermalineError(f"{path}: not a table that can be read ({problem}); give a CSV file") from None
    if table.empty:
        raise DermalineError(f"{path}: has no rows")
    return table.rename(columns=str.strip).apply(words.said)


def by_id(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table, when its `image_id` is there in each row and never twice; raises a `DermalineError` else."""
    if "image_id" not in table:
        raise DermalineError(f"{path}: no column 'image_id'; found {', '.join(table.columns)}")
    for wrong, what in ((table.image_id.isna(), "has no image_id"), (table.image_id.duplicated(), "is an image again")):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise DermalineError(f"{path}: line {row + 2} {what} ({table.image_id.iloc[row]}); give each image one row")
    return table


def to_isic(image_ids: list[str], confidences: Floats) -> pd.DataFrame:
    """Confidences [N, 7], in the order of `CLASSES`, in ISIC's form."""
    columns = {code: confidences[:, CLASSES.index(name)] for code, name in ISIC.items()}
    return pd.DataFrame({"image": image_ids, **columns})


def from_isic(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """A table in ISIC's form with our names: `image` becomes `image_id`, `MEL` becomes `mel`.

    Raises:
        DermalineError: a column is missing.
    """
    missing = [name for name in ("image", *ISIC) if name not in table]
    if missing:
        raise DermalineError(f"{path}: no column '{missing[0]}' of the ISIC form; found {', '.join(table.columns)}")
    return table.rename(columns={"image": "image_id", **ISIC})
