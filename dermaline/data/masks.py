"""The outlines of lesions that a source has, packed beside the photographs."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dermaline.base.parameters import Size
from dermaline.blocks import blocks
from dermaline.data.batches import packed_size
from dermaline.data.index import PREPARED
from dermaline.data.photographs import resized

MASKS = PREPARED / "masks.npy"


def load_masks(rows: pd.DataFrame) -> NDArray[np.uint8]:
    """uint8 [N, height, width], 1 inside the lesion; all 0 of an image whose outline the source does not have."""
    if not MASKS.exists():
        return np.zeros((len(rows), *packed_size()), np.uint8)
    return np.load(MASKS, mmap_mode="r")[rows["row"].to_numpy()]


def resized_masks(rows: pd.DataFrame, size: Size) -> torch.Tensor:
    """The share of each pixel that is inside, uint8 [N, 1, height, width], 255 for all of it, at a given size."""
    found = torch.empty((len(rows), 1, *size), dtype=torch.uint8)
    for part in blocks(len(rows), 256):
        whole = torch.from_numpy(load_masks(rows.iloc[part]))[:, None] * 255
        found[part] = resized(whole, size)
    return found
