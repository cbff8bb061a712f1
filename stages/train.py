"""Train one recipe: `python -m stages.train RECIPE`."""

import sys
from functools import partial
from pathlib import Path

import timm
import torch

from dermaline.base.errors import DermalineError, run
from dermaline.base.files import from_root
from dermaline.base.parameters import load
from dermaline.compute import in_words, setup_fabric
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
from dermaline.models import model_io
from dermaline.params.compute import Compute
from dermaline.params.recipe import read_recipe
from dermaline.training import balance
from dermaline.training.checkpoint import ResumeCheckpoint, fingerprint
from dermaline.training.loop import ImageSplit, Trainer
from dermaline.training.reports import EpochReports


def main() -> None:
    name = sys.argv[1]
    recipe = read_recipe(name)
    compute = load(Compute, "compute")
    device = setup_fabric(compute.device, recipe.precision, compute.devices)
    precision = device.strategy.precision.precision
    start = from_root(recipe.weights)  # a file, when the recipe names one
    begun = model_io.describe_start(start, split_digest())
    teachers = [from_root(Path(folder)) / "model.safetensors" for folder in recipe.teachers]
    taught = [model_io.describe_start(teacher, split_digest()) for teacher in teachers]
    leaks = [one["model"] for one in (begun, *taught) if one and not one["same_split"]]
    if leaks and not recipe.start_of_other_split:
        what = f"recipe {name}: {leaks[0]} is not known to be of this split: it may have seen its val and test"
        raise DermalineError(f"{what}; train that one on this split first, or set start_of_other_split")
    doubts = [*balance.warnings(recipe), *["warning: no score of this model will be a measurement"] * bool(leaks)]
    for line in (f"training {name} on {in_words(device)}, {precision}", *doubts):
        device.print(line, flush=True)
    settings = {"recipe": recipe.model_dump(mode="json"), "device": device.device.type, "precision": precision}
    settings |= {"processes": device.world_size, "compile": compute.compile}
    inputs = [
        PREPARED / "images.npy",
        PREPARED / "index.csv",
        SPLIT,
        *(file for file in (start, *teachers) if file.is_file()),
    ]
    scratch = ResumeCheckpoint(fingerprint(settings, inputs))

    events = from_root(f"runs/{name}-{scratch.folder.name[:8]}") if compute.tensorboard else None
    report = EpochReports(Path(f"plots/training/{name}.csv"), events) if device.is_global_zero else None
    training = Trainer(recipe, *examples(device.device), device, scratch, report, compiled=compute.compile)
    best = training.run()
    if not device.is_global_zero:
        return
    epochs = training.epochs().set_index("epoch", drop=False)
    chosen = epochs.loc[training.best.epochs[0]]
    facts = {
        "name": name,
        "size": training.size,
        "prepared_size": packed_size(),
        "generated": generated(),
        "split": split_digest(),
        "start": begun,
        "teachers": taught,
        "epoch": int(chosen.epoch),
        **{score: float(chosen[score]) for score in epochs if score.startswith("val_")},
        "device": in_words(device),
        "precision": precision,
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    folder = Path(f"models/{name}")
    model_io.save(folder, best, recipe, facts)
    scratch.finish(folder / "model.safetensors")


def examples(device: torch.device) -> list[ImageSplit]:
    """Those of train and val; images are read when they are asked for, at the size that is asked for."""
    found = []
    for rows in map(read_split, ("train", "val")):
        whole, to_augment = (partial(read, rows, device=device) for read in (load_images, training_images))
        found.append(ImageSplit(whole, labels(rows), metadata.encode(rows), to_augment))
    return found


if __name__ == "__main__":
    run(main)
