"""What is known about a patient and a lesion's place, as numbers for a network."""

import numpy as np
import pandas as pd
import torch

from dermaline.errors import DermalineError

COLUMNS = ("age", "sex", "localization")
SEXES = ("male", "female")
SITES = (
    *("abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity", "neck"),
    *("scalp", "trunk", "upper extremity"),
)


def encode(rows: pd.DataFrame) -> torch.Tensor:
    """Encode age, sex and localization with constants: nothing is fitted, so one row always gives one vector.

    Args:
        rows: `age` in years, `sex`, `localization`, in any case. A column that is not there counts as missing in
            every row, and so does a sex or a localization that HAM10000 does not have. Other columns are not looked
            at: `dx_type` least of all, which gives the diagnosis away.

    Returns:
        float32 [N, WIDTH]: age / 100 and whether it is missing; male, female and whether neither is known; one
        column for each of `SITES`, all 0 when the place is unknown.

    Raises:
        DermalineError: an age is no number of years from 0 to 120.
    """
    rows = rows.reindex(columns=list(COLUMNS))
    age = _ages(rows.age)
    sex, site = _one_hot(rows.sex, SEXES), _one_hot(rows.localization, SITES)
    parts = (np.nan_to_num(age) / 100, np.isnan(age), sex, ~sex.any(axis=1), site)
    return torch.from_numpy(np.column_stack(parts).astype(np.float32))


def _ages(column: pd.Series) -> np.ndarray:
    age = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = column[column.notna() & ~((age >= 0) & (age <= 120))]
    if len(wrong):
        raise DermalineError(f"metadata: age '{wrong.iloc[0]}' is not in years, 0 to 120; correct it or leave it empty")
    return age


def _one_hot(column: pd.Series, words: tuple[str, ...]) -> np.ndarray:
    known = column.astype("string").str.strip().str.lower().fillna("")
    return np.column_stack([(known == word).to_numpy(bool) for word in words])


MISSING: torch.Tensor = encode(pd.DataFrame(index=[0]))[0]  # [WIDTH], when nothing is known; hides a row
WIDTH: int = len(MISSING)
