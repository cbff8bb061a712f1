"""From the packed array to tensors: reading the rows of a split, resizing once, or not at all."""

import numpy as np
import pandas as pd
import torch

from dermaline.base.classes import INDEX
from dermaline.base.columns import GENERATED, SOURCE
from dermaline.base.errors import DermalineError
from dermaline.base.files import digest
from dermaline.base.parameters import Size
from dermaline.blocks import blocks
from dermaline.data.index import INDEX_FILE, PREPARED, SPLIT
from dermaline.data.photographs import Photographs, channels_first, in_memory, resized, sizes_for
from dermaline.params.recipe import ViewName


def labels(rows: pd.DataFrame) -> torch.Tensor:
    """int64 [N], the class of each row in the order of `CLASSES`."""
    return torch.tensor(rows.dx.map(INDEX).to_numpy())


def load_images(rows: pd.DataFrame, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Read the packed images of `rows` at `size`, antialiased, once: no epoch decodes or resizes anything.

    A size beyond that of the packed images enlarges them, with a warning.

    Returns:
        uint8 [N, 3, height, width] on `device`, channels last in memory. On a GPU the whole set lives there.
    """
    packed = np.load(PREPARED / "images.npy", mmap_mode="r")
    if size[0] > packed.shape[1] or size[1] > packed.shape[2]:
        there = "x".join(map(str, packed.shape[1:3]))
        print(f"warning: images packed at {there} are enlarged to {size[0]}x{size[1]}; prepare.size may be raised")
    images = torch.empty((len(rows), 3, *size), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    wanted = rows.row.to_numpy()
    for part in blocks(len(rows), 256):
        images[part] = resized(channels_first(packed[wanted[part]]), size)
    return images.to(device)


def generated() -> bool:
    """Whether the packed images were drawn by our own generator, so that nothing learned from them is of skin.

    Raises:
        DermalineError: none are packed.
    """
    try:
        first = pd.read_csv(INDEX_FILE, nrows=1)
    except FileNotFoundError as problem:
        raise DermalineError(f"{problem.filename}: not found; run dvc repro first") from None
    return SOURCE in first and first[SOURCE].iloc[0] == GENERATED


def packed_size() -> tuple[int, int]:
    """Height and width of the packed images."""
    return np.load(PREPARED / "images.npy", mmap_mode="r").shape[1:3]


def split_digest() -> str:
    """Names the split: the same for the same images in the same parts."""
    return digest(SPLIT)


def training_images(
    rows: pd.DataFrame, size: Size, view: ViewName, crop_from: Size | None, device: torch.device
) -> list[Photographs]:
    """The images of `rows` that views of `size` are made of, see `data.photographs.sizes_for`.

    As `load_images` gives them; but for a CPU, what windows are cut from stays on disk if it was packed at that size.
    """
    packed = packed_size()
    mapped = packed if view != "whole" and device.type == "cpu" else None
    return [
        _on_disk(rows) if one == mapped else in_memory(load_images(rows, one, device))
        for one in sizes_for(size, view, crop_from, packed)
    ]


def _on_disk(rows: pd.DataFrame) -> Photographs:
    packed = np.load(PREPARED / "images.npy", mmap_mode="c")  # torch wants what it could write to; nothing is written
    return Photographs(channels_first(packed), torch.tensor(rows.row.to_numpy()))
