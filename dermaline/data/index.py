"""The index of the packed images, a row each, and which split each image is in."""

from pathlib import Path

import pandas as pd

from dermaline.base.columns import PATIENT, SOURCE
from dermaline.base.errors import DermalineError

PREPARED = Path("data/prepared")
INDEX_FILE, SPLIT = PREPARED / "index.csv", Path("data/split.csv")
# Strings also where nothing or a number is said.
TEXT = ("image_id", "lesion_id", "group", "dx", "sex", "localization", SOURCE, PATIENT)


def read_index(path: Path = INDEX_FILE) -> pd.DataFrame:
    """Read the index that `prepare` wrote: a row an image, `TEXT` as strings.

    Raises:
        DermalineError: it is missing, no table, or has no rows or no image ids.
    """
    try:
        index = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str))
    except FileNotFoundError:
        raise DermalineError(f"{path}: not found; run the prepare stage first") from None
    except ValueError as problem:  # pandas' errors are, and that of an encoding
        raise DermalineError(f"{path}: not a CSV table ({problem}); run the prepare stage again") from None
    if index.empty:
        raise DermalineError(f"{path}: has no rows; run the prepare stage again")
    if "image_id" not in index or index["image_id"].isna().any():
        raise DermalineError(f"{path}: image_id is missing; run the prepare stage again")
    return index


def read_with_split(split: Path = SPLIT) -> pd.DataFrame:
    """The index with a column `split`, which says `train`, `val` or `test`; raises as `read_index`."""
    return read_index().merge(pd.read_csv(split, dtype=str), on="image_id")


def read_split(split: str) -> pd.DataFrame:
    """The rows of the index that belong to one split, in its order.

    Raises:
        DermalineError: there are none, or as `read_index`.
    """
    images = read_with_split()
    rows = images[images["split"] == split].drop(columns="split").reset_index(drop=True)
    if rows.empty:
        raise DermalineError(f"{SPLIT}: no images in '{split}'; run the split stage again")
    return rows
