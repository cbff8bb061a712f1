"""Intervals of shares of images, and of a mean of such, that hold for a class of few lesions too.

Redrawing such a class says too little: where all its lesions are right, so are they in every draw. How often either
interval holds the truth is simulated in `tests/test_rates.py`.
"""

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from dermaline.base.classes import CLASSES, MELANOMA
from dermaline.evaluation import scores, tables
from dermaline.evaluation.bootstrap import CONFIDENCE
from dermaline.evaluation.scores import Bools, Floats, Ints

FEWEST_LESIONS = 20  # of a diagnosis, for a mean of its own with an interval; a share has one of fewer
Ends = tuple[Floats, Floats]  # the low and the high end of an interval, or of several


def wilson(right: Bools | Floats, group: Ints, confidence: float = CONFIDENCE, weights: Floats | None = None) -> Ends:
    """The score interval (Wilson 1927) of the share of rows that are right, for rows that come in groups.

    In place of the rows counts the effective number n of which the share p would vary as it does between groups,
    p (1 - p) / var(p), as Franco et al. 2019 advise for clustered samples. It is kept between the number of groups and
    what n is when the rows of a group are right or wrong together (Kish 1965), for few groups tell little of var(p).

    Args:
        right: [N], or of each group the share that is right.
        group: [N] numbers from 0.
        confidence: how often it is to hold the share.
        weights: [N], not negative; None counts every row once.

    Returns:
        Two numbers, NaN without rows.
    """
    rows = np.bincount(group, weights)
    hits = np.bincount(group, right if weights is None else right * weights, len(rows))[rows > 0]
    rows = rows[rows > 0]
    if not len(rows):
        return np.array(np.nan), np.array(np.nan)
    total, groups = rows.sum(), len(rows)
    p = hits.sum() / total
    variance = ((hits - p * rows) ** 2).sum() / total**2 * groups / max(groups - 1, 1)
    n = np.clip(p * (1 - p) / max(variance, 1e-12), total**2 / (rows**2).sum(), groups)
    z = ndtri((1 + confidence) / 2)
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    low, high = np.clip(np.array([middle - half, middle + half]) / (1 + z**2 / n), 0, 1)
    return low, high


def of_clusters(values: Floats, group: Ints, confidence: float = CONFIDENCE) -> Ends:
    """The interval of the mean of rows that come in groups: Student's t, a ratio's variance (Cochran 1977, 6.5).

    Args:
        values: [N].
        group: [N] numbers from 0.

    Returns:
        Two numbers, NaN of fewer than two groups.
    """
    rows = np.bincount(group)
    sums, rows = np.bincount(group, values, len(rows))[rows > 0], rows[rows > 0]
    groups, mean = len(rows), np.mean(values) if len(values) else np.nan
    if groups < 2:
        return np.array(np.nan), np.array(np.nan)
    variance = ((sums - mean * rows) ** 2).sum() / rows.sum() ** 2 * groups / (groups - 1)
    half = stdtrit(groups - 1, (1 + confidence) / 2) * np.sqrt(variance)
    return mean - half, mean + half


def of_mean(values: Floats, ends: Ends) -> Ends:
    """The interval of the mean of independent values from their own (Zou et al. 2009): their arms add as squares do.

    Args:
        values: [C], NaN where there is none.
        ends: the ends of each, [C].
    """
    mean, count = np.nanmean(values), np.isfinite(values).sum()
    below, above = (np.sqrt(np.nansum((values - end) ** 2)) / count for end in ends)
    return mean - below, mean + above


def of_difference(values: tuple[float, float], ends: tuple[Ends, Ends]) -> Ends:
    """The interval of the first of two independent values less the second, from their own (Zou & Donner 2008)."""
    (first, second), ((low, high), (other_low, other_high)) = values, ends
    below, above = np.hypot(first - low, other_high - second), np.hypot(high - first, second - other_low)
    return first - second - below, first - second + above


def intervals(table: pd.DataFrame, confidence: float = CONFIDENCE) -> dict[str, Ends]:
    """The ends of those metrics of a decided table, under their names, that are shares of rows or means of such.

    They are numbers for a headline metric, [C] for one of each class, and NaN where the metric has no value, or is a
    precision of a class that is never predicted. Rows of one `group` are taken for one lesion's.
    """
    truth, decisions, group = tables.truth(table), tables.decisions(table), pd.factorize(table["group"])[0]
    classes = np.arange(len(CLASSES))[:, None]
    actual, called = truth == classes, decisions.argmax(axis=1) == classes

    def shares(rows: Bools, hits: Bools) -> Ends:
        """Of each class, for [C, N]: the share of its `rows` that are `hits`."""
        ends = np.array([wilson(hit[own], group[own], confidence) for own, hit in zip(rows, hits, strict=True)])
        low, high = np.where(actual.any(axis=1), ends.T, np.nan)
        return low, high

    recall, specificity, precision = shares(actual, called), shares(~actual, ~called), shares(called, actual)
    return {
        "accuracy": wilson((actual & called).any(axis=0), group, confidence),
        "balanced_accuracy": of_mean(scores.recall(truth, decisions), recall),
        "melanoma_sensitivity": (recall[0][MELANOMA], recall[1][MELANOMA]),
        "melanoma_specificity": (specificity[0][MELANOMA], specificity[1][MELANOMA]),
        "recall": recall,
        "specificity": specificity,
        "precision": precision,
    }
