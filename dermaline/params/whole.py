"""The whole of `params.yaml`, and what its sections must agree on."""

import re
from pathlib import Path

from pydantic import model_validator

from dermaline.params.base import PARAMS, Section, nearest, read_as
from dermaline.params.compute import Compute
from dermaline.params.data import Data
from dermaline.params.evaluate import Evaluate
from dermaline.params.plot import Plot
from dermaline.params.predict import Predict
from dermaline.params.prepare import Prepare
from dermaline.params.recipe import Recipe
from dermaline.params.split import Split

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")  # of a recipe: DVC makes a path, a key and a word of a command of it


class Params(Section):
    """The whole file."""

    data: Data
    prepare: Prepare
    split: Split
    compute: Compute
    ensemble: list[str]
    recipes: dict[str, Recipe]
    predict: Predict
    evaluate: Evaluate
    plot: Plot

    @model_validator(mode="after")
    def _ensemble_is_known(self) -> "Params":
        if not self.ensemble:
            raise ValueError("ensemble: is empty; name at least one of recipes")
        for name in (*self.ensemble, *self.recipes):
            if not NAME.fullmatch(name):
                raise ValueError(f"recipes: {name!r} is no name: letters, digits, _ and - only")
        if "ensemble" in self.recipes:
            raise ValueError("recipes: 'ensemble' is the name of them all together; call the recipe otherwise")
        models = [*self.ensemble, *(["ensemble"] if len(self.ensemble) > 1 else [])]
        if self.evaluate.reference not in (None, *models):
            hint = nearest(self.evaluate.reference, models)
            raise ValueError(f"evaluate.reference: no model '{self.evaluate.reference}'; {hint}")
        for name in self.ensemble:
            if name not in self.recipes:
                raise ValueError(f"ensemble: no recipe '{name}'; {nearest(name, list(self.recipes))}")
            if self.ensemble.count(name) > 1:
                raise ValueError(f"ensemble: '{name}' is there twice; one model counts once")
        return self


def ensemble() -> list[str]:
    """The recipes to train, once the whole file is checked: their names become paths, keys and words of a command."""
    return read().ensemble


def read(path: Path = PARAMS) -> Params:
    """Read and check the whole file.

    Raises:
        DermalineError: it is missing, or the first of its faults in one line.
    """
    return read_as(Params, path, "run at the project's root")
