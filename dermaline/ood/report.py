"""How often a detector calls lesions out of distribution, which is wrong, and other images, which is right."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dermaline.base.classes import CLASSES
from dermaline.evaluation.rates import FEWEST_LESIONS, wilson
from dermaline.evaluation.scores import Floats, area_under_roc


def of_lesions(rows: pd.DataFrame, scores: Floats, threshold: float) -> dict[str, Any]:
    """The share of false alarms, a lesion counted once, with its interval, of all and of each diagnosis.

    Args:
        rows: of the index: `group`, `dx`.
        scores: [N] of these rows.
        threshold: of the detector.

    Returns:
        `images`, `lesions`, `false_alarms`, `low`, `high`, and the last four by diagnosis under `by_diagnosis`, where
        there are `FEWEST_LESIONS`.
    """
    table = rows.assign(alarm=scores > threshold)

    def share(some: pd.DataFrame) -> dict[str, float]:
        return _with_ends("false_alarms", "lesions", some.groupby("group")["alarm"].mean().to_numpy())

    of_each = {name: share(some) for name in CLASSES if len(some := table[table["dx"] == name])}
    enough = {name: found for name, found in of_each.items() if found["lesions"] >= FEWEST_LESIONS}
    return {"images": len(rows), **share(table), "by_diagnosis": enough}


def of_others(scores: Floats, threshold: float, lesions: Floats) -> dict[str, float]:
    """The share of some images without a lesion that is detected, with its interval, and the AUC against lesions.

    Args:
        scores: of the images [N], or of several views of each [N, V], which count as parts of it.
        threshold: of the detector.
        lesions: scores of images with a lesion, [L].
    """
    detected = (scores > threshold).reshape(len(scores), -1).mean(axis=1)
    both = np.concatenate([scores.ravel(), lesions])
    positive = np.arange(len(both)) < scores.size
    auc = area_under_roc(positive, both, np.ones(len(both)))
    return {**_with_ends("detected", "images", detected), "auc": float(auc)}


def by_photograph(scores: Mapping[str, Floats], threshold: float) -> dict[str, float]:
    """The share of each one's views that is detected."""
    return {name: float((some > threshold).mean()) for name, some in scores.items()}


def _with_ends(name: str, of: str, shares: Floats) -> dict[str, float]:
    low, high = wilson(shares, np.arange(len(shares)))
    return {of: len(shares), name: float(shares.mean()), "low": float(low), "high": float(high)}
