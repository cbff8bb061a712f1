"""Fit a detector of images that are no dermatoscopic photographs, and measure it: `python -m stages.ood`.

Reads the packed images and the split. The density is of training images, the threshold of validation images; both go
to models/out_of_distribution. How many lesions the detector calls out of distribution, and how many images without a
lesion, is in metrics/ood.json.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dermaline.base import errors, files
from dermaline.base.parameters import load
from dermaline.blocks import blocks
from dermaline.compute import setup_fabric
from dermaline.data.batches import load_images, packed_size, split_digest
from dermaline.data.index import read_split
from dermaline.data.photographs import channels_first
from dermaline.ood import density, detector, non_lesions, packaged, report
from dermaline.ood.features import Extractor, extractor
from dermaline.params.ood import OOD_FOLDER, Ood

BLOCK = 1024  # photographs in memory


def main() -> None:
    options = load(Ood, "ood")
    extract = extractor(options.size, setup_fabric(load(str, "compute.device"), "portable").device)
    train, val, test = (read_split(split) for split in ("train", "val", "test"))
    train = train.sample(min(options.fit_images, len(train)), random_state=options.seed)
    fitted = density.fit(of_rows(extract, train), options.shrinkage)
    scores = {name: detector.scores(fitted, of_rows(extract, rows)) for name, rows in (("val", val), ("test", test))}
    threshold = detector.fit_threshold(scores["val"], val["group"].to_numpy(), options.false_alarms)
    lesions = val["group"].nunique()
    if lesions < 1 / options.false_alarms - 1:
        said = f"{lesions} lesions on validation are too few for {options.false_alarms:.3g} of false alarms"
        print(f"note: ood: {said}: the threshold is their largest score", file=sys.stderr)
    facts = {
        "threshold": threshold,
        "size": options.size,
        "prepared_size": packed_size(),
        "fit_images": len(train),
        "val_lesions": lesions,
        "false_alarms": options.false_alarms,
        "split": split_digest(),
    }
    detector.save(Path("models", OOD_FOLDER), fitted, facts)
    others = without_lesion(extract, test, options)
    shown = {kind: detector.scores(fitted, features) for kind, features in others.items()}
    views = {}
    for name in packaged.PHOTOGRAPHS:  # decoded as `predict` decodes photographs
        views[name] = detector.scores(fitted, extract(channels_first(packaged.views(name, packed_size()))))
    shown["photographs"] = np.stack(list(views.values()))
    found = {
        "threshold": threshold,
        "val": report.of_lesions(val, scores["val"], threshold),
        "test": report.of_lesions(test, scores["test"], threshold),
        "without_lesion": {kind: report.of_others(some, threshold, scores["test"]) for kind, some in shown.items()},
        "photographs": report.by_photograph(views, threshold),
    }
    files.write_json(Path("metrics/ood.json"), found)


def of_rows(extract: Extractor, rows: pd.DataFrame) -> torch.Tensor:
    """The features of the packed images of some rows of the index."""
    parts = [load_images(rows.iloc[part], extract.size, torch.device("cpu")) for part in blocks(len(rows), BLOCK)]
    return torch.cat([extract(images) for images in parts])


def without_lesion(extract: Extractor, test: pd.DataFrame, options: Ood) -> dict[str, torch.Tensor]:
    """By kind the features of images of no lesion, as large as photographs are decoded: drawn, cut up, small faces."""
    size = packed_size()
    some = test.sample(min(options.drawn, len(test)), random_state=options.seed)
    found = {}
    for kind in non_lesions.DRAWN:
        found[kind] = extract(channels_first(non_lesions.drawn(kind, options.drawn, size, options.seed)))
    photographs = load_images(some, size, torch.device("cpu")).permute(0, 2, 3, 1).numpy()
    found["shuffled"] = extract(channels_first(non_lesions.shuffled(photographs, options.seed)))
    found["faces"] = extract(channels_first(packaged.faces(size)))
    return found


if __name__ == "__main__":
    errors.run(main)
