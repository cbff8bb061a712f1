"""What is known about a patient and a lesion's place, as numbers."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaline.data import words
from dermaline.data.words import SEXES, SITES

DECADES = (*(f"aged {start} to {start + 9}" for start in range(0, 80, 10)), "aged 80 or more")
FINDINGS: tuple[str, ...] = (*DECADES, *SEXES, *SITES)
_SEX, _SITE = len(DECADES), len(DECADES) + len(SEXES)
PARTS = (slice(0, _SEX), slice(_SEX, _SITE), slice(_SITE, None))  # of FINDINGS: of an age, a sex, a place


def encode(rows: pd.DataFrame) -> NDArray[np.float32]:
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
    return np.column_stack(parts).astype(np.float32)


def findings(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Which of `FINDINGS` is known of each row of [N, WIDTH]: [N, F] of 0 and 1, at most one of each of `PARTS`."""
    years, unknown, sex, site = encoded[:, :1] * 100, encoded[:, 1:2], encoded[:, 2:4], encoded[:, 5:]
    decade = np.minimum(np.floor(np.round(years) / 10), len(DECADES) - 1)
    ages = (decade == np.arange(len(DECADES))) & (unknown == 0)
    return np.concatenate([ages, sex, site], axis=1, dtype=np.float32)


def _one_hot(column: pd.Series, values: tuple[str, ...]) -> np.ndarray:
    return np.column_stack([(column == value).to_numpy(bool) for value in values])


MISSING: NDArray[np.float32] = encode(pd.DataFrame(index=[0]))[0]  # [WIDTH], when nothing is known
WIDTH: int = len(MISSING)
