"""The split: stratified by diagnosis over groups of lesions; a group is never on two sides."""

import numpy as np
import pandas as pd

from dermaline.classes import CLASSES
from dermaline.errors import DermalineError
from dermaline.params import Split

SPLITS: tuple[str, ...] = ("train", "val", "test")


def split_images(index: pd.DataFrame, options: Split) -> pd.Series:
    """Assign every image to train, val or test.

    Within each diagnosis the groups (a lesion, or lesions joined by near-duplicates) are shuffled and dealt out. By
    shares: `test` and `val` of them, rounded, at least one to each side. By folds: the i-th to fold i mod `folds`; the
    test is fold `fold`, and `val`, the same share of all groups as above, is the first of those that follow it.

    Args:
        index: columns image_id, lesion_id, group and dx, one row an image.
        options: shares or folds, and the seed of the shuffling; `unit: image` makes every image a group of its own,
            so that photographs of one lesion stand on two sides.

    Returns:
        `train`, `val` or `test` for each row.

    Raises:
        DermalineError: a column is missing (never a split by image instead), or a diagnosis has too few groups to have
            one on every side.
    """
    for column in ("lesion_id", "group", "dx"):
        if column not in index or index[column].isna().any():
            raise DermalineError(f"data/prepared/index.csv: {column} is missing; a split by image would leak")
    group = index.image_id if options.unit == "image" else index.group
    # A group with two diagnoses (two lesions joined by a near-duplicate) counts as the first of them.
    diagnosis = index.dx.groupby(group).min()
    sides = pd.Series("train", index=diagnosis.index)
    for number, dx in enumerate(CLASSES):
        members = np.array(diagnosis.index[diagnosis == dx])
        _require_enough(len(members), dx, options)
        np.random.default_rng([options.seed, number]).shuffle(members)
        for_test = share(len(members), options.test)
        if options.fold is not None:
            turn = (np.arange(len(members)) - options.fold) % options.folds  # 0: the test, 1: the fold after it, ...
            members, for_test = members[np.argsort(turn, kind="stable")], int((turn == 0).sum())
        for_val = min(share(len(members), options.val), len(members) - for_test - 1)
        sides[members[:for_test]] = "test"
        sides[members[for_test : for_test + for_val]] = "val"
    return group.map(sides)


def share(count: int, wanted: float) -> int:
    """`wanted` of `count`, rounded, leaving at least one here and two elsewhere; 0 of 0."""
    return min(max(1, round(count * wanted)), count - 2) if count else 0


def _require_enough(count: int, dx: str, options: Split) -> None:
    by_shares = options.fold is None
    needed = len(SPLITS) if by_shares else max(options.folds, len(SPLITS) + 1)
    if 0 < count < needed:
        what = "a split needs" if by_shares else f"{options.folds} folds (split.folds) need"
        raise DermalineError(f"data/prepared/index.csv: only {count} {options.unit}(s) of {dx}; {what} {needed}")


def leaked(index: pd.DataFrame, sides: pd.Series) -> float:
    """Share of the test images of whose lesion, or of a near-duplicate of it, an image is in train: 0..1."""
    train, test = index[sides == "train"], index[sides == "test"]
    return float((test.lesion_id.isin(train.lesion_id) | test.group.isin(train.group)).mean())
