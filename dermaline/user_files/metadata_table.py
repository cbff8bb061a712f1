"""A table that somebody brings of the patients whose images are predicted: matched by image id, and encoded."""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from dermaline.base.errors import DermalineError
from dermaline.data import words
from dermaline.data.metadata import MISSING, encode
from dermaline.user_files import forms
from dermaline.user_files.photographs import less_suffix

MetadataLookup = Callable[[list[str]], torch.Tensor | None]  # image ids -> their metadata, encoded


def read_metadata(path: Path | None, wanted: list[str]) -> MetadataLookup:
    """A function from image ids to what the table at `path` says of them; without a table, None for all.

    Ids may have an image's suffix; columns and words may be the ISIC archive's, see `words`. Said on stderr: how many
    of `wanted` have no row, and which words of theirs are not known.

    Raises:
        DermalineError: the table can't be read, has an image twice, an age that is none, or no column of use; it has
            none of `wanted`, or of them only words that are not known.
    """
    if path is None:
        return lambda image_ids: None
    table = words.named(forms.read(path))
    if "image_id" in table:
        ids = table["image_id"]
        table["image_id"] = ids.where(ids.isin(wanted), ids.map(less_suffix, na_action="ignore"))
    table = _matching(path, forms.by_id(path, table), wanted)
    try:
        vectors = torch.cat([encode(table), MISSING[None]])
    except DermalineError as problem:
        raise DermalineError(f"{path}: {problem}") from None
    _say_what_is_strange(path, table)
    index = pd.Index(table["image_id"])
    return lambda image_ids: vectors[index.get_indexer(image_ids)]  # -1, the last: an image that is not there


def has_metadata(path: Path) -> bool:
    """Whether a table has a column that `read_metadata` could use; raises as that if it can't be read."""
    return bool(set(words.COLUMNS) & set(words.named(forms.read(path))))


def _matching(path: Path, table: pd.DataFrame, wanted: list[str]) -> pd.DataFrame:
    """The rows of `wanted`, some of which may have none; raises if no row or no column is of use."""
    if not set(words.COLUMNS) & set(table):
        names = "age, sex or localization (or age_approx, anatom_site_general)"
        raise DermalineError(f"{path}: no column {names}; found {', '.join(table.columns)}")
    there = set(table["image_id"])
    absent = [image_id for image_id in wanted if image_id not in there]
    if len(absent) == len(wanted):
        ids = f"it has such as {table['image_id'].iloc[0]}, they are such as {wanted[0]}"
        raise DermalineError(f"{path}: none of the {len(wanted)} images' ids is there ({ids}); make them the same")
    if absent:
        print(f"note: {path} has no row for {len(absent)} of {len(wanted)} images", file=sys.stderr)
    return table[table["image_id"].isin(wanted)]


def _say_what_is_strange(path: Path, table: pd.DataFrame) -> None:
    such = words.strange_listed(table)
    if not such:
        return
    if words.known(table).isna().all(axis=None):
        raise DermalineError(f"{path}: no word in it is known ({such}); use those of HAM10000 or of the ISIC archive")
    print(f"note: {path}: not known, and taken as missing: {such}", file=sys.stderr)
