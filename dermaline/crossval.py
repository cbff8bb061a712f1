"""Cross-validation: the folds that `dvc exp run -S split.fold=K` tested, gathered from DVC into one result."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dermaline import params
from dermaline.data.split import SPLITS
from dermaline.errors import DermalineError
from dermaline.evaluation import summary, tables
from dermaline.evaluation.compare import COMPARED, models_table
from dermaline.files import write_json
from dermaline.inference.decided import decide


class Experiment(NamedTuple):
    """What one experiment left: its parameters, its `metrics/split.json`, and the raw predictions of each recipe."""

    name: str
    params: params.Params
    split: dict[str, Any]
    predictions: dict[str, pd.DataFrame]


class Fold(NamedTuple):
    """One model on the test of one fold: where it is from, and the decided predictions."""

    experiment: str
    test: pd.DataFrame


def crossval(names: Sequence[str], output: Path) -> str:
    """Gather experiments into a cross-validation of every recipe and ensemble in them.

    What is fitted on val (calibration, decision) is fitted for each fold on its own; how, is said by `evaluate` in
    `params.yaml` as it stands now. Scores are the mean over the folds, and those of all test images together, every
    image predicted by the model that has not seen it, with intervals from the bootstrap over lesions: of other images,
    not of other trainings, for which the spread of the folds stands.

    Args:
        names: of DVC experiments; none are all those of HEAD with a number for `split.fold`.
        output: the JSON file to write: everything.

    Returns:
        A Markdown table of the main scores, and what it is of.

    Raises:
        DermalineError: an experiment or its predictions can't be read, the experiments do not belong together, or a
            fold is missing or there twice with different predictions.
    """
    options = params.read().evaluate
    experiments = read(names)
    check_alike(experiments)
    check_starts(experiments)
    models = {name: in_order(name, folds, experiments) for name, folds in collect(experiments, options).items()}
    pooled = models_table({name: pd.concat(fold.test for fold in folds) for name, folds in models.items()}, options)
    found = {name: describe(folds, options) for name, folds in models.items()}
    for name, row in pooled.set_index("model").iterrows():
        found[name]["pooled"] = row.dropna().to_dict()
    images = sum(len(fold.test) for fold in next(iter(models.values())))
    leaked = sum(one.split["leaked_test_images"] for one in experiments) / len(experiments)
    split = experiments[0].params.split.model_dump(exclude={"fold", "test"})
    write_json(output, {"split": split, "images": images, "leaked_test_images": leaked, "models": found})
    said = f"{split['folds']} folds by {split['unit']}, {images:,} images, each tested once; details: {output}"
    if leaked:
        said += f"\nwarning: {leaked:.0%} of the test images show a lesion that was trained on"
    return f"{markdown(found)}\n\n{said}"


def read(names: Sequence[str]) -> list[Experiment]:
    """Read experiments, by fold; those of HEAD with a number for `split.fold` when none is named."""
    from dvc.exceptions import DvcException  # DVC is slow to import, and needed by this command alone
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            known = [name for rows in repo.experiments.ls().values() for name, _ in rows]
    except DvcException as problem:
        raise DermalineError(f"crossval: {problem}; run at the project's root") from None
    with tempfile.TemporaryDirectory() as folder:
        found = [_fetch(name, Path(folder) / name) for name in names or known]
    folds = [one for one in found if one.params.split.fold is not None]
    if names and len(folds) < len(found):
        name = next(one.name for one in found if one.params.split.fold is None)
        raise DermalineError(f"experiment {name}: split.fold is null; run it again with -S split.fold=0, 1, ...")
    if not folds:
        raise DermalineError("crossval: no experiment of HEAD has a split.fold; see dvc exp list, or name them")
    return sorted(folds, key=lambda one: (one.params.split.fold, one.name))


def _fetch(name: str, folder: Path) -> Experiment:
    """Copy what a cross-validation needs of an experiment out of Git and DVC's cache (or its remote), and read it."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    files = DVCFileSystem(rev=name)

    def local(path: str) -> Path:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get_file(path, str(folder / path))
        except FileNotFoundError:
            raise DermalineError(f"experiment {name}: {path} is not in Git nor in DVC's cache; run it again") from None
        except DvcException as problem:
            raise DermalineError(f"experiment {name}: {problem}; dvc exp list shows those of HEAD") from None
        return folder / path

    options = params.read(local("params.yaml"))
    if options.split.fold is None:
        return Experiment(name, options, {}, {})
    split = json.loads(local("metrics/split.json").read_text(encoding="utf-8"))
    read = [tables.read_predictions(local(f"data/predictions/{recipe}.csv")) for recipe in options.ensemble]
    return Experiment(name, options, split, dict(zip(options.ensemble, tables.aligned(read), strict=True)))


