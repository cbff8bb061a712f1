"""The command `record`, and the results it keeps: metrics files of a run or tables, a row each in their summary."""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from dermaline.base.errors import DermalineError
from dermaline.base.files import DIGITS, locked, replacing, scratch, write_json, write_text
from dermaline.data.batches import generated
from dermaline.data.split import SPLITS
from dermaline.models.model_info import check_clean, machine, read_model_info
from dermaline.params import whole
from dermaline.params.split import Split
from dermaline.sources.archive import GENERATED

SUMMARY = Path("results/summary.json")
TABLE = "table"  # the kind of a row that stands for a table of models, beside `single` and `ensemble`
HEADLINE = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "macro_auc")
METRICS = ("test", "details", "split", "decision")
SERIES = ("confusion", "per_class", "protocols", "slices", "models", "risk", "sets")
SHOWS_LESIONS = ("samples.png", "augmentation.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the row's name, such as the recipe's")
    parser.add_argument("--data", required=True, help="what it was measured on, such as ham10000")
    parser.add_argument("--made-by", required=True, metavar="COMMAND", help="the command that made it")
    parser.add_argument("--seconds", required=True, type=float, help="how long that command took")


def main(options: argparse.Namespace) -> Path:
    return record(options.name, options.data, options.made_by, options.seconds)


def record(name: str, data: str, command: str, seconds: float) -> Path:
    """Copy the metrics and figures of the last run to `results/DATA/NAME` and enter its row in the summary.

    Args:
        name: of the row, such as the recipe's.
        data: folder name for the data it was measured on, such as `ham10000`; generated data are `synthetic`.
        command: what made it.
        seconds: how long that took.

    Raises:
        DermalineError: the pipeline has not been run, `data` is not what it ran on, the code is not committed, or what
            lies there is not of one run, or of a model that has seen its test images.
    """
    check_data(data)
    changed = git("status", "--porcelain", "--", "dermaline", "stages", "recipes", "dvc.yaml")
    if changed:
        raise DermalineError(f"{changed.split()[-1]}: not committed; commit the code first, then record what it made")
    require_last_run()
    options = whole.read()
    folder = Path("results") / data / name
    try:
        require_one_run(Path("metrics"))
        details, split = (json.loads(Path(f"metrics/{part}.json").read_text()) for part in ("details", "split"))
        recipes = [model for model in details if model != "ensemble"]
        trained = [read_model_info(Path("models", recipe)) for recipe in recipes]
        for recipe, known in zip(recipes, trained, strict=True):
            check_clean(recipe, known)
        series = [*(f"evaluation/{name}" for name in SERIES), *(f"training/{recipe}" for recipe in recipes)]
        explained = [f"metrics/explain/{recipe}.json" for recipe in recipes]
        tables = [
            *(f"metrics/{name}.json" for name in (*METRICS, "segmentation", "ood")),
            *(f"plots/{name}.csv" for name in series),
        ]
        _copy(folder, {"": tables, "explain": explained, "figures": figures()})
    except FileNotFoundError as problem:
        raise DermalineError(f"{problem.filename}: not found; run dvc repro first") from None
    row = {"name": name, "kind": "single" if len(recipes) == 1 else "ensemble", "data": data}
    row |= {"split": split_in_words(options.split, split)}
    row |= summary_numbers(details[list(details)[-1]]["image_level"])
    row |= {"seeds": [model["recipe"]["seed"] for model in trained], "machine": machine(trained[0])}
    row |= {"seconds": round(seconds), "command": command, "commit": git("rev-parse", "HEAD")}
    write_json(folder / "made.json", row)
    _enter(row)
    return folder


def keep_table(table: pd.DataFrame, name: str, data: str, split: str, command: str) -> None:
    """Write a table of models to `results/DATA/NAME.csv`, and enter its row in the summary.

    Args:
        table: of `compare.models_table`, with the columns `seeds` (how many) and `machine` beside.
        name: of the table.
        data: as for `record`.
        split: whose images are scored.
        command: what made it.
    """
    table = table.assign(command=command).round(DIGITS)
    write_text(Path("results", data, f"{name}.csv"), table.to_csv(index=False, lineterminator="\n"))
    row = {"name": name, "kind": TABLE, "data": data, "split": split, "rows": len(table)}
    machines = ", or ".join(dict.fromkeys(table["machine"]))
    _enter(row | {"seeds": int(table["seeds"].max()), "machine": machines, "command": command})


