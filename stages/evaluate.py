"""Fit the decisions on val, and score every recipe, and their ensemble, on both splits.

Reads data/predictions/RECIPE.csv, data/prepared/index.csv and data/split.csv. Key metrics of the final model (ensemble,
or only recipe): metrics/val.json, by what was fitted on the other half of val, to choose by, and metrics/test.json.
metrics/details.json has every score with its interval, metrics/decision.json what new images need. In plots/evaluation
models.csv compares all models on val; the tables beside it are of the test.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from dermaline.base import errors, files
from dermaline.base.classes import CLASSES
from dermaline.base.parameters import load
from dermaline.data.index import read_with_split
from dermaline.evaluation import compare, series, slices, summary, tables, uncertainty
from dermaline.evaluation.scores import Bools
from dermaline.inference import conformal
from dermaline.inference.decided import Decided, cross_fitted, decide, read_members
from dermaline.params.evaluate import Evaluate
from dermaline.params.predict import Predict

ENSEMBLE = "ensemble"
SET_COVERAGES = (0.9, 0.95)  # that are looked at beside the decision's
PREDICTIONS, TABLES = Path("data/predictions"), Path("plots/evaluation")


def main() -> None:
    options, recipes, views = load(Evaluate, "evaluate"), load(list[str], "ensemble"), load(Predict, "predict")
    files.keep_only(PREDICTIONS, [f"{name}.csv" for name in recipes])
    index = read_with_split()
    train = index[index["split"] == "train"]
    members = read_members({name: PREDICTIONS / f"{name}.csv" for name in recipes}, index)
    chosen = {name: {name: members[name]} for name in recipes} | ({ENSEMBLE: members} if len(recipes) > 1 else {})
    models = {name: decide(some, train, options) for name, some in chosen.items()}
    val = {name: cross_fitted(some, train, options) for name, some in chosen.items()}
    compared = compare.models_table(val, options, options.reference).set_index("model")
    details = {name: describe(model, val[name], compared.loc[name], options) for name, model in models.items()}
    name, final = list(models.items())[-1]
    final.decision.model_copy(update={"views": views}).save(Path("metrics/decision.json"))
    files.write_json(Path("metrics/details.json"), details)
    # val's under plain names, the test's under `test`: no column of `dvc exp show` needs a path
    files.write_json(Path("metrics/val.json"), summary.key_metrics(details[name]["val"]))
    files.write_json(Path("metrics/test.json"), {"test": summary.key_metrics(details[name]["image_level"])})
    points = test_series(final, details[name]["image_level"], index, options)
    with files.replacing(TABLES) as folder:
        for name, table in {**points, "models": compared.reset_index()}.items():
            files.write_text(folder / f"{name}.csv", table.round(files.DIGITS).to_csv(index=False, lineterminator="\n"))


def describe(model: Decided, val: pd.DataFrame, compared: pd.Series, options: Evaluate) -> dict[str, Any]:
    """All that is measured of one model; `val` is flat, with the intervals of its row of the models' table."""
    fitted = model.decision.melanoma_threshold is not None
    called = {summary.OPERATING_POINT: model.test, f"{summary.OPERATING_POINT}_without_metadata": model.alone}
    point = {key: summary.operating_point(one) for key, one in called.items() if fitted and one is not None}
    ends = compared[[f"{name}{end}" for name in compare.COMPARED for end in ("_low", "_high")]].dropna().to_dict()
    at_threshold = summary.at_threshold(summary.operating_point(val)) if fitted else {}
    if (alone := model.alone) is not None and (held := model.decision.sets(tables.probabilities(alone))) is not None:
        point["sets_without_metadata"] = uncertainty.set_scores(alone, held)
    return {
        "image_level": summary.scores(model.test, options),
        "lesion_averaged": summary.scores(model.lesions, options),
        "val": {**summary.headline(val, options), **ends, **at_threshold},
        **point,
        "selective": uncertainty.selective(model.test),
    }


def test_series(final: Decided, scores: dict, index: pd.DataFrame, options: Evaluate) -> dict[str, pd.DataFrame]:
    """The tables of the test that `dvc plots` and the figures draw, by the names of their files."""
    learned = index.loc[index["split"] == "train", "dx"].value_counts().to_dict()
    return {
        "confusion": series.confusion_rows(final.test),
        "reliability": series.reliability_rows(final.test, options.calibration_bins),
        "per_class": series.per_class_rows(scores, learned),
        "protocols": slices.protocol_rows(final.test, final.lesions, final.alone, options),
        "slices": slices.slice_rows(final.test, index, options),
        "risk": uncertainty.risk_rows(final.test),
        "sets": uncertainty.set_rows(final.test, sets(final, options.set_coverage), index),
        **{f"roc/{name}": series.roc_rows(final.test, name) for name in CLASSES},
        **{f"pr/{name}": series.precision_rows(final.test, name) for name in CLASSES},
    }


def sets(final: Decided, coverage: float) -> dict[tuple[str, float], Bools]:
    """The sets of diagnoses of the test images, of either kind, for this coverage and others, fitted on val."""
    val, test = tables.probabilities(final.val), tables.probabilities(final.test)
    truth, group, predicted = tables.truth(final.val), final.val["group"].to_numpy(), final.decision.diagnose(test)
    rules = [
        conformal.fit(truth, val, group, share, by_class)
        for by_class in (False, True)
        for share in sorted({*SET_COVERAGES, coverage})
    ]
    return {(rule.kind, rule.coverage): rule.members(test, predicted) for rule in rules}


if __name__ == "__main__":
    errors.run(main)
