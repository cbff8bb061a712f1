"""What a model's own doubt is worth: its scores when the least sure images are left to others, and its sets."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dermaline.base.classes import CLASSES
from dermaline.evaluation import rates, scores, slices, tables
from dermaline.evaluation.metrics import HEADLINE
from dermaline.evaluation.scores import Bools, Floats, Ints

KEPT = (0.8, 0.9, 1.0)  # shares of the images of which details.json tells
SELECTIVE = ("accuracy", "balanced_accuracy", "melanoma_sensitivity")


def confidence(table: pd.DataFrame) -> Floats:
    """The calibrated probability of the predicted class, [N]."""
    return (tables.probabilities(table) * tables.decisions(table)).sum(axis=1)


def surest_first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows from the largest `confidence` on; equals stay in order."""
    return table.iloc[np.argsort(-confidence(table), kind="stable")]


def _images(share: float, of: int) -> int:
    """The least number of images that is this share of them."""
    return int(np.ceil(share * of - 1e-9))


def risk_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The scores of the surest share of the images, for each percent from 1: the risk-coverage curve.

    Args:
        table: decided predictions.

    Returns:
        `coverage`, the share of the images that are kept, from the surest on; `risk`, the share of them that are
        predicted wrong (El-Yaniv & Wiener 2010); `accuracy`; `balanced_accuracy` over those classes that are among
        them; `melanomas`, the share of all melanomas that are kept.
    """
    table = surest_first(table)
    truth, decisions = tables.truth(table), tables.decisions(table)
    ends = np.unique([_images(percent / 100, len(table)) for percent in range(1, 101)])
    kept = (np.arange(len(table)) < ends[:, None]).astype(float)
    right, melanoma = scores.accuracy(truth, decisions, kept), (table["dx"] == "mel").to_numpy()
    return pd.DataFrame({
        "coverage": ends / len(table),
        "risk": 1 - right,
        "accuracy": right,
        "balanced_accuracy": scores.balanced_accuracy(truth, decisions, kept),
        "melanomas": scores.ratio(kept @ melanoma, np.full(len(ends), melanoma.sum())),
    })  # fmt: skip


def risk_area(table: pd.DataFrame) -> float:
    """The area under the risk-coverage curve: the mean risk over all numbers of images kept (Geifman et al. 2019)."""
    table = surest_first(table)
    wrong = (table["dx"] != table["predicted"]).to_numpy()
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def selective(table: pd.DataFrame) -> dict[str, Any]:
    """The area under the curve, and what holds for each of the shares in `KEPT`.

    Args:
        table: decided predictions.

    Returns:
        `risk_area`, and by share `images`, the least `confidence` among them, each of `SELECTIVE` with its interval,
        and `melanomas`, the share of all melanomas that are among them. What has no value is left out.
    """
    table = surest_first(table)
    melanomas = (table["dx"] == "mel").sum()
    found: dict[str, Any] = {"risk_area": risk_area(table)}
    for share in KEPT:
        kept = table.head(_images(share, len(table)))
        truth, decisions, ends = tables.truth(kept), tables.decisions(kept), rates.intervals(kept)
        row = {"confidence": confidence(kept).min(), "melanomas": scores.ratio((kept["dx"] == "mel").sum(), melanomas)}
        for name in SELECTIVE:
            row[name] = HEADLINE[name](truth, decisions, None)
            row[f"{name}_low"], row[f"{name}_high"] = ends[name]
        numbers = {name: float(value) for name, value in row.items() if np.isfinite(value)}
        found[f"at_{share:.0%}"] = {"images": len(kept), **numbers}
    return found


def set_rows(table: pd.DataFrame, sets: Mapping[tuple[str, float], Bools], index: pd.DataFrame) -> pd.DataFrame:
    """How often sets of diagnoses hold the true one, and how large they are.

    Args:
        table: decided predictions.
        sets: by kind and by the coverage that was promised, which classes are in each row's set, [N, C].
        index: as for `slices.parts`.

    Returns:
        `kind`, `promised`, `variable` and `value` (all images, each diagnosis, each kind of patient), `images`,
        `lesions`, `coverage` with its interval, `size` (the mean number of diagnoses), `single` (the share of sets of
        one diagnosis), `single_coverage` with its interval (of those sets alone, NaN where there are none). In all of
        these a lesion counts once, shared among its photographs, as in what is promised.
    """
    truth, group = tables.truth(table), pd.factorize(table["group"])[0]
    (everything, all_images), *patients = slices.parts(table, index).items()
    classes = [(("dx", name), (table["dx"] == name).to_numpy()) for name in CLASSES]
    return pd.DataFrame(
        {"kind": kind, "promised": promised, "variable": variable, "value": value}
        | _set_scores(truth[own], held[own], group[own])
        for (kind, promised), held in sets.items()
        for (variable, value), own in [(everything, all_images), *classes, *patients]
        if own.any()
    )


def set_scores(table: pd.DataFrame, held: Bools) -> dict[str, float]:
    """The numbers of a row of `set_rows`, from `images` on, of all rows of a table and their sets, [N, C].

    What has no value is left out.
    """
    told = _set_scores(tables.truth(table), held, pd.factorize(table["group"])[0])
    return {name: value for name, value in told.items() if np.isfinite(value)}


def _set_scores(truth: Ints, held: Bools, group: Ints) -> dict[str, float]:
    size, right = held.sum(axis=1), held[np.arange(len(truth)), truth]
    columns = {"coverage": right, "size": size, "single": size == 1, "single_coverage": right & (size == 1)}
    lesions = pd.DataFrame(columns).astype(float).groupby(group).mean()
    number, single = np.arange(len(lesions)), lesions["single"].to_numpy()
    low, high = rates.wilson(lesions["coverage"].to_numpy(), number)
    held = np.nan_to_num(scores.ratio(lesions["single_coverage"].to_numpy(), single))
    single_low, single_high = rates.wilson(held, number, weights=single)
    means = lesions.mean().to_dict()
    means["single_coverage"] = float(scores.ratio(means["single_coverage"], means["single"]))
    ends = {"coverage_low": float(low), "coverage_high": float(high)}
    single_ends = {"single_coverage_low": float(single_low), "single_coverage_high": float(single_high)}
    counts = {"images": len(truth), "lesions": len(lesions)}
    return {**counts, "coverage": means.pop("coverage"), **ends, **means, **single_ends}