def check_alike(experiments: Sequence[Experiment]) -> None:
    """Refuse experiments that differ in more than the fold and the choice of recipes."""
    seen: dict[str, tuple[str, Any]] = {}
    for one in experiments:
        facts = {key: getattr(one.params, key) for key in ("data", "prepare", "predict")}
        facts |= {f"recipes.{recipe}": one.params.recipes[recipe] for recipe in one.params.ensemble}
        facts |= {"split": one.params.split.model_copy(update={"fold": None})}
        facts |= {"the number of images": sum(one.split[side]["images"] for side in SPLITS)}
        unlike = [key for key, value in facts.items() if seen.setdefault(key, (one.name, value))[1] != value]
        if unlike:
            what = f"experiments {seen[unlike[0]][0]} and {one.name} differ in {', '.join(unlike)}"
            hint = "name those that belong together (two settings of one recipe are two entries of recipes)"
            raise DermalineError(f"crossval: {what}; {hint}")


def check_starts(experiments: Sequence[Experiment]) -> None:
    """Refuse recipes that start from a trained model: it has seen most of what a fold tests."""
    for one in experiments:
        for name in one.params.ensemble:
            start = Path(one.params.recipes[name].weights)
            if (start.parent / "recipe.json").exists():
                what = f"recipes.{name} starts from {start}, a model trained on images that other folds test"
                raise DermalineError(f"crossval: experiment {one.name}: {what}; start from pretrained weights")


def collect(experiments: Sequence[Experiment], options: params.Evaluate) -> dict[str, dict[int, Fold]]:
    """For each model the folds that there are: recipes in the order of `params.yaml`, then ensembles as `A + B`.

    A fold that is there twice is no problem when the predictions are the same, as they are when DVC takes a recipe's
    second run from its cache; else it is refused, for nobody could say which of them is meant.
    """
    models: dict[str, dict[int, Fold]] = {name: {} for one in experiments for name in one.params.recipes}
    for one in experiments:
        recipes, trained = one.params.ensemble, one.split["train"]["images_per_class"]
        for members in [[name] for name in recipes] + ([recipes] if len(recipes) > 1 else []):
            name, fold = " + ".join(members), one.params.split.fold
            new = Fold(one.name, decide({key: one.predictions[key] for key in members}, trained, options).test)
            old = models.setdefault(name, {}).setdefault(fold, new)
            if not old.test.equals(new.test):
                what = f"fold {fold} of {name} is in {old.experiment} and, different, in {one.name}"
                raise DermalineError(f"crossval: {what}; name the experiments to take, or dvc exp remove one")
    return {name: folds for name, folds in models.items() if folds}


def in_order(name: str, folds: dict[int, Fold], experiments: Sequence[Experiment]) -> list[Fold]:
    """The folds of a model from the first to the last, when all are there and test every image once."""
    first = experiments[0]
    missing = sorted(set(range(first.params.split.folds)) - set(folds))
    if missing:
        raise DermalineError(
            f"crossval: {name}: no experiment of fold {', '.join(map(str, missing))}; run it, "
            f"dvc exp run -S split.fold={missing[0]}, or name experiments that are complete"
        )
    tested = pd.concat(fold.test["image_id"] for fold in folds.values())
    images = sum(first.split[side]["images"] for side in SPLITS)
    if tested.duplicated().any() or len(tested) != images:
        what = f"{len(tested)} tests of {tested.nunique()} images, of {images} that there are"
        raise DermalineError(f"crossval: {name}: {what}; were the folds run on the same data?")
    return [folds[number] for number in sorted(folds)]


def describe(folds: Sequence[Fold], options: params.Evaluate) -> dict[str, Any]:
    """One model: its experiments, its headline on the test of each fold, and their mean and standard deviation."""
    scores = [summary.headline(fold.test, options) for fold in folds]
    table = pd.DataFrame(scores)[[name for name in scores[0] if all(name in score for score in scores)]]
    return {
        "experiments": [fold.experiment for fold in folds],
        "folds": scores,
        "mean": table.mean().to_dict(),
        "std": table.std(ddof=1).to_dict(),
    }


def markdown(models: dict[str, dict[str, Any]]) -> str:
    """The main scores of each model: over the folds, of all images together, and against the first model."""
    first = next(iter(models))
    lines = [
        f"| model | score | folds: mean ± sd | all images (95 %) | against {first} (95 %) | |",
        "|---|---|---|---|---|---|",
    ]
    for model, found in models.items():
        pooled = found["pooled"]
        for name in COMPARED:
            over = f"{found['mean'][name]:.3f} ± {found['std'][name]:.3f}"
            against = "" if model == first else _with_ends(pooled, f"{name}_difference", "+.3f")
            cells = (
                model,
                name.replace("_", " ").replace("auc", "AUC"),
                over,
                _with_ends(pooled, name, ".3f"),
                against,
            )
            lines.append(f"| {' | '.join(cells)} | {pooled[f'{name}_verdict']} |")
    return "\n".join(lines)


def _with_ends(row: dict[str, float], name: str, form: str) -> str:
    value, low, high = (format(row.get(name + end, float("nan")), form) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"
