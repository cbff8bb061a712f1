"""The scores that training validates by, and what all metrics are made of: no change of another one trains again.

Every metric takes
    truth: [N] integers 0..C-1;
    probabilities: [N, C] floats, rows summing to 1; the prediction is the largest (the first of equals);
    weights: [..., N] whole numbers, not negative; ones (the default) give the point estimate, rows of multiplicities
        a bootstrap replicate each;
and returns one value per row of weights: shape [...] for a headline metric, [..., C] for a metric of each class.

A class without weight in the sample has no value: NaN in a metric of each class, left out of every macro mean. A value
that cannot be defined at all (say, melanoma sensitivity without a melanoma) is NaN; writers leave NaNs out.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_PROBABILITY = 1e-7  # what the logarithm sees at 0: the file of predictions keeps about this many digits


def nll(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Mean negative log-likelihood in nats; probabilities below `LEAST_PROBABILITY` count as that."""
    likelihood = probabilities[np.arange(len(truth)), truth].astype(float)
    return row_mean(-np.log(np.maximum(likelihood, LEAST_PROBABILITY)), weights)


def accuracy(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Share of rows predicted right."""
    confmat = confusion(truth, probabilities, weights)
    return ratio(np.trace(confmat, axis1=-2, axis2=-1), confmat.sum((-2, -1)))


def balanced_accuracy(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of recall, also called mean sensitivity: the goal metric of the ISIC 2018 challenge."""
    return macro_mean(recall(truth, probabilities, weights))


def macro_f1(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of F1."""
    return macro_mean(f1(truth, probabilities, weights))


def macro_auc(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of the one-versus-rest areas under the ROC curve."""
    return macro_mean(auc(truth, probabilities, weights))


def recall(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Of the rows of a class, the share predicted so: its sensitivity."""
    confmat = confusion(truth, probabilities, weights)
    return ratio(true_positives(confmat), confmat.sum(-1))


def f1(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)."""
    confmat = confusion(truth, probabilities, weights)
    return present(ratio(2 * true_positives(confmat), confmat.sum(-1) + confmat.sum(-2)), confmat)


def auc(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Area under the one-versus-rest ROC curve; NaN too for the only class there is."""
    return each_class(area_under_roc, truth, probabilities, weights)


def confusion(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """The confusion matrix [..., C, C]: weight of the rows of class i (first) predicted as class j (second)."""
    classes = probabilities.shape[1]
    cell = truth * classes + probabilities.argmax(axis=1)
    confmat = sums(ones_unless(truth, weights), cell, classes * classes)
    return confmat.reshape(*confmat.shape[:-1], classes, classes)


def macro_mean(values: Floats) -> Floats:
    """Mean over the last axis of the values that are not NaN."""
    return ratio(np.nansum(values, axis=-1), np.isfinite(values).sum(axis=-1))


def row_mean(values: Floats, weights: Floats | None = None) -> Floats:
    """Weighted mean [...] of one value a row [N]."""
    weights = ones_unless(values, weights)
    return ratio(np.einsum("...n,n->...", weights, values), weights.sum(-1))


def ones_unless(rows: np.ndarray, weights: Floats | None) -> Floats:
    """The weights, or ones [N] for these rows [N, ...]."""
    return np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=float)


def sums(weights: Floats, number: Ints, size: int) -> Floats:
    """Weight [..., size] of the rows of each number 0..size-1.

    Not a product with a one-hot matrix: its threads get in each other's way on a busy machine.
    """
    order = np.argsort(number.astype(np.uint16), kind="stable")  # a radix sort for 16 bits
    ordered = number[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    found = np.zeros((*weights.shape[:-1], size))
    found[..., ordered[starts]] = np.add.reduceat(weights.take(order, axis=-1), starts, axis=-1)
    return found


def true_positives(confmat: Floats) -> Floats:
    """The diagonal [..., C] of a confusion matrix."""
    return np.diagonal(confmat, axis1=-2, axis2=-1)


def present(values: Floats, confmat: Floats) -> Floats:
    """NaN where a class has no weight, as everywhere."""
    return np.where(confmat.sum(-1) > 0, values, np.nan)


def each_class(area: Callable[..., Floats], truth: Ints, probabilities: Floats, weights: Floats | None) -> Floats:
    """An area of `ranking` for each class against the rest, [..., C]."""
    weights = ones_unless(truth, weights)
    areas = [area(truth == number, scores, weights) for number, scores in enumerate(probabilities.T)]
    return np.stack(areas, axis=-1)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """`top / bottom`, and NaN where `bottom` is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(top, float), np.asarray(bottom, float))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def counts(positive: Bools, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """True and false positives at the thresholds where the ROC curve can turn, from the strictest to the loosest.

    Those are the distinct scores that a positive has, the one before each, and the last: in between only negatives
    enter, along a straight line.

    Args:
        positive: [N], whether a row is of the class.
        score: [N], higher means more likely of the class.
        weights: [..., N], not negative.

    Returns:
        The weight of the positives and of the negatives at or above each of the K thresholds, each [..., K].
    """
    order = np.argsort(-score)
    hit = positive[order]
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # the last row of each distinct score
    gains = np.diff(np.cumsum(hit)[ends], prepend=0) > 0
    ends = ends[gains | np.append(gains[1:], True)]
    ordered = weights.take(order, axis=-1)
    true = np.zeros((*weights.shape[:-1], hit.sum() + 1))
    np.cumsum(ordered[..., hit], axis=-1, out=true[..., 1:])
    true = true[..., np.cumsum(hit)[ends]]
    return true, np.cumsum(ordered, axis=-1)[..., ends] - true


def area_under_roc(positive: Bools, score: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve by trapezoids, [...]: the chance that a positive scores above a negative, ties half.

    NaN without positives or without negatives. Arguments as for `counts`. Source: Hanley & McNeil 1982.
    """
    true, false = counts(positive, score, weights)
    steps = np.diff(false, axis=-1, prepend=0)
    heights = true - np.diff(true, axis=-1, prepend=0) / 2
    return ratio(np.einsum("...k,...k->...", steps, heights), true[..., -1] * false[..., -1])
