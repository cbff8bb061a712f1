"""What is known about a patient and a lesion's place, as numbers for a network."""

import numpy as np
import pandas as pd
import torch

from dermaline.data import words
from dermaline.data.words import SEXES, SITES


def encode(rows: pd.DataFrame) -> torch.Tensor:
    """Encode age, sex and localization with constants: nothing is fitted, so one row always gives one vector.

    Args:
        rows: `age` in years, `sex`, `localization`, as `words.known` takes them. Other columns are not looked at:
            `dx_type` least of all, which gives the diagnosis away.

    Returns:
        float32 [N, WIDTH]: age / 100 and whether it is missing; male, female and whether neither is known; one
        column for each of `SITES`, all 0 when the place is unknown.

    Raises:
        DermalineError: an age is no number of years from 0 to 120.
    """
    known = words.known(rows)
    age = known["age"].to_numpy(np.float64)
    sex, site = _one_hot(known["sex"], SEXES), _one_hot(known["localization"], SITES)
    parts = (np.nan_to_num(age) / 100, np.isnan(age), sex, ~sex.any(axis=1), site)
    return torch.from_numpy(np.column_stack(parts).astype(np.float32))


def _one_hot(column: pd.Series, values: tuple[str, ...]) -> np.ndarray:
    return np.column_stack([(column == value).to_numpy(bool) for value in values])


MISSING: torch.Tensor = encode(pd.DataFrame(index=[0]))[0]  # [WIDTH], when nothing is known; hides a row
WIDTH: int = len(MISSING)
