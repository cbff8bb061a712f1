"""Score the predictions of every recipe, and of their ensemble, on the test split.

Reads data/predictions/RECIPE.csv, data/prepared/index.csv and data/split.csv. Writes metrics/test.json (headline of the
ensemble, or of the only recipe), metrics/details.json (everything, with intervals) and the series in plots/.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from dermaline import errors, files, params
from dermaline.classes import CLASSES
from dermaline.errors import DermalineError
from dermaline.evaluation import summary, tables
from dermaline.evaluation.metrics import HEADLINE

ENSEMBLE = "ensemble"
LESION_HEADLINE = ("accuracy", "balanced_accuracy", "macro_auc", "melanoma_sensitivity")
PLOTS = Path("plots")


def main() -> None:
    options = params.load("evaluate")
    models = read_models(params.load("ensemble"))
    details = {name: describe(table, options) for name, table in models.items()}
    final = list(models)[-1]
    files.write_json(Path("metrics/details.json"), details)
    files.write_json(Path("metrics/test.json"), flat(details[final]))
    test = models[final].query("split == 'test'")
    write_series(test, options.calibration_bins)
    write_table(PLOTS / "per_class.csv", summary.per_class_rows(details[final]["image_level"], train_images()))


def read_models(recipes: list[str]) -> dict[str, pd.DataFrame]:
    """Predictions of each recipe and, last, of their ensemble when there are several."""
    models = {name: tables.read_predictions(Path(f"data/predictions/{name}.csv")) for name in recipes}
    for name, table in models.items():
        for split in tables.SPLITS:
            if not (table["split"] == split).any():
                raise DermalineError(f"data/predictions/{name}.csv: no image of {split}; run the split stage again")
    return models if len(models) == 1 else {**models, ENSEMBLE: tables.ensemble(list(models.values()))}


def describe(table: pd.DataFrame, options: params.Evaluate) -> dict[str, Any]:
    """All that is measured of one model."""
    test = table.query("split == 'test'")
    return {
        "image_level": summary.scores(test, options),
        "lesion_averaged": summary.scores(tables.by_lesion(test), options),
        "val": summary.headline(table.query("split == 'val'"), options),
    }


def flat(details: dict[str, Any]) -> dict[str, float]:
    """The headline of one model: image level, and a few numbers where each lesion counts once."""
    images, lesions = details["image_level"], details["lesion_averaged"]
    lesion = {f"lesion_{name}": lesions[name] for name in LESION_HEADLINE if name in lesions}
    headline = {name: images[name] for name in HEADLINE if name in images}
    return {"images": images["cases"], "lesions": lesions["cases"], **headline, **lesion}


def write_series(test: pd.DataFrame, bins: int) -> None:
    """The series for `dvc plots` and for the figures."""
    write_table(PLOTS / "confusion.csv", summary.confusion_rows(test))
    write_table(PLOTS / "reliability.csv", summary.reliability_rows(test, bins))
    for folder, rows in (("roc", summary.roc_rows), ("pr", summary.precision_rows)):
        with files.replacing(PLOTS / folder) as partial:
            for name in CLASSES:
                write_table(partial / f"{name}.csv", rows(test, name))


def train_images() -> dict[str, int]:
    """How many images of each class were trained on."""
    table = pd.read_csv("data/prepared/index.csv").merge(pd.read_csv("data/split.csv"), on="image_id")
    return table.query("split == 'train'")["dx"].value_counts().to_dict()


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV, floats with six digits."""
    files.write_text(path, table.round(files.DIGITS).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    errors.run(main)
