"""Photographs of elsewhere with their truth, and what training has already seen of them."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from dermaline.base.errors import DermalineError
from dermaline.data.duplicates import known_pairs, thumbnails
from dermaline.sources.archive import RawZip
from dermaline.user_files import photographs
from dermaline.user_files.answers import Truth
from dermaline.user_files.photographs import Photograph

IMAGES = Path("data/raw/images.zip")


def with_truth(place: Path, truth: Path, known: Truth) -> list[Photograph]:
    """The photographs that the truth is of; the others are counted on stderr.

    Raises:
        DermalineError: a photograph of the truth is not there: a score of what happens to be there is no score.
    """
    lying = sorted(photographs.find([place]), key=lambda one: not one.is_closed)
    found = {one.image_id: one for one in lying}  # of a camera's raw file and its JPEG the JPEG
    absent = [name for name in known.table["image_id"] if name not in found]
    if absent:
        raise DermalineError(
            f"{truth}: {len(absent)} of its images are not in {place}, {absent[0]} for one; add them, or cut it down"
        )
    if len(found) > len(known.table):
        print(f"note: {len(found) - len(known.table)} photographs in {place} are not in {truth}", file=sys.stderr)
    return [found[name] for name in known.table["image_id"]]


def seen_in_training(table: pd.DataFrame, images: np.ndarray, learned: pd.DataFrame, similarity: float) -> list[str]:
    """Ids of the external images that train or val has too: by image id, by lesion id, or as a near-duplicate.

    One that was turned by a half or mirrored is found too; one that was zoomed, squeezed or cropped to another shape is
    not, unless by its id.

    Args:
        table: `image_id` and maybe `lesion_id` of the external images.
        images: their thumbnails, see `data.duplicates`.
        learned: `image_id` and `lesion_id` of train and val.
        similarity: from which two images count as one lesion.
    """
    seen = table["image_id"].isin(learned["image_id"])
    if "lesion_id" in table:
        seen |= table["lesion_id"].isin(learned["lesion_id"])
    ours = thumbnails(RawZip(IMAGES), list(learned["image_id"]), np.inf)
    for turned in (images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]):
        seen |= np.isin(np.arange(len(table)), known_pairs(turned, ours, similarity).a)
    return table["image_id"][seen].tolist()
