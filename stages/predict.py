"""Write a trained recipe's probabilities for the validation and test images: `python -m stages.predict RECIPE`."""

from pathlib import Path

import pandas as pd
import torch

from dermaline.base.classes import CLASSES
from dermaline.base.errors import run
from dermaline.base.files import digest, write_text
from dermaline.base.parameters import load
from dermaline.blocks import blocks
from dermaline.data import metadata
from dermaline.data.batches import load_images, packed_size
from dermaline.data.index import read_split
from dermaline.inference.member import load_member
from dermaline.params.compute import Compute
from dermaline.params.predict import Predict
from dermaline.training.checkpoint import forget_finished
from stages import argument

COLUMNS = ["image_id", "lesion_id", "group", "split", "dx"]
BLOCK, CPU = 256, torch.device("cpu")  # photographs in memory, as they are packed: each scale is resized once


def main() -> None:
    name = argument("RECIPE")
    folder = Path(f"models/{name}")
    member = load_member(folder, load(Compute, "compute").device, load(Predict, "predict"))
    weights, tables = folder / "model.safetensors", []
    model = digest(weights)
    forget_finished(weights)
    for split in ("val", "test"):
        rows = read_split(split).assign(split=split)
        for part in blocks(len(rows), BLOCK):
            some = rows.iloc[part].reset_index(drop=True)
            found = member(load_images(some, packed_size(), CPU), metadata.encode(some))
            found = pd.DataFrame(found, columns=list(CLASSES))
            tables.append(pd.concat([some[COLUMNS].assign(model=model), found], axis=1))
    text = pd.concat(tables).to_csv(index=False, float_format="%.7f", lineterminator="\n")
    write_text(Path(f"data/predictions/{name}.csv"), text)


if __name__ == "__main__":
    run(main)
