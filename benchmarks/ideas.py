"""What a trained model gains without training it again: `python -m benchmarks.ideas MODEL [MODEL ...] --data ham10000`.

Other views, scales and colours, another calibration and decision, several models together: each against the first
model as `predict` applies it, on validation images, by paired intervals over lesions. What a decision fits, it fits on
one half of the lesions and is judged on the other. Reads models/, data/prepared and data/split.csv; writes
results/DATA/ideas.csv.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from benchmarks.asked import asked, keep
from dermaline.base import errors
from dermaline.base.classes import CLASSES
from dermaline.blocks import blocks
from dermaline.data import metadata
from dermaline.data.batches import load_images
from dermaline.data.index import read_split
from dermaline.inference import views
from dermaline.inference.decided import cross_fitted
from dermaline.inference.member import load_member
from dermaline.inference.predict import View, whole
from dermaline.models.backbone import input_size
from dermaline.models.colour import shades_of_gray
from dermaline.params.evaluate import Evaluate
from dermaline.params.predict import Predict
from dermaline.params.whole import read as read_params

Grid = tuple[int, int]
SCALES = (7 / 8, 8 / 7, 5 / 4)
SHOWN = ("balanced_accuracy", "macro_auc", "accuracy")


def main() -> None:
    chosen = asked(
        "What a trained model gains without training it again.", "names of models/; the first is the reference"
    )
    rows, train, options = read_split("val"), read_split("train"), read_params().evaluate
    seen = {name: Seen(name, rows) for name in chosen.models}

    def judged(members: Sequence[np.ndarray], **changes: str) -> pd.DataFrame:
        return decided_on(rows, members, train, options.model_copy(update=changes))

    first, *others = seen.values()
    plain = first.found()
    table = {f"{chosen.models[0]}, as predict applies it": judged([plain])}
    table |= {name: judged([first.found(**changes)]) for name, changes in first.other_views().items()}
    table |= {"shades of gray before it": judged([first.found(colours=lambda images: shades_of_gray(images, 6))])}
    table |= {f"calibration: {kind}": judged([plain], calibration=kind) for kind in ("none", "prior", "vector")}
    table |= {"decided for balanced accuracy": judged([plain], decision="balanced")}
    if others:
        every = [plain, *(other.found() for other in others)]
        table |= {name: judged([found]) for name, found in zip(chosen.models[1:], every[1:], strict=True)}
        table["ensemble"] = judged(every)
        table |= {f"ensemble, calibration: {kind}": judged(every, calibration=kind) for kind in ("prior", "vector")}
        table |= {"ensemble, for balanced accuracy": judged(every, decision="balanced")}
    found = keep("ideas", chosen, table, first.member.fabric)
    shown = [f"{name}{part}" for name in SHOWN for part in ("", "_difference_low", "_difference_high")]
    print(found[["model", *shown]].to_string(index=False, float_format="%.3f"))


def decided_on(
    rows: pd.DataFrame, members: Sequence[np.ndarray], train: pd.DataFrame, options: Evaluate
) -> pd.DataFrame:
    """Validation rows, decided by the mean of members' probabilities [N, 7]: see `cross_fitted`."""
    shares = [dict(zip(CLASSES, member.T, strict=True)) for member in members]
    tables = {str(number): rows.assign(split="val", model="", **of) for number, of in enumerate(shares)}
    return cross_fitted(tables, train, options)


class Seen:
    """A trained model, and what it sees in the images of some rows."""

    def __init__(self, name: str, rows: pd.DataFrame, device: str = "auto") -> None:
        self.options, self.rows = read_params().predict, rows
        self.member = load_member(Path("models", name), device, self.options)
        self.recipe, self.network = self.member.recipe, self.member.network
        self.at_scale: dict[tuple, np.ndarray] = {}

    def other_views(self) -> dict[str, dict[str, Any]]:
        """What is tried instead of the views that the parameters state, in words and as `found` takes it."""
        tried = {f"tta: {tta}": {"tta": tta} for tta in ("none", "flips", "d4") if tta != self.options.tta}
        height, width = input_size(self.recipe)
        if self.network.takes_one_size and height != width:
            tried.pop("tta: d4", None)
        if self.recipe.view == "whole":
            larger = () if self.network.takes_one_size else SCALES
            return tried | {f"input x {scale:.3g}": {"larger": scale} for scale in larger}
        grids = ((number, number) for number in (1, 2, 3, 4))
        tried |= {f"{rows} x {columns} windows": {"grid": (rows, columns)} for rows, columns in grids}
        if self.recipe.view == "mixed":
            tried |= {f"{number} scales": {"scales": number} for number in (2, 3, 5)}
            tried |= {"the whole photograph alone": {"view": "whole"}, "its own scale alone": {"view": "crop"}}
        stated = ({"grid": self.options.grid}, {"scales": self.options.scales})
        return {name: changes for name, changes in tried.items() if changes not in stated}

    def found(
        self, *, view: str | None = None, larger: float = 1, colours: View = whole, **changes: str | int | Grid
    ) -> np.ndarray:
        """Probabilities [N, 7] with other parameters of `predict`, another view, larger inputs or changed colours."""
        options = self.options.model_copy(update=changes)
        recipe = self.recipe.model_copy(update={"view": view or self.recipe.view})
        seen = views.scales(recipe, options, views.tta_views(options.tta, self.network, input_size(recipe)))
        if larger != 1:
            size = tuple(round(side * larger) for side in input_size(recipe))
            seen = [views.Scale(size, views.VIEWS[options.tta])]
        return np.mean([self._at(scale, options, colours) for scale in seen], axis=0)

    def _at(self, scale: views.Scale, options: Predict, colours: View) -> np.ndarray:
        """At one scale; what was seen before is not looked at again."""
        key = (scale.size, options.tta, options.grid, colours)
        if key not in self.at_scale:
            seen = [partial(_both, view, colours) for view in scale.views]
            member = self.member._replace(scales=[views.Scale(scale.size, seen)])
            parts = [self.rows.iloc[part].reset_index(drop=True) for part in blocks(len(self.rows), 512)]
            device = member.fabric.device
            self.at_scale[key] = np.concatenate(
                [member(load_images(part, scale.size, device), metadata.encode(part)) for part in parts]
            )
        return self.at_scale[key]


def _both(first: View, second: View, pixels: Tensor) -> Tensor:
    return second(first(pixels))


if __name__ == "__main__":
    errors.run(main)
