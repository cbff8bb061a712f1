"""A campaign: the rows of one table of results, trained, predicted and compared; what is done is not done again.

The rows stand in a file of `campaigns/`. It calls the stage scripts as DVC does, several at a time if wanted, so it
also runs where DVC is not: on a borrowed GPU, in parts.
"""

import argparse
import copy
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from pydantic import Field, ValidationError

from dermaline.base.errors import DermalineError
from dermaline.base.files import digest, scratch, write_json
from dermaline.base.parameters import Section, Seed, fault, read_as
from dermaline.base.versions import installed
from dermaline.commands.record import check_data, keep_table, machine
from dermaline.data.batches import PREPARED, SPLIT, packed_size
from dermaline.evaluation import tables
from dermaline.evaluation.compare import COMPARED, models_table
from dermaline.evaluation.summary import headline
from dermaline.inference.decided import cross_fitted, decide
from dermaline.models.model_io import check_clean, read_model_info
from dermaline.params import whole
from dermaline.params.recipe import Recipe, read_recipe, recipe_path
from dermaline.params.whole import Params


class Row(Section):
    """One line of the table: a recipe, or several as an ensemble, and what is set otherwise for it."""

    name: str
    recipes: list[str]
    set: dict[str, Any] = Field(default_factory=dict)
    claim: str = ""  # a public project's own, of such a recipe


class Campaign(Section):
    """One table; its first row is the one that the others are compared with, on validation."""

    split: Literal["val", "test"]  # whose images are scored
    seeds: list[Seed]
    folds: bool = False  # a cross-validation: with each seed once for each of `split.folds` folds
    set: dict[str, Any]  # for every row: a dotted key of params.yaml, or recipe.KEY of its own recipes, and its value
    rows: list[Row]


class Run(NamedTuple):
    """One time that every row is trained."""

    seed: int
    fold: int | None  # None: the split by shares

    def __str__(self) -> str:
        return f"seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")


@dataclass(frozen=True)
class Model:
    """One training with its predictions: a recipe under parameters of its own."""

    recipe: str
    settings: Params
    training: Recipe

    @cached_property
    def folder(self) -> Path:
        """Where it is trained, named by the images and by all parameters and weights that decide its own.

        The name does not know the code: after a change of that, remove `.scratch/campaign`.
        """
        decides = self.settings.model_dump(mode="json", include={"data", "prepare", "split"})
        decides["index"] = (PREPARED / "index.csv").read_text(encoding="utf-8")
        decides["packages"] = installed()
        decides["recipe"] = self.training.model_dump(mode="json")
        weights = Path(decides["recipe"]["weights"])
        if weights.is_file():
            decides["weights"] = digest(weights)
        name = hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=8).hexdigest()
        return scratch("campaign", f"{self.recipe}-{name}")

    @property
    def predictions(self) -> Path:
        return self.folder / f"{self.settings.predict.tta}.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="such as campaigns/recipes.yaml")
    parser.add_argument("--data", required=True, help="what it is measured on, such as ham10000")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time")
    parser.add_argument("--minutes", type=float, default=1e6, metavar="N", help="then stop; call again to go on")


def main(options: argparse.Namespace) -> str:
    return run(options.file, options.data, options.jobs, options.minutes)


