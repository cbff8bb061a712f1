"""What it is worth to show a network the lesion alone: `python -m benchmarks.lesion_crops --data ham10000`.

The same small recipe twice: on whole photographs, and on the box around the outline that `outline` has found, with a
margin; never the known outline, and never one by a network that has seen the photograph. Compared on validation images,
by paired intervals over lesions, with the mean of the two beside. Half an hour on two cores.
Reads data/prepared, data/split.csv and data/outlines.npy; writes results/DATA/lesion_crops.csv.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from torchvision.transforms.v2.functional import resize
from tqdm import tqdm

from benchmarks.asked import asked, keep
from dermaline.base import errors, files
from dermaline.base.errors import DermalineError
from dermaline.compute import setup_fabric
from dermaline.data.index import PREPARED, SPLIT, read_index, read_split
from dermaline.evaluation import tables
from dermaline.inference.decided import beside, cross_fitted
from dermaline.params.recipe import read_recipe, recipe_path
from dermaline.params.whole import read as read_params

RECIPE, SIZE, PACKED = "lite0_ham", (112, 152), (144, 192)
PHASES = [
    {"name": "head", "epochs": 1, "backbone": 0, "head": 3},
    {"name": "all", "epochs": 5, "backbone": 0.5, "head": 1},
]
MARGIN = 0.2  # of the box's sides, on each side
LEAST = 0.005  # share of the photograph: where less is inside, there is no box

OUTLINES = Path("data/outlines.npy")
Box = tuple[int, int, int, int]  # top, left, bottom, right


def main() -> None:
    chosen = asked("What it is worth to show a network the lesion alone.")
    options, train, index = read_params().evaluate, read_split("train"), read_index()
    members = {name: beside(predictions(name), index) for name in ("whole photographs", "box around the lesion")}
    found = {name: cross_fitted({name: table}, train, options) for name, table in members.items()}
    found["mean of the two"] = cross_fitted(members, train, options)
    table = keep("lesion_crops", chosen, found, setup_fabric("auto", "auto"))
    print(table[["model", "accuracy", "balanced_accuracy", "macro_f1", "macro_auc"]].to_string(index=False))


def predictions(name: str) -> pd.DataFrame:
    """Those of the recipe, trained on photographs that are packed one way or the other, in a folder of its own."""
    inputs = [PREPARED / "index.csv", SPLIT, OUTLINES, Path("params.yaml"), recipe_path(RECIPE)]
    folder = files.scratch("lesion_crops", "-".join([name.replace(" ", "_"), *map(files.digest, inputs)]))
    path = folder / f"data/predictions/{RECIPE}.csv"
    if not (folder / PREPARED / "images.npy").exists():
        pack(folder / PREPARED, boxed=name.startswith("box"))
        shutil.copy(SPLIT, folder / SPLIT)
    recipe = read_recipe(RECIPE).model_dump(mode="json") | {"size": SIZE, "phases": PHASES}
    files.write_json(folder / "params.yaml", read_params().model_dump(mode="json"), exact=True)  # JSON is YAML
    files.write_json(recipe_path(RECIPE, folder), recipe, exact=True)
    for stage in ("train", "predict") if not path.exists() else ():
        environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "DVC_ROOT": str(Path.cwd())}
        subprocess.run([sys.executable, "-m", f"stages.{stage}", RECIPE], cwd=folder, env=environment, check=True)
    return tables.read_predictions(path)


def pack(folder: Path, *, boxed: bool) -> None:
    """Write the photographs, or their boxes, at a small size, with the index beside them."""
    images, outlines = np.load(PREPARED / "images.npy", mmap_mode="r"), np.load(OUTLINES, mmap_mode="r")
    if len(outlines) != len(images):
        raise DermalineError(f"{OUTLINES}: {len(outlines)} of {len(images)} outlines; the source has none")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PREPARED / "index.csv", folder)
    with files.replacing(folder / "images.npy") as path:
        target = open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(images), *PACKED, 3))
        for row, outline in enumerate(tqdm(outlines, unit="photograph", disable=None)):
            top, left, bottom, right = box(outline, images.shape[1:3]) if boxed else (0, 0, *images.shape[1:3])
            part = torch.from_numpy(images[row, top:bottom, left:right].copy()).permute(2, 0, 1)
            target[row] = resize(part, list(PACKED), antialias=True).permute(1, 2, 0).numpy()
        target.flush()


def box(outline: np.ndarray, size: tuple[int, int]) -> Box:
    """Around an outline, uint8 of any size with 255 inside: of the photograph's own shape, and within it.

    The whole photograph, where hardly anything is inside.
    """
    height, width = size
    inside = outline > 127
    if inside.mean() < LEAST:
        return 0, 0, height, width
    spans = [np.flatnonzero(inside.any(axis=axis))[[0, -1]] + (0, 1) for axis in (1, 0)]
    ends = [span / of for span, of in zip(spans, inside.shape, strict=True)]  # as shares of each side
    side = min(max(high - low for low, high in ends) * (1 + 2 * MARGIN), 1)
    starts = [min(max((low + high - side) / 2, 0), 1 - side) for low, high in ends]
    top, left = round(starts[0] * height), round(starts[1] * width)
    return top, left, min(top + round(side * height), height), min(left + round(side * width), width)


if __name__ == "__main__":
    errors.run(main)
