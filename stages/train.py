"""Train one recipe: `python -m stages.train RECIPE`."""

import sys
from pathlib import Path

import pandas as pd
import timm
import torch

from dermaline import params
from dermaline.compute import fabric, in_words
from dermaline.data.batches import PREPARED, SPLIT, labels, load_images, read_split, training_size
from dermaline.errors import run
from dermaline.files import DIGITS, project_root, write_text
from dermaline.models.store import save
from dermaline.training.checkpoint import Scratch, fingerprint
from dermaline.training.loop import SELECTED_BY, Examples, Training


def main() -> None:
    name = sys.argv[1]
    recipe = params.load(f"recipes.{name}")
    compute = params.load("compute")
    device = fabric(compute.device, recipe.precision)
    precision = device.strategy.precision.precision
    print(f"training {name} on {device.device}, {precision}", flush=True)
    settings = {"recipe": recipe.model_dump(mode="json"), "device": device.device.type, "precision": precision}
    start = project_root() / recipe.weights  # a file, when the recipe names one
    inputs = [PREPARED / "images.npy", PREPARED / "index.csv", SPLIT, *([start] if start.is_file() else [])]
    scratch = Scratch(fingerprint(settings, inputs))

    rows = {split: read_split(split) for split in ("train", "val")}
    sizes = {"train": training_size(recipe.size), "val": recipe.size}
    examples = {
        split: Examples(load_images(rows[split], sizes[split], device.device), labels(rows[split])) for split in rows
    }
    training = Training(recipe, examples["train"], examples["val"], device, scratch)
    best = training.run()

    history = pd.DataFrame(training.history)
    chosen = history.loc[history[SELECTED_BY].idxmax()]
    write_text(Path(f"plots/training/{name}.csv"), history.round(DIGITS).to_csv(index=False, lineterminator="\n"))
    facts = {
        "name": name,
        "epoch": int(chosen.epoch),
        SELECTED_BY: float(chosen[SELECTED_BY]),
        "device": in_words(device),
        "precision": precision,
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    save(Path(f"models/{name}"), best, recipe, facts)
    scratch.remove()


if __name__ == "__main__":
    run(main)
