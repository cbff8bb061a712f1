"""The split: stratified by diagnosis over groups of lesions; a group is never on two sides."""

import numpy as np
import pandas as pd

from dermaline.classes import CLASSES
from dermaline.errors import DermalineError

SPLITS: tuple[str, ...] = ("train", "val", "test")


def split_groups(index: pd.DataFrame, val: float, test: float, seed: int) -> pd.Series:
    """Assign every image to train, val or test.

    Within each diagnosis the groups (a lesion, or lesions joined by near-duplicates) are shuffled and dealt out by the
    wanted shares, at least one group to each side where there are three.

    Args:
        index: columns lesion_id, group and dx, one row an image.
        val: share of the groups for validation.
        test: share of the groups for the test.
        seed: of the shuffling.

    Returns:
        `train`, `val` or `test` for each row.

    Raises:
        DermalineError: a column is missing (never a split by image instead), or a diagnosis has fewer than
            three groups.
    """
    for column in ("lesion_id", "group", "dx"):
        if column not in index or index[column].isna().any():
            raise DermalineError(f"data/prepared/index.csv: {column} is missing; a split by image would leak")
    # A group with two diagnoses (two lesions joined by a near-duplicate) counts as the first of them.
    diagnosis = index.groupby("group").dx.min()
    sides = pd.Series("train", index=diagnosis.index)
    for number, dx in enumerate(CLASSES):
        members = np.array(diagnosis.index[diagnosis == dx].sort_values())
        if 0 < len(members) < len(SPLITS):
            raise DermalineError(f"data/prepared/index.csv: only {len(members)} lesion(s) of {dx}; a split needs three")
        np.random.default_rng([seed, number]).shuffle(members)
        for_test = share(len(members), test)
        for_val = min(share(len(members), val), len(members) - for_test - 1)
        sides[members[:for_test]] = "test"
        sides[members[for_test : for_test + for_val]] = "val"
    return index.group.map(sides)


def share(count: int, wanted: float) -> int:
    """`wanted` of `count`, rounded, leaving at least one here and two elsewhere; 0 of 0."""
    return min(max(1, round(count * wanted)), count - 2) if count else 0
