"""The whole of `params.yaml`, and what its sections must agree on."""

import re
from pathlib import Path

from pydantic import model_validator

from dermaline.base.errors import DermalineError
from dermaline.base.parameters import PARAMS, Section, nearest, read_as
from dermaline.params.compute import Compute
from dermaline.params.data import Data
from dermaline.params.evaluate import Evaluate
from dermaline.params.explain import Explain
from dermaline.params.export import Export
from dermaline.params.external import External
from dermaline.params.ood import OOD_FOLDER, Ood
from dermaline.params.plot import Plot
from dermaline.params.predict import Predict
from dermaline.params.prepare import Prepare
from dermaline.params.recipe import Train, read_recipe, recipe_names, recipe_path
from dermaline.params.segment import Segment
from dermaline.params.split import Split

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")  # DVC makes a path, a key and a word of a command of it
RESERVED = {
    "ensemble": "the name of them all together",
    OOD_FOLDER: "the folder of the stage ood beside the models",
    "segmentation": "the folder of the stage segment beside the models",
    "exported": "the folder of the stage export beside the models",
}


class Params(Section):
    """The whole file."""

    data: Data
    prepare: Prepare
    split: Split
    compute: Compute
    ensemble: list[str]
    train: Train
    predict: Predict
    evaluate: Evaluate
    explain: Explain
    segment: Segment
    ood: Ood
    export: Export
    external: dict[str, External]
    plot: Plot

    @model_validator(mode="after")
    def _ensemble_is_one(self) -> "Params":
        if not self.ensemble:
            raise ValueError("ensemble: is empty; name at least one recipe, a file of recipes/")
        for name in self.ensemble:
            _check_name("ensemble", name)
            if self.ensemble.count(name) > 1:
                raise ValueError(f"ensemble: '{name}' is there twice; one model counts once")
        for name in RESERVED.keys() & set(self.ensemble):
            raise ValueError(f"ensemble: '{name}' is {RESERVED[name]}; call the recipe otherwise")
        models = [*self.ensemble, *(["ensemble"] if len(self.ensemble) > 1 else [])]
        if self.evaluate.reference not in (None, *models):
            hint = nearest(self.evaluate.reference, models)
            raise ValueError(f"evaluate.reference: no model '{self.evaluate.reference}'; {hint}")
        return self

    @model_validator(mode="after")
    def _phases_leave_the_size_to_recipes(self) -> "Params":
        """DVC's run-cache would not see it there: see dvc.yaml."""
        if any(phase.size for phase in self.train.phases):
            raise ValueError("train.phases: a phase's size belongs into a recipe's own file; state phases there")
        return self

    @model_validator(mode="after")
    def _external_have_names(self) -> "Params":
        for name in self.external:
            _check_name("external", name)
        return self


def _check_name(key: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{key}: {name!r} is no name: letters, digits, _ and - only")


def ensemble() -> list[str]:
    """The recipes to train, once all parameters are checked: their names become paths and words of a command.

    Raises:
        DermalineError: a recipe has no file, or the first fault of the parameters.
    """
    names, there = read().ensemble, recipe_names()
    for name in names:
        if name not in there:
            raise DermalineError(
                f"{recipe_path(name)}: not found; {PARAMS} names it in ensemble; {nearest(name, there)}"
            )
        read_recipe(name)
    return names


def read(path: Path = PARAMS) -> Params:
    """Read and check the whole of `params.yaml`.

    Raises:
        DermalineError: it is missing, or the first of its faults in one line.
    """
    return read_as(Params, path, "run at the project's root")
