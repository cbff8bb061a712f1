"""The command `record`: keeps the metrics and figures of the last run, if they are of one run."""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from dermaline.base.errors import DermalineError
from dermaline.base.files import read_json, replacing, write_json
from dermaline.commands.results_summary import check_data, enter
from dermaline.data.split import SPLITS
from dermaline.models.model_info import check_clean, machine, read_model_info
from dermaline.params import whole
from dermaline.params.split import Split

SUMMARISED = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "macro_auc")
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
        details, split = (read_json(Path(f"metrics/{part}.json")) for part in ("details", "split"))
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
    enter(row)
    return folder


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
    details, split, decision = (read_json(folder / f"{name}.json") for name in METRICS[1:])
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
    found = {"n_test": scores["cases"]} | {key: scores[key] for key in SUMMARISED}
    return found | {"intervals": {key: ends for key, ends in scores["intervals"].items() if key in SUMMARISED}}


def git(*arguments: str) -> str:
    """What Git says; raises `DermalineError` with its own first line if it can't (it then says what to type)."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise DermalineError(" ".join(done.stderr.split()) or f"git {arguments[0]}: exit status {done.returncode}")
    return done.stdout.strip()