def _enter(row: dict[str, Any]) -> None:
    """Put a row in the summary, in the place of an older one of that name and data."""
    with locked(scratch("summary")):  # campaigns may end together
        rows = {(old["name"], old["data"]): old for old in summary()} | {(row["name"], row["data"]): row}
        write_json(SUMMARY, list(rows.values()))


def check_data(data: str) -> None:
    """Refuse results under a wrong name.

    Raises:
        DermalineError: generated images are called anything but `synthetic`, or others that.
    """
    drawn = generated()
    if drawn != (data == GENERATED):
        there = "generated images" if drawn else "photographs"
        raise DermalineError(f"--data {data}: data/prepared holds {there}; name the data right")


def require_last_run() -> None:
    """Refuse to go on unless every file and parameter of the pipeline is the one that dvc.lock has, so of one run.

    Raises:
        DermalineError: it names the stages whose inputs or outputs differ.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", "status", "--json"], capture_output=True, text=True)
    if done.returncode:
        raise DermalineError(f"dvc status failed: {' '.join(done.stderr.split())}")
    if changed := json.loads(done.stdout):
        raise DermalineError(f"dvc.lock: {', '.join(changed)}: not as the last run left it (dvc status); run dvc repro")


def require_one_run(folder: Path) -> None:
    """Refuse a folder of metrics whose details, split and decision are not of one run.

    Raises:
        DermalineError: they name other models, or count other images.
    """
    details, split, decision = (json.loads((folder / f"{name}.json").read_text()) for name in METRICS[1:])
    scored, decided = [model for model in details if model != "ensemble"], list(decision["temperatures"])
    if scored != decided:
        said = f"is of {', '.join(decided)}, and details.json of {', '.join(scored)}"
        raise DermalineError(f"{folder}/decision.json: {said}; both must be of one run")
    counted = {"test": [model["image_level"]["cases"] for model in details.values()], "val": [decision["val_images"]]}
    for side, counts in counted.items():
        if set(counts) != {split[side]["images"]}:
            said = f"has {split[side]['images']} images of {side}, and {counts[0]} were scored"
            raise DermalineError(f"{folder}/split.json: {said}; both must be of one run")


def split_in_words(options: Split, split: dict[str, Any]) -> str:
    """Such as `lesion-grouped, train 1383, val 311, test 306`; a fold and a leak are named."""
    leak = f"{split['leaked_test_images']:.0%} of test leaked"
    how = "lesion-grouped" if options.unit == "lesion" else f"by image, {leak}"
    fold = "" if options.fold is None else f", fold {options.fold} of {options.folds}"
    return ", ".join([f"{how}{fold}", *sides(split)])


def sides(split: dict[str, Any]) -> list[str]:
    """Such as `train 1383`, for each part of a split."""
    return [f"{side} {split[side]['images']}" for side in SPLITS]


def figures() -> list[str]:
    """Those that may be published: an image's licence is not the project's."""
    return [path.as_posix() for path in sorted(Path("plots/figures").glob("*.png")) if path.name not in SHOWS_LESIONS]


def _copy(folder: Path, files: dict[str, list[str]]) -> None:
    """Put files into folders of a folder, in the place of what is there."""
    with replacing(folder) as partial:
        for inside, paths in files.items():
            (partial / inside).mkdir(parents=True, exist_ok=True)
            for path in paths:
                shutil.copy(path, partial / inside)


def summary_numbers(scores: dict[str, Any]) -> dict[str, Any]:
    """The number of test images, the headline, and those of its 95 % intervals that there are."""
    found = {"n_test": scores["cases"]} | {key: scores[key] for key in HEADLINE}
    return found | {"intervals": {key: ends for key, ends in scores["intervals"].items() if key in HEADLINE}}


def summary(path: Path = SUMMARY) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def git(*arguments: str) -> str:
    """What Git says; raises `DermalineError` with its own first line if it can't (it then says what to type)."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise DermalineError(" ".join(done.stderr.split()) or f"git {arguments[0]}: exit status {done.returncode}")
    return done.stdout.strip()
