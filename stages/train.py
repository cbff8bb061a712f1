"""Train one recipe: `python -m stages.train RECIPE`."""

import sys
from functools import partial
from pathlib import Path

import pandas as pd
import timm
import torch

from dermaline.base.errors import DermalineError, run
from dermaline.base.files import DIGITS, from_root, write_text
from dermaline.base.parameters import load
from dermaline.compute import fabric, in_words
from dermaline.data import metadata
from dermaline.data.batches import (
    PREPARED,
    SPLIT,
    generated,
    labels,
    load_images,
    packed_size,
    read_split,
    split_digest,
    training_images,
)
from dermaline.models import store
from dermaline.params.compute import Compute
from dermaline.params.recipe import read_recipe
from dermaline.training import balance
from dermaline.training.checkpoint import Scratch, fingerprint
from dermaline.training.loop import Examples, Training


def main() -> None:
    name = sys.argv[1]
    recipe = read_recipe(name)
    compute = load(Compute, "compute")
    device = fabric(compute.device, recipe.precision, compute.devices)
    precision = device.strategy.precision.precision
    start = from_root(recipe.weights)  # a file, when the recipe names one
    begun = store.start(start, split_digest())
    leaks = bool(begun) and not begun["same_split"]
    if leaks and not recipe.start_of_other_split:
        what = f"recipe {name}: weights: {start} is not known to be of this split: it may have seen its val and test"
        raise DermalineError(f"{what}; train that one on this split first, or set start_of_other_split")
    doubts = [*balance.warnings(recipe), *["warning: no score of this model will be a measurement"] * leaks]
    for line in (f"training {name} on {in_words(device)}, {precision}", *doubts):
        device.print(line, flush=True)
    settings = {"recipe": recipe.model_dump(mode="json"), "device": device.device.type, "precision": precision}
    settings |= {"processes": device.world_size, "compile": compute.compile}
    inputs = [PREPARED / "images.npy", PREPARED / "index.csv", SPLIT, *([start] if start.is_file() else [])]
    scratch = Scratch(fingerprint(settings, inputs))

    training = Training(recipe, *examples(device.device), device, scratch, compiled=compute.compile)
    best = training.run()
    if not device.is_global_zero:
        return
    scores, history = training.scores(), pd.DataFrame(training.history)
    history["kept"] = (history.index == scores.index(max(scores))).astype(int)
    chosen = history[history.kept == 1].iloc[0]
    write_text(Path(f"plots/training/{name}.csv"), history.round(DIGITS).to_csv(index=False, lineterminator="\n"))
    facts = {
        "name": name,
        "size": training.size,
        "prepared_size": packed_size(),
        "generated": generated(),
        "split": split_digest(),
        "start": begun,
        "epoch": int(chosen.epoch),
        **{score: float(chosen[score]) for score in history if score.startswith("val_")},
        "device": in_words(device),
        "precision": precision,
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    store.save(Path(f"models/{name}"), best, recipe, facts)
    scratch.remove()


def examples(device: torch.device) -> list[Examples]:
    """Those of train and val; images are read when they are asked for, at the size that is asked for."""
    found = []
    for split, read in (("train", training_images), ("val", load_images)):
        rows = read_split(split)
        found.append(Examples(partial(read, rows, device=device), labels(rows), metadata.encode(rows)))
    return found


if __name__ == "__main__":
    run(main)
