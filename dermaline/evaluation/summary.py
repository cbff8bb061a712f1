"""What is said about a model: its scores, with their intervals.

The tables here are decided ones (see `tables`): calibrated probabilities and the predicted class.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dermaline.base.classes import CLASSES, MELANOMA
from dermaline.evaluation import bootstrap, rates, tables
from dermaline.evaluation.metrics import (
    BIASED_BY_REDRAWING,
    HEADLINE,
    KEY_METRICS,
    OF_DECISIONS,
    PER_CLASS,
    Metric,
    ece,
)
from dermaline.evaluation.rates import Ends
from dermaline.evaluation.scores import Floats
from dermaline.params.evaluate import Evaluate

OPERATING_POINT = "melanoma_operating_point"  # the key under which `operating_point` is kept
FEWEST_LESIONS = 10  # of a class, below which redrawing is far too sure of it


def headline(table: pd.DataFrame, options: Evaluate) -> dict[str, float]:
    """Point estimates of the headline metrics, without those that have no value."""
    return _finite(_point_estimates(_headline(options), table))


def key_metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    """The few of `scores` or `headline` that fit a screen."""
    return {name: scores[name] for name in KEY_METRICS if name in scores}


def scores(table: pd.DataFrame, options: Evaluate, left_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The headline, `cases`, `absent_classes`, the headline's `intervals`, and `per_class` with its own intervals.

    Args:
        table: decided predictions of one split, one row a case.
        options: how to score; intervals are by `group`.
        left_out: names of headline metrics that are not to be measured.

    Returns:
        Nested mappings of finite floats and counts; a metric or an interval without a value is left out. There is none
        of the calibration error, nor one by redrawing of a class of fewer than `FEWEST_LESIONS`. `absent_classes` are
        those without a case, which no macro mean has in it.
    """
    truth, each = tables.truth(table), _point_estimates(PER_CLASS, table)
    chosen = {name: metric for name, metric in _headline(options).items() if name not in left_out}
    ends = _confidence_intervals(chosen | PER_CLASS, table, options)
    per_class = {
        name: {
            "support": int((truth == number).sum()),
            **_finite({metric: values[number] for metric, values in each.items()}),
            "intervals": _intervals({metric: np.array(ends[metric])[:, number] for metric in PER_CLASS}),
        }
        for number, name in enumerate(CLASSES)
    }
    return {
        **_finite(_point_estimates(chosen, table)),
        "cases": len(table),
        "absent_classes": [name for name, values in per_class.items() if not values["support"]],
        "intervals": _intervals({metric: ends[metric] for metric in chosen}),
        "per_class": per_class,
    }


def lesions_of(table: pd.DataFrame) -> pd.Series:
    """How many lesions each class has, in order of the classes; near-duplicates, which are one `group`, count once."""
    return table.groupby("dx")["group"].nunique().reindex(CLASSES, fill_value=0)


def metrics_with_ci(
    table: pd.DataFrame, names: Iterable[str], options: Evaluate, draws: Mapping[str, Floats] | None = None
) -> dict[str, float]:
    """Some headline metrics as a flat row: NAME, NAME_low and NAME_high, which are NaN without a value.

    `draws` are what `redrawn` gave for those that need it, lest it be done again.
    """
    metrics = {name: _headline(options)[name] for name in names}
    estimates, ends = _point_estimates(metrics, table), _confidence_intervals(metrics, table, options, draws)
    row = {}
    for name, (low, high) in ends.items():
        row |= {name: float(estimates[name]), f"{name}_low": float(low), f"{name}_high": float(high)}
    return row


def operating_point(table: pd.DataFrame) -> dict[str, Any]:
    """Sensitivity and specificity to melanoma, with intervals, when it is called wherever `SUSPECTED` is true."""
    called = table.assign(predicted=np.where(table[tables.SUSPECTED], "mel", "nv"))  # not melanoma: any other says no
    metrics = {name: HEADLINE[name] for name in ("melanoma_sensitivity", "melanoma_specificity")}
    ends = rates.intervals(called)
    return {
        **_finite(_point_estimates(metrics, called)),
        "intervals": _intervals({name: ends[name] for name in metrics}),
    }


def at_threshold(point: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an `operating_point` under names that may stand beside the headline's."""
    return {f"{name}_at_threshold": value for name, value in point.items() if name != "intervals"}


def _headline(options: Evaluate) -> dict[str, Metric]:
    return HEADLINE | {"ece": partial(ece, bins=options.calibration_bins)}


def _point_estimates(metrics: Mapping[str, Metric], table: pd.DataFrame) -> dict[str, Floats]:
    """Each metric's value, of the decisions or of the probabilities."""
    truth, decisions, probabilities = tables.truth(table), tables.decisions(table), tables.probabilities(table)
    return {
        name: metric(truth, decisions if name in OF_DECISIONS else probabilities, None)
        for name, metric in metrics.items()
    }


def redrawn(table: pd.DataFrame, metrics: Mapping[str, Metric], options: Evaluate) -> dict[str, Floats]:
    """Redraw each metric; decisions and probabilities, and tables of the same images, share their draws."""
    truth, group, draws = tables.truth(table), table["group"].to_numpy(), {}
    for view, own in ((tables.decisions, True), (tables.probabilities, False)):
        chosen = {name: metric for name, metric in metrics.items() if (name in OF_DECISIONS) is own}
        if chosen:
            draws |= bootstrap.bootstrap_distribution(
                chosen, truth, view(table), group, options.bootstrap, options.seed
            )
    return draws


def _confidence_intervals(
    metrics: Mapping[str, Metric], table: pd.DataFrame, options: Evaluate, draws: Mapping[str, Floats] | None = None
) -> dict[str, Ends]:
    """The ends of each metric's interval, NaN where it has none: by redrawing also where draws do not differ."""
    found = dict.fromkeys(BIASED_BY_REDRAWING, (np.nan, np.nan)) | rates.intervals(table)
    left = {name: metric for name, metric in metrics.items() if name not in found}
    draws = redrawn(table, left, options) if draws is None else draws
    enough = lesions_of(table).to_numpy() >= FEWEST_LESIONS
    for name in left:
        low, high = bootstrap.interval(draws[name])
        redrawable = enough if low.ndim else enough[MELANOMA] if name.startswith("melanoma") else True
        found[name] = np.where((low < high) & redrawable, (low, high), np.nan)
    return {name: found[name] for name in metrics}


def _finite(values: Mapping[str, Floats]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}


def _intervals(ends: Mapping[str, Ends]) -> dict[str, dict[str, float]]:
    return {
        name: {"low": float(low), "high": float(high)}
        for name, (low, high) in ends.items()
        if np.isfinite([low, high]).all()
    }