def run(path: Path, data: str, jobs: int, minutes: float) -> str:
    """Do what is left of a campaign, and write the rows that are done to `results/DATA/NAME.csv`.

    Several runs of a row, with other seeds or on other folds, are pooled: an image is there once a run that scored it,
    and an interval redraws lesions, not runs, for which the standard deviation stands.

    Args:
        path: of the campaign; NAME is its stem.
        data: a name for the data, such as `ham10000`.
        jobs: trainings at a time.
        minutes: after these nothing is started, and what runs is stopped; the next call goes on from its last epoch.

    Raises:
        DermalineError: the campaign can't be read, other images are packed, or a stage failed (after the others).
    """
    campaign, deadline = read(path), time.monotonic() + 60 * minutes
    check_data(data)
    if whole.read().prepare.size != tuple(packed_size()):
        raise DermalineError(f"{PREPARED}: packed at another size than prepare.size; run dvc repro, or set it back")
    every = runs(campaign)
    models = {row.name: [members(campaign, row, one) for one in every] for row in campaign.rows}
    trainings: dict[Path, list[Model]] = {}
    for model in (one for ensembles in models.values() for ensemble in ensembles for one in ensemble):
        trainings.setdefault(model.folder, []).append(model)
    with ThreadPoolExecutor(jobs) as pool:
        failures = [said for said in pool.map(lambda same: do(same, deadline), trainings.values()) if said]
    done = {name: each for name, each in models.items() if all(m.predictions.exists() for e in each for m in e)}
    if campaign.rows[0].name in done:
        command = f"python -m dermaline campaign {path} --data {data}"
        keep_table(table(campaign, done), path.stem, data, campaign.split, command)
    if failures:
        raise DermalineError(f"{path}: {failures[0]}{f', and {len(failures) - 1} more' if failures[1:] else ''}")
    left = "" if len(done) == len(models) else "; call it again"
    return f"{path}: {len(done)} of {len(models)} rows are done{left}"


def read(path: Path) -> Campaign:
    """Read a campaign.

    Raises:
        DermalineError: it is missing, or the first of its faults.
    """
    campaign = read_as(Campaign, path, "give one of campaigns/")
    if len({row.name for row in campaign.rows}) < len(campaign.rows) or not campaign.rows or not campaign.seeds:
        raise DermalineError(f"{path}: it needs a row and a seed, and every row a name of its own")
    if campaign.folds and any(key in row.set for row in campaign.rows for key in ("split.fold", "split.folds")):
        raise DermalineError(f"{path}: with folds: true, split.folds is set for all rows, and split.fold for none")
    return campaign


def runs(campaign: Campaign) -> list[Run]:
    """How often each row is trained."""
    count = campaign.set.get("split.folds", whole.read().split.folds)
    folds = range(count) if campaign.folds else [None]
    return [Run(seed, fold) for seed in campaign.seeds for fold in folds]


def members(campaign: Campaign, row: Row, one: Run) -> list[Model]:
    """The models of one row and run, each under `params.yaml` with what campaign and row set."""
    found = []
    for recipe in row.recipes:
        tree = whole.read().model_dump(mode="json") | {"recipe": read_recipe(recipe).model_dump(mode="json")}
        changes = campaign.set | row.set | {"ensemble": [recipe], "recipe.seed": one.seed}
        changes |= {"split.fold": one.fold} if campaign.folds else {}
        for key, value in changes.items():
            holder, last = _find(tree, key)
            holder[last] = copy.deepcopy(value)  # a later key may change a part of it
        try:
            own = Recipe.model_validate(tree.pop("recipe"))
            found.append(Model(recipe, Params.model_validate(tree), own))
        except ValidationError as problem:
            raise DermalineError(f"campaign row '{row.name}': {fault(problem)}") from None
    return found


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


def do(same: Sequence[Model], deadline: float) -> str | None:
    """Train a model and predict with it, once for each test-time augmentation; the error line if that failed."""
    folder, recipe = same[0].folder, same[0].recipe
    (folder / PREPARED.parent).mkdir(parents=True, exist_ok=True)
    if not (folder / PREPARED).exists():
        (folder / PREPARED).symlink_to(PREPARED.absolute())
    for model in same:
        write_json(folder / "params.yaml", model.settings.model_dump(mode="json"), exact=True)  # JSON is YAML
        write_json(recipe_path(recipe, folder), model.training.model_dump(mode="json"), exact=True)
        stages = [] if (folder / SPLIT).exists() else [["split"]]
        stages += [] if (folder / f"models/{recipe}").exists() else [["train", recipe]]
        for stage in [] if model.predictions.exists() else [*stages, ["predict", recipe]]:
            said = _stage(folder, stage, deadline)
            if said is not None:
                return said or None
        if not model.predictions.exists():
            (folder / f"data/predictions/{recipe}.csv").replace(model.predictions)
    return None


