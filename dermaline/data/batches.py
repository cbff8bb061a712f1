"""From the packed array to tensors: resizing once, and the order of the training batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torchvision.transforms.v2.functional import resize

from dermaline.blocks import blocks
from dermaline.classes import INDEX
from dermaline.errors import DermalineError

PREPARED = Path("data/prepared")
SPLIT = Path("data/split.csv")


def read_split(split: str) -> pd.DataFrame:
    """The rows of the index that belong to one split (`train`, `val` or `test`), in the index's order."""
    index = pd.read_csv(PREPARED / "index.csv", dtype={"image_id": str, "lesion_id": str, "group": str})
    assigned = pd.read_csv(SPLIT, dtype=str).set_index("image_id").split
    rows = index[index.image_id.map(assigned) == split].reset_index(drop=True)
    if rows.empty:
        raise DermalineError(f"{SPLIT}: no images in '{split}'; run the split stage again")
    return rows


def labels(rows: pd.DataFrame) -> torch.Tensor:
    """int64 [N], the class of each row in the order of `CLASSES`."""
    return torch.tensor(rows.dx.map(INDEX).to_numpy())


def load_images(rows: pd.DataFrame, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Read the packed images of `rows` at `size`, antialiased, once: no epoch decodes or resizes anything.

    Returns:
        uint8 [N, 3, height, width] on `device`, channels last in memory. On a GPU the whole set lives there.

    Raises:
        DermalineError: `size` is larger than the images were packed at.
    """
    packed = np.load(PREPARED / "images.npy", mmap_mode="r")
    if size[0] > packed.shape[1] or size[1] > packed.shape[2]:
        raise DermalineError(
            f"a recipe's size {list(size)} is larger than the packed images ({list(packed.shape[1:3])}); "
            "lower it or raise prepare.size"
        )
    images = torch.empty((len(rows), 3, *size), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    wanted = rows.row.to_numpy()
    for part in blocks(len(rows), 256):
        block = torch.from_numpy(packed[wanted[part]]).permute(0, 3, 1, 2)
        images[part] = block if block.shape[2:] == images.shape[2:] else resize(block, list(size), antialias=True)
    return images.to(device)


def training_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size that training images are kept at: 8/7 of the network's, but no larger than they were packed."""
    packed = np.load(PREPARED / "images.npy", mmap_mode="r").shape[1:3]
    height, width = (min(round(side * 8 / 7), whole) for side, whole in zip(size, packed, strict=True))
    return height, width


def shuffled(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[torch.Tensor]:
    """The batches of one epoch, as int64 indices; a last batch that is not full is left out.

    The order depends on seed and epoch alone, so any epoch can be repeated without the ones before it.
    """
    order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))
    batch_size = min(batch_size, count)
    for start in range(0, count - batch_size + 1, batch_size):
        yield order[start : start + batch_size]
