"""Write a trained recipe's probabilities for the validation and test images: `python -m stages.predict RECIPE`."""

import sys
from pathlib import Path

import pandas as pd

from dermaline import params
from dermaline.classes import CLASSES
from dermaline.compute import fabric
from dermaline.data import metadata
from dermaline.data.batches import load_images, read_split
from dermaline.errors import run
from dermaline.files import write_text
from dermaline.inference import views
from dermaline.inference.predict import probabilities
from dermaline.models import store
from dermaline.models.network import input_size

COLUMNS = ["image_id", "lesion_id", "group", "split", "dx"]


def main() -> None:
    name = sys.argv[1]
    folder = Path(f"models/{name}")
    device = fabric(params.load("compute").device, store.recipe(folder).precision)
    network, recipe = store.load(folder)
    network.to(device.device)
    size = input_size(recipe)
    seen = views.of(params.load("predict").tta, network, size)
    tables = []
    for split in ("val", "test"):
        rows = read_split(split).assign(split=split)
        images = load_images(rows, size, device.device)
        found = probabilities(network, images, device, metadata=metadata.encode(rows), views=seen).numpy()
        tables.append(pd.concat([rows[COLUMNS], pd.DataFrame(found, columns=list(CLASSES))], axis=1))
    text = pd.concat(tables).to_csv(index=False, float_format="%.7f", lineterminator="\n")
    write_text(Path(f"data/predictions/{name}.csv"), text)


if __name__ == "__main__":
    run(main)