def _stage(folder: Path, stage: list[str], deadline: float) -> str | None:
    """Run one stage script in `folder`: None when it is done, its error line, or nothing when there was no time.

    Its warnings are passed on to stderr.
    """
    root = Path.cwd()
    environment = os.environ | {"PYTHONPATH": str(root), "DVC_ROOT": str(root)}
    left = deadline - time.monotonic()
    if left <= 0:
        return ""
    path, command = folder / f"{stage[0]}.log", [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]]
    try:
        with path.open("w") as log:
            subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=left, check=True)
    except subprocess.TimeoutExpired:
        return ""
    except subprocess.CalledProcessError as problem:
        said = path.read_text().strip().splitlines() or ["nothing was said"]
        return f"{path}: exit status {problem.returncode}: {said[-1]}"
    for line in path.read_text().splitlines():
        if line.startswith("warning:"):
            print(f"{path}: {line}", file=sys.stderr)
    return None


def table(campaign: Campaign, done: dict[str, list[list[Model]]]) -> pd.DataFrame:
    """Decide for each run on its own validation images, pool the runs, and compare with the first row.

    Rows are compared on validation, whatever is scored: those columns of a table of the test begin with `val_`.
    """
    options, every = whole.read().evaluate, runs(campaign)
    for model in (one for ensembles in done.values() for ensemble in ensembles for one in ensemble):
        check_clean(model.recipe, read_model_info(model.folder / "models" / model.recipe))

    def on(split: str) -> dict[str, list[pd.DataFrame]]:
        return {name: [scored(split, *one) for one in zip(every, made, strict=True)] for name, made in done.items()}

    def pooled(each: dict[str, list[pd.DataFrame]]) -> pd.DataFrame:
        return models_table({name: pd.concat(tables) for name, tables in each.items()}, options)

    each = on(campaign.split)
    found = pooled(each)
    if campaign.split == "test":
        compared = [column for column in found if "_difference" in column or column.endswith("_verdict")]
        found = found.drop(columns=compared).join(pooled(on("val"))[compared].add_prefix("val_"))
    claims = {row.name: row.claim for row in campaign.rows}
    found.insert(1, "claim", found["model"].map(claims))
    found.insert(2, "seeds", len(campaign.seeds))
    found.insert(3, "folds", len(every) // len(campaign.seeds) if campaign.folds else 0)
    spread = [pd.DataFrame(headline(table, options) for table in tables).std() for tables in each.values()]
    for name in COMPARED:
        found.insert(found.columns.get_loc(name) + 1, f"{name}_sd", [one[name] for one in spread])
    first = [ensembles[0][0] for ensembles in done.values()]
    return found.assign(machine=[machine(read_model_info(model.folder / "models" / model.recipe)) for model in first])


def scored(split: str, one: Run, ensemble: Sequence[Model]) -> pd.DataFrame:
    """The decided predictions of one row and run on test, or on val, each half by what was fitted on the other."""
    first = ensemble[0]
    index = pd.read_csv(PREPARED / "index.csv", dtype=str).merge(pd.read_csv(first.folder / SPLIT, dtype=str))
    train_images = index.query("split == 'train'")["dx"].value_counts().to_dict()
    aligned = tables.aligned([tables.read_predictions(model.predictions) for model in ensemble])
    options = first.settings.evaluate
    members = dict(zip([model.recipe for model in ensemble], aligned, strict=True))
    if split == "test":
        decided = decide(members, train_images, options).test
    else:
        decided = cross_fitted(members, train_images, options)
    return decided.assign(image_id=decided["image_id"] + f" of {one}")
