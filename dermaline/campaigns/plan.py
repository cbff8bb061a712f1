"""What a campaign trains: its file of rows, and the trainings that these rows need."""

import copy
import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from dermaline.base.errors import DermalineError
from dermaline.base.files import digest, scratch
from dermaline.base.parameters import Section, Seed, fault, read_as
from dermaline.base.versions import installed
from dermaline.data.index import PREPARED
from dermaline.params import whole
from dermaline.params.recipe import Recipe, read_recipe
from dermaline.params.whole import Params

SETTABLE = ("recipe", "split", "predict", "evaluate", "compute")  # the images are packed before a campaign
INSTEAD = {
    "recipe.seed": "state seeds",
    "ensemble": "state recipes for each row",
    "evaluate.reference": "the first row is the reference",
}
MODEL_FILES = ("model.safetensors", "recipe.json")
# One table has one of each: rows are compared on the same images, by the same draws.
COMMON = ("split", "evaluate.bootstrap", "evaluate.seed", "evaluate.calibration_bins")


class Row(Section):
    """One line of the table: a recipe, or several as an ensemble, and what is set otherwise for it."""

    name: str
    recipes: list[str] = Field(min_length=1)
    set: dict[str, Any] = Field(default_factory=dict)
    claim: str = ""  # a public project's own, of such a recipe


class Campaign(Section):
    """One table; its first row is the one that the others are compared with, on validation."""

    split: Literal["val", "test"]  # whose images are scored
    seeds: list[Seed]
    folds: bool = False  # a cross-validation: with each seed once for each of `split.folds` folds
    set: dict[str, Any]  # for every row: a dotted key of one of `SETTABLE` (`recipe`: its own recipes), and its value
    rows: list[Row]


class Run(NamedTuple):
    """One time that every row is trained."""

    seed: int
    fold: int | None  # None: the split by shares

    def __str__(self) -> str:
        return f"seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")


@dataclass(frozen=True)
class TrainingJob:
    """One training with its predictions: a recipe under parameters of its own."""

    recipe: str
    settings: Params
    training: Recipe

    @cached_property
    def folder(self) -> Path:
        """Where it is trained, named by the images and by all parameters and weights that decide its own.

        The name does not know the code: after a change of that, remove `.scratch/campaign`.
        """
        decides = self.settings.model_dump(mode="json", include={"data", "prepare", "split", "compute"})
        decides["prepared"] = [_content(PREPARED / name) for name in ("images.npy", "index.csv")]
        decides["packages"] = installed()
        decides["recipe"] = self.training.model_dump(mode="json")
        of_teachers = (f"{folder}/{file}" for folder in self.training.teachers for file in MODEL_FILES)
        others = [self.training.weights, *of_teachers]
        decides["weights"] = [digest(Path(path)) for path in others if Path(path).is_file()]
        name = hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=8).hexdigest()
        return scratch("campaign", f"{self.recipe}-{name}")

    @property
    def predictions(self) -> Path:
        views = self.settings.predict
        return self.folder / f"{views.tta}-{'x'.join(map(str, views.grid))}-{views.scales}.csv"


def _content(path: Path) -> str:
    """The digest of a file that may be gigabytes, read once as long as it is not written again."""
    known = path.stat()
    return _digest(path.absolute(), known.st_size, known.st_mtime_ns)


@cache
def _digest(path: Path, size: int, written: int) -> str:
    return digest(path)


def read(path: Path) -> Campaign:
    """Read a campaign.

    Raises:
        DermalineError: it is missing, or the first of its faults.
    """
    campaign = read_as(Campaign, path, "give one of campaigns/")
    if _repeats([row.name for row in campaign.rows]) or not campaign.rows or not campaign.seeds:
        raise DermalineError(f"{path}: it needs a row and a seed, and every row a name of its own")
    if _repeats(campaign.seeds) or any(_repeats(row.recipes) for row in campaign.rows):
        raise DermalineError(f"{path}: a seed, or a recipe of a row, stands there twice; each counts once")
    if campaign.folds and "split.fold" in campaign.set:
        raise DermalineError(f"{path}: split.fold can't be set with folds: true, which runs every fold")
    for key in sorted({key for row in campaign.rows for key in row.set}):
        if any(key == common or key.startswith(f"{common}.") for common in COMMON):
            raise DermalineError(f"{path}: {key} can't be set for one row; set it for all, or in a campaign of its own")
    for key, value in (pair for place in (campaign, *campaign.rows) for pair in sorted(place.set.items())):
        if isinstance(value, dict):
            raise DermalineError(f"{path}: {key} can't be set as a whole; set its keys one by one, such as {key}.KEY")
        if key in INSTEAD:
            raise DermalineError(f"{path}: {key} can't be set; {INSTEAD[key]}")
        if key.split(".")[0] not in SETTABLE:
            instead = "recipe.KEY is" if key.startswith("train.") else f"keys of {', '.join(SETTABLE)} are"
            raise DermalineError(f"{path}: {key} can't be set, a campaign does not look at it; {instead} what can")
    return campaign


def _repeats(values: list) -> bool:
    return len(set(values)) < len(values)


def runs(campaign: Campaign) -> list[Run]:
    """How often each row is trained."""
    count = campaign.set.get("split.folds", whole.read().split.folds)
    folds = range(count) if campaign.folds else [None]
    return [Run(seed, fold) for seed in campaign.seeds for fold in folds]


def jobs(campaign: Campaign, row: Row, run: Run) -> list[TrainingJob]:
    """The trainings of one row and run, each under `params.yaml` with what campaign and row set.

    A run's seed is added to the recipe's own, so that the members of an ensemble draw apart from each other.
    """
    trainings = []
    for recipe in row.recipes:
        stated = read_recipe(recipe)
        tree = whole.read().model_dump(mode="json") | {"recipe": stated.model_dump(mode="json")}
        own = {"ensemble": [recipe], "evaluate.reference": None, "recipe.seed": stated.seed + run.seed}
        changes = campaign.set | row.set | own
        changes |= {"split.fold": run.fold} if campaign.folds else {}
        for key, value in changes.items():
            holder, last = _find(tree, key)
            holder[last] = copy.deepcopy(value)  # a later key may change a part of it
        try:
            training = Recipe.model_validate(tree.pop("recipe"))
            trainings.append(TrainingJob(recipe, Params.model_validate(tree), training))
        except ValidationError as problem:
            raise DermalineError(f"campaign row '{row.name}': {fault(problem)}") from None
        if training.start_of_other_split:
            what = f"campaign row '{row.name}': recipe {recipe}: start_of_other_split"
            raise DermalineError(f"{what}: a model that may have seen val and test can't be compared; set it to false")
    return trainings


def _find(tree: dict | list, key: str) -> tuple[dict | list, str | int]:
    """The mapping (or list) that holds a dotted key, and the key's last part.

    Raises:
        DermalineError: there is no such key.
    """
    *parts, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    try:
        for part in parts:
            tree = tree[part]
        tree[last]
    except (KeyError, IndexError, TypeError):
        raise DermalineError(f"campaign: set: there is no parameter '{key}'") from None
    return tree, last
