"""Outline the lesion of every photograph, by networks that have not seen it, and compare with the known outlines.

Reads models/segmentation; a training photograph is outlined by the network of its fold, the others by the mean of all.
Writes data/outlines.npy (uint8 [N, height, width], 255 where a pixel is surely inside, in the order of the index),
metrics/segmentation.json (of val and test, beside outlines by a plain threshold) and plots/outlines.png.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from dermaline.base import errors, files
from dermaline.base.parameters import load
from dermaline.blocks import blocks
from dermaline.data.batches import load_images, packed_size
from dermaline.data.index import read_split
from dermaline.data.masks import load_masks
from dermaline.data.split import SPLITS, deal
from dermaline.figures import style
from dermaline.figures.outlines import Outlined, outlined
from dermaline.segmentation import network, scores
from dermaline.segmentation.outlines import inside, probabilities
from dermaline.training.checkpoint import forget_finished

MODELS = Path("models/segmentation")
WORST = 12  # that are shown
DPI = 200


def main() -> None:
    options, networks, fabric = network.load(MODELS, load(str, "compute.device"))
    forget_finished(MODELS / network.FACTS)
    rows = pd.concat([read_split(split).assign(split=split) for split in SPLITS], ignore_index=True)
    train = rows["split"] == "train"
    rows["fold"] = deal(rows[train], options.folds, options.seed).reindex(rows.index, fill_value=-1)
    found = outlines(networks, rows, options.size, fabric) if networks else np.zeros((0, *options.size), np.uint8)
    with files.replacing(Path("data/outlines.npy")) as path, path.open("wb") as file:
        np.save(file, found)
    val, test = (measured(rows[rows["split"] == split], found) for split in ("val", "test"))
    files.write_json(Path("metrics/segmentation.json"), scores.report(val, test) if len(val) and len(test) else {})
    style.save(outlined(test, examples(test, found)), Path("plots/outlines.png"), DPI)


def outlines(networks: list[network.UNet], rows: pd.DataFrame, size: tuple[int, int], fabric: Fabric) -> np.ndarray:
    """Of all rows, in the order of the index."""
    found = np.zeros((len(rows), *size), np.uint8)
    for fold, own in rows.groupby("fold"):
        which = networks if fold < 0 else [networks[fold]]
        for part in blocks(len(own), 1024):
            some = own.iloc[part]
            found[some["row"]] = probabilities(which, load_images(some, size, fabric.device), fabric)
    return found


def measured(rows: pd.DataFrame, found: np.ndarray) -> pd.DataFrame:
    """Those rows of which an outline is known and one was found, with the scores of ours and of plain thresholds."""
    told = []
    for part in blocks(len(rows), 64) if len(found) else ():
        some = rows.iloc[part].reset_index(drop=True)
        images = load_images(some, packed_size(), torch.device("cpu")).permute(0, 2, 3, 1).numpy()
        for (_, row), image, mask in zip(some.iterrows(), images, load_masks(some) > 0, strict=True):
            if mask.any():
                own = scores.agreement(inside(found[row["row"]], mask.shape), mask)
                plain = {name: scores.jaccard(one, mask) for name, one in scores.by_threshold(image).items()}
                told.append({**row, **own, **plain})
    return pd.DataFrame(told)


def examples(table: pd.DataFrame, found: np.ndarray) -> list[Outlined]:
    """The worst photographs, one of a lesion."""
    if table.empty:
        return []
    worst = table.sort_values("jaccard", kind="stable").drop_duplicates("group").head(WORST).reset_index(drop=True)
    images = load_images(worst, packed_size(), torch.device("cpu")).permute(0, 2, 3, 1).numpy()
    known = load_masks(worst) > 0
    return [
        Outlined(images[number], known[number], inside(found[row["row"]], packed_size()), row["dx"], row["jaccard"])
        for number, row in worst.iterrows()
    ]


if __name__ == "__main__":
    errors.run(main)
