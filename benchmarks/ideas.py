"""What a trained model gains without training it again: `python -m benchmarks.ideas MODEL [MODEL ...] --data ham10000`.

Other views, input sizes and colours, another calibration and decision, several models together: each against the first
model as `predict` applies it, on validation images, by paired intervals over lesions. What a decision fits, it fits on
one half of the lesions and is judged on the other. Reads models/, data/prepared and data/split.csv; writes
results/DATA/ideas.csv.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from dermaline.base import errors
from dermaline.base.classes import CLASSES
from dermaline.commands import record
from dermaline.compute import in_words
from dermaline.data import metadata
from dermaline.data.batches import load_images, read_split
from dermaline.evaluation.compare import models_table
from dermaline.inference import views
from dermaline.inference.decided import cross_fitted
from dermaline.inference.member import load_member
from dermaline.inference.predict import View, whole
from dermaline.models.colour import shades_of_gray
from dermaline.params.whole import read as read_params

SCALES = (7 / 8, 8 / 7, 5 / 4)
SHOWN = ("balanced_accuracy", "macro_auc", "accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description="What a trained model gains without training it again.")
    parser.add_argument("models", nargs="+", help="names of models/; the first is the reference")
    parser.add_argument("--data", required=True, help="what it is measured on, such as ham10000")
    chosen = parser.parse_args()
    record.check_data(chosen.data)
    rows, options = read_split("val"), read_params().evaluate
    train_images = read_split("train")["dx"].value_counts().to_dict()
    seen = {name: Seen(name, rows) for name in chosen.models}

    def judged(members: Sequence[np.ndarray], **changes: str) -> pd.DataFrame:
        shares = [dict(zip(CLASSES, member.T, strict=True)) for member in members]
        tables = {str(number): rows.assign(split="val", model="", **of) for number, of in enumerate(shares)}
        return cross_fitted(tables, train_images, options.model_copy(update=changes))

    first, *others = seen.values()
    plain = first.found()
    bigger = first.found(scale=SCALES[1])
    table = {f"{chosen.models[0]}, four flips": judged([plain])}
    table |= {f"views: {tta}": judged([first.found(tta)]) for tta in ("none", "d4")}
    table |= {f"input x {scale:.3g}": judged([first.found(scale=scale)]) for scale in SCALES}
    table |= {f"two sizes, x 1 and x {SCALES[1]:.3g}": judged([(plain + bigger) / 2])}
    table |= {"shades of gray before it": judged([first.found(colours=lambda images: shades_of_gray(images, 6))])}
    table |= {"no calibration": judged([plain], calibration="none")}
    table |= {"calibrated with the prior": judged([plain], calibration="prior")}
    table |= {"decided for balanced accuracy": judged([plain], decision="balanced")}
    if others:
        every = [plain, *(other.found() for other in others)]
        table |= {name: judged([found]) for name, found in zip(chosen.models[1:], every[1:], strict=True)}
        table["ensemble"] = judged(every)
        table |= {"ensemble, with the prior": judged(every, calibration="prior")}
        table |= {"ensemble, for balanced accuracy": judged(every, decision="balanced")}
        large = [(found + other.found(scale=SCALES[1])) / 2 for found, other in zip(every, seen.values(), strict=True)]
        table |= {"ensemble, two sizes": judged(large)}
    found = models_table(table, options).assign(seeds=1, machine=in_words(first.member.device))
    command = f"python -m benchmarks.ideas {' '.join(chosen.models)} --data {chosen.data}"
    record.keep_table(found, "ideas", chosen.data, "val", command)
    shown = [f"{name}{part}" for name in SHOWN for part in ("", "_difference_low", "_difference_high")]
    print(found[["model", *shown]].to_string(index=False, float_format="%.3f"))


class Seen:
    """A trained model, and what it sees in the images of some rows."""

    def __init__(self, name: str, rows: pd.DataFrame) -> None:
        self.member, self.rows = load_member(Path("models", name), "auto", read_params().predict), rows

    def found(self, tta: str = "flips", scale: float = 1, colours: View = whole) -> np.ndarray:
        """Probabilities [N, 7] with other views, at `scale` times the height and width, or with changed colours."""
        size = tuple(round(side * scale) for side in self.member.size)
        seen = [partial(_both, view, colours) for view in views.tta_views(tta, self.member.network, size)]
        other = self.member._replace(scales=[views.Scale(size, seen)], tta=tta)
        return other(load_images(self.rows, other.size, other.device.device), metadata.encode(self.rows))


def _both(first: View, second: View, pixels: Tensor) -> Tensor:
    return second(first(pixels))


if __name__ == "__main__":
    errors.run(main)
