"""The split: stratified by diagnosis over groups of lesions; a group is never on two sides."""

from hashlib import sha256

import pandas as pd

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.data.groups import stratum
from dermaline.params.split import Split

SPLITS: tuple[str, ...] = ("train", "val", "test")


def split_images(index: pd.DataFrame, options: Split) -> pd.Series:
    """Assign every image to train, val or test.

    Within each diagnosis the groups (a lesion, or lesions joined by near-duplicates) stand in the order of a hash of
    seed and name, and are dealt out along it. By shares: first `test` of them, then `val`, rounded, at least one to
    each side. By folds: `folds` blocks of equal length to one, of which the test is number `fold`; `val`, the same
    share of all groups as above, follows it, after the last block the first. So the table, the seed and the pairs alone
    decide, and a lesion more or less moves only those at the ends of a block.

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
    diagnosis = stratum(group, index.dx)  # of a group with two
    sides = pd.Series("train", index=diagnosis.index)
    for dx in CLASSES:
        members = sorted(diagnosis.index[diagnosis == dx], key=lambda name: _hash(options.seed, name))
        _require_enough(len(members), dx, options)
        first, last = 0, n_from_fraction(len(members), options.test)
        if options.fold is not None:
            first, last = (len(members) * fold // options.folds for fold in (options.fold, options.fold + 1))
        for_val = min(n_from_fraction(len(members), options.val), len(members) - (last - first) - 1)
        sides[members[first:last]] = "test"
        sides[(members[last:] + members[:first])[:for_val]] = "val"
    return group.map(sides)


def deal(index: pd.DataFrame, folds: int, seed: int) -> pd.Series:
    """A fold, 0 to `folds` - 1, for each row: the groups of each diagnosis, in the order of their hashes, in turn."""
    diagnosis = stratum(index.group, index.dx)
    ordered = sorted(diagnosis.index, key=lambda name: (diagnosis[name], _hash(seed, name)))
    return index.group.map({name: turn % folds for turn, name in enumerate(ordered)})


def n_from_fraction(count: int, wanted: float) -> int:
    """`wanted` of `count`, rounded, leaving at least one here and two elsewhere; 0 of 0."""
    return min(max(1, round(count * wanted)), count - 2) if count else 0


def _hash(seed: int, name: str) -> bytes:
    return sha256(f"{seed}/{name}".encode()).digest()


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
