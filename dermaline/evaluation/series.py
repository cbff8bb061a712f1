"""The series that a model's plots are drawn from: tables, a row a point.

They are of decided tables (see `tables`): calibrated probabilities and the predicted class.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dermaline.evaluation import ranking, tables
from dermaline.evaluation.metrics import PER_CLASS, calibration


def confusion_rows(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each case: its actual and its predicted class."""
    return pd.DataFrame({"actual": table["dx"].to_numpy(), "predicted": table["predicted"].to_numpy()})


def roc_rows(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The corners of a class's ROC curve; none where it has no positives or no negatives."""
    positive, score = (table["dx"] == name).to_numpy(), table[name].to_numpy()
    points = ranking.roc_curve(positive, score) if 0 < positive.sum() < len(positive) else ([], [])
    return pd.DataFrame(dict(zip(("fpr", "tpr"), points, strict=True)))


def precision_rows(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The corners of a class's precision-recall curve; none where it has no positives."""
    positive, score = (table["dx"] == name).to_numpy(), table[name].to_numpy()
    points = ranking.precision_recall_curve(positive, score) if positive.any() else ([], [])
    return pd.DataFrame(dict(zip(("recall", "precision"), points, strict=True)))


def reliability_rows(table: pd.DataFrame, bins: int) -> pd.DataFrame:
    """Mean confidence, accuracy and number of cases of each bin of the confidence that has any."""
    count, confidence, right = calibration(tables.truth(table), tables.probabilities(table), None, bins)
    edges = np.linspace(0, 1, bins + 1)
    rows = {"low": edges[:-1], "high": edges[1:], "count": count.astype(int)}
    filled = pd.DataFrame(rows | {"confidence": confidence, "accuracy": right})[count > 0]
    sums = filled[["confidence", "accuracy"]].div(filled["count"], axis=0)
    return filled.assign(**sums)[["low", "high", "confidence", "accuracy", "count"]]


def per_class_rows(score: Mapping[str, Any], train_images: Mapping[str, int]) -> pd.DataFrame:
    """One row a class from `summary.scores`; a metric without a value is empty."""
    rows = []
    for name, values in score["per_class"].items():
        low, high = (values["intervals"].get("f1", {}).get(end) for end in ("low", "high"))
        scores = {metric: values.get(metric) for metric in PER_CLASS}
        counts = {"class": name, "support": values["support"], "train_images": train_images.get(name, 0)}
        rows.append({**counts, **scores, "f1_low": low, "f1_high": high})
    return pd.DataFrame(rows)
