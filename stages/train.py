"""Train one recipe: `python -m stages.train RECIPE`."""

from functools import partial
from pathlib import Path

import timm
import torch

from dermaline.base.errors import run
from dermaline.base.files import from_root
from dermaline.base.parameters import load
from dermaline.compute import in_words, setup_fabric
from dermaline.data import metadata
from dermaline.data.batches import generated, labels, load_images, packed_size, split_digest, training_images
from dermaline.data.index import PREPARED, SPLIT, read_split
from dermaline.models import model_io
from dermaline.models.weights import origins_of
from dermaline.params.compute import Compute
from dermaline.params.recipe import read_recipe
from dermaline.training import balance
from dermaline.training.checkpoint import ResumeCheckpoint, fingerprint
from dermaline.training.loop import ImageSplit, Trainer
from dermaline.training.reports import EpochReports
from stages import argument


def main() -> None:
    name = argument("RECIPE")
    recipe = read_recipe(name)
    compute = load(Compute, "compute")
    fabric = setup_fabric(compute.device, recipe.precision, compute.devices)
    precision = fabric.strategy.precision.precision
    origins = origins_of(recipe.weights, recipe.teachers, split_digest())
    if not recipe.start_of_other_split:
        origins.require_same_split(f"recipe {name}", ", or set start_of_other_split")
    doubts = balance.warnings(recipe)
    doubts += ["warning: no score of this model will be a measurement"] * bool(origins.leaks)
    for line in (f"training {name} on {in_words(fabric)}, {precision}", *doubts):
        fabric.print(line, flush=True)
    settings = {"recipe": recipe.model_dump(mode="json"), "device": fabric.device.type, "precision": precision}
    settings |= {"processes": fabric.world_size, "compile": compute.compile}
    inputs = [PREPARED / "images.npy", PREPARED / "index.csv", SPLIT, *origins.files]
    scratch = ResumeCheckpoint(fingerprint(settings, inputs))

    events = from_root(f"runs/{name}-{scratch.folder.name[:8]}") if compute.tensorboard else None
    report = EpochReports(Path(f"plots/training/{name}.csv"), events) if fabric.is_global_zero else None
    training = Trainer(recipe, *examples(fabric.device), fabric, scratch, report, compiled=compute.compile)
    best = training.run()
    if not fabric.is_global_zero:
        return
    facts = {
        "name": name,
        "size": training.size,
        "prepared_size": packed_size(),
        "generated": generated(),
        "split": split_digest(),
        "start": origins.start,
        "teachers": origins.teachers,
        "epoch": training.best.epochs[0],
        **training.kept_scores,
        "device": in_words(fabric),
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
