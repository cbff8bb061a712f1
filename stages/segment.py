"""Train the U-Net that outlines lesions, once for each fold of the training images.

Reads the photographs and their outlines in data/prepared, and data/split.csv; writes models/segmentation/: a network
for each fold (fold_0.safetensors, ...), which has learned from the other folds, and segmentation.json. Where the source
has no outlines there is nothing to learn, and segmentation.json says so.
"""

import sys
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from dermaline.base import errors
from dermaline.base.parameters import Size, load
from dermaline.compute import in_words, setup_fabric
from dermaline.data.batches import load_images, packed_size, split_digest
from dermaline.data.index import PREPARED, SPLIT, read_split
from dermaline.data.masks import MASKS, resized_masks
from dermaline.data.photographs import Photographs, in_memory, sizes_for
from dermaline.data.split import deal
from dermaline.models.weights import origins_of
from dermaline.params.segment import Segment
from dermaline.segmentation import network
from dermaline.segmentation.train import train
from dermaline.training.checkpoint import ResumeCheckpoint, fingerprint

MODELS = Path("models/segmentation")


def main() -> None:
    options = load(Segment, "segment")
    fabric = setup_fabric(load(str, "compute.device"), options.precision)
    rows = read_split("train")
    images, known = examples(rows, options.size, fabric.device)
    folds = torch.tensor(deal(rows, options.folds, options.seed).to_numpy())
    precision = fabric.strategy.precision.precision
    origins = origins_of(options.weights, [], split_digest())
    if origins.start is not None:  # no network is to have seen what it outlines
        what = "a model that was trained here may have learned from the photographs that are to be outlined"
        raise errors.DermalineError(f"params.yaml: segment.weights: {what}; use bundled, imagenet or none")
    settings = {"segment": options.model_dump(mode="json"), "device": fabric.device.type, "precision": precision}
    inputs = [PREPARED / "images.npy", PREPARED / "index.csv", SPLIT, *origins.files]
    inputs += [MASKS] if MASKS.exists() else []
    scratch = ResumeCheckpoint(fingerprint(settings, inputs))
    fabric.print(f"training {options.folds} networks on {in_words(fabric)}, {precision}", flush=True)
    folds[~known] = -1
    enough = len(folds[folds >= 0].unique()) == options.folds
    if not enough:
        print(f"note: {int(known.sum())} outlines of {len(known)}: too few to learn from", file=sys.stderr)
    trained = train(options, images, folds, fabric, scratch, partial(print, flush=True)) if enough else []
    facts = {
        "images": int(known.sum()),
        "prepared_size": packed_size(),
        "split": split_digest(),
        "start": origins.start,
        "device": in_words(fabric),
        "precision": precision,
        "torch": torch.__version__,
    }
    network.save(MODELS, trained, options, facts)
    scratch.finish(MODELS / network.FACTS)


def examples(rows: pd.DataFrame, size: Size, device: torch.device) -> tuple[list[Photographs], torch.Tensor]:
    """Photographs for views of a size, with the outline as fourth channel; and of which one is known, bool [N]."""
    (whole,) = sizes_for(size, "whole", None, packed_size())
    masks = resized_masks(rows, whole)
    both = torch.cat([load_images(rows, whole, torch.device("cpu")), masks], dim=1)
    return [in_memory(both.to(device))], masks.flatten(1).amax(dim=1) > 0


if __name__ == "__main__":
    errors.run(main)
