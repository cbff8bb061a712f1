"""The metrics, each one function for a point estimate and for bootstrap replicates alike.

Every metric takes
    truth: [N] integers 0..C-1;
    probabilities: [N, C] floats, rows summing to 1; the prediction is the largest (the first of equals). Where a
        decision rule has predicted something else, the metrics `OF_DECISIONS` are given its one-hot rows instead;
    weights: [..., N] whole numbers, not negative; ones (the default) give the point estimate, rows of multiplicities
        a bootstrap replicate each;
and returns one value per row of weights: shape [...] for a headline metric, [..., C] for a metric of each class.

A class without weight in the sample has no value: NaN in a metric of each class, left out of every macro mean. A value
that cannot be defined at all (say, melanoma sensitivity without a melanoma) is NaN; writers leave NaNs out.
"""

from collections.abc import Callable

import numpy as np

from dermaline.classes import MELANOMA
from dermaline.evaluation.ranking import Floats, Ints, area_under_roc, precision_area, ratio, sensitivity_at

Metric = Callable[[Ints, Floats, Floats | None], Floats]
CALIBRATION_BINS = 15
LEAST_PROBABILITY = 1e-7  # what the logarithm sees at 0: the file of predictions keeps about this many digits


def accuracy(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Share of rows predicted right."""
    cells = confusion(truth, probabilities, weights)
    return ratio(np.trace(cells, axis1=-2, axis2=-1), cells.sum((-2, -1)))


def balanced_accuracy(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of recall, also called mean sensitivity: the goal metric of the ISIC 2018 challenge."""
    return macro_mean(recall(truth, probabilities, weights))


def macro_f1(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of F1."""
    return macro_mean(f1(truth, probabilities, weights))


def weighted_f1(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Mean of F1 weighted by the classes' shares of the rows."""
    support = confusion(truth, probabilities, weights).sum(-1)
    return ratio((np.nan_to_num(f1(truth, probabilities, weights)) * support).sum(-1), support.sum(-1))


def macro_auc(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of the one-versus-rest areas under the ROC curve."""
    return macro_mean(auc(truth, probabilities, weights))


def macro_average_precision(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of the one-versus-rest average precisions."""
    return macro_mean(average_precision(truth, probabilities, weights))


def mean_specificity(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of specificity."""
    return macro_mean(specificity(truth, probabilities, weights))


def kappa(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Cohen's kappa (1960), -1..1: agreement beyond chance. NaN when all rows are, and are predicted, one class."""
    cells = confusion(truth, probabilities, weights)
    cells = ratio(cells, cells.sum((-2, -1), keepdims=True))
    chance = (cells.sum(-1) * cells.sum(-2)).sum(-1)
    return ratio(np.trace(cells, axis1=-2, axis2=-1) - chance, 1 - chance)


def nll(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Mean negative log-likelihood in nats; probabilities below `LEAST_PROBABILITY` count as that."""
    likelihood = probabilities[np.arange(len(truth)), truth].astype(float)
    return row_mean(-np.log(np.maximum(likelihood, LEAST_PROBABILITY)), weights)


def brier(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """The original multi-class Brier score, 0..2: squared errors summed over the classes (Brier 1950, eq. 2)."""
    return row_mean(((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1), weights)


def ece(truth: Ints, probabilities: Floats, weights: Floats | None = None, bins: int = CALIBRATION_BINS) -> Floats:
    """Expected calibration error, 0..1: |accuracy - confidence| of each bin, weighted by its rows (Guo 2017, eq. 3)."""
    _, confidence, right = calibration(truth, probabilities, weights, bins)
    return ratio(np.abs(right - confidence).sum(-1), _weights(truth, weights).sum(-1))


def melanoma_sensitivity(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Recall of melanoma."""
    return recall(truth, probabilities, weights)[..., MELANOMA]


def melanoma_specificity(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Specificity of melanoma."""
    return specificity(truth, probabilities, weights)[..., MELANOMA]


def melanoma_sensitivity_at(
    truth: Ints, probabilities: Floats, weights: Floats | None = None, specificity: float = 0.9
) -> Floats:
    """Best sensitivity to melanoma over all thresholds that keep this specificity; see `ranking.sensitivity_at`."""
    return sensitivity_at(truth == MELANOMA, probabilities[:, MELANOMA], _weights(truth, weights), specificity)


def melanoma_sensitivity_at_specificity_90(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Sensitivity to melanoma at 90 % specificity."""
    return melanoma_sensitivity_at(truth, probabilities, weights, 0.90)


def melanoma_sensitivity_at_specificity_95(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Sensitivity to melanoma at 95 % specificity."""
    return melanoma_sensitivity_at(truth, probabilities, weights, 0.95)


def precision(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Of the rows predicted a class, the share that is; 0 for a class that is never predicted."""
    cells = confusion(truth, probabilities, weights)
    return _present(np.nan_to_num(ratio(_hits(cells), cells.sum(-2))), cells)


def recall(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Of the rows of a class, the share predicted so: its sensitivity."""
    cells = confusion(truth, probabilities, weights)
    return ratio(_hits(cells), cells.sum(-1))


def specificity(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Of the rows not of a class, the share not predicted so; NaN too for the only class there is."""
    cells = confusion(truth, probabilities, weights)
    others = cells.sum((-2, -1))[..., None] - cells.sum(-1)
    false = cells.sum(-2) - _hits(cells)
    return _present(ratio(others - false, others), cells)


def f1(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)."""
    cells = confusion(truth, probabilities, weights)
    return _present(ratio(2 * _hits(cells), cells.sum(-1) + cells.sum(-2)), cells)


def auc(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Area under the one-versus-rest ROC curve; NaN too for the only class there is."""
    return _each_class(area_under_roc, truth, probabilities, weights)


def average_precision(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Average precision of each class versus the rest."""
    return _each_class(precision_area, truth, probabilities, weights)


HEADLINE: dict[str, Metric] = {
    metric.__name__: metric
    for metric in (
        accuracy,
        balanced_accuracy,
        macro_f1,
        weighted_f1,
        macro_auc,
        macro_average_precision,
        mean_specificity,
        kappa,
        nll,
        brier,
        ece,
        melanoma_sensitivity,
        melanoma_specificity,
        melanoma_sensitivity_at_specificity_90,
        melanoma_sensitivity_at_specificity_95,
    )
}
PER_CLASS: dict[str, Metric] = {
    metric.__name__: metric for metric in (precision, recall, specificity, f1, auc, average_precision)
}

# The metrics that depend on nothing but the predicted class; all the others are of the probabilities.
OF_DECISIONS: frozenset[str] = frozenset(
    metric.__name__
    for metric in (
        accuracy,
        balanced_accuracy,
        macro_f1,
        weighted_f1,
        mean_specificity,
        kappa,
        melanoma_sensitivity,
        melanoma_specificity,
        precision,
        recall,
        specificity,
        f1,
    )
)
OF_PROBABILITIES: frozenset[str] = frozenset(HEADLINE | PER_CLASS) - OF_DECISIONS

# The metrics that take the numbers for chances; those of a ranking or a decision bear any confidences.
OF_CHANCES: frozenset[str] = frozenset(metric.__name__ for metric in (nll, brier, ece))

# Has no bootstrap interval: in a redrawn sample it is larger than in the sample itself.
BIASED_BY_REDRAWING: frozenset[str] = frozenset({ece.__name__})


def confusion(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """The confusion matrix [..., C, C]: weight of the rows of class i (first) predicted as class j (second)."""
    classes = probabilities.shape[1]
    cell = truth * classes + probabilities.argmax(axis=1)
    sums = _sums(_weights(truth, weights), cell, classes * classes)
    return sums.reshape(*sums.shape[:-1], classes, classes)


def calibration(
    truth: Ints, probabilities: Floats, weights: Floats | None = None, bins: int = CALIBRATION_BINS
) -> tuple[Floats, Floats, Floats]:
    """Sums over `bins` equal, right-closed bins of the largest probability, each [..., bins].

    Returns:
        The weight of the rows, the sum of their confidences, and the weight of those predicted right.
    """
    confidence = probabilities.max(axis=1).astype(float)
    right = probabilities.argmax(axis=1) == truth
    bin_of = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    weights = _weights(truth, weights)
    return tuple(_sums(weighted, bin_of, bins) for weighted in (weights, weights * confidence, weights * right))


def macro_mean(values: Floats) -> Floats:
    """Mean over the last axis of the values that are not NaN."""
    return ratio(np.nansum(values, axis=-1), np.isfinite(values).sum(axis=-1))


def row_mean(values: Floats, weights: Floats | None = None) -> Floats:
    """Weighted mean [...] of one value a row [N]."""
    weights = _weights(values, weights)
    return ratio(np.einsum("...n,n->...", weights, values), weights.sum(-1))


def _weights(rows: np.ndarray, weights: Floats | None) -> Floats:
    return np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=float)


def _sums(weights: Floats, number: Ints, size: int) -> Floats:
    """Weight [..., size] of the rows of each number 0..size-1.

    Not a product with a one-hot matrix: its threads get in each other's way on a busy machine.
    """
    order = np.argsort(number.astype(np.uint16), kind="stable")  # a radix sort for 16 bits
    ordered = number[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    sums = np.zeros((*weights.shape[:-1], size))
    sums[..., ordered[starts]] = np.add.reduceat(weights.take(order, axis=-1), starts, axis=-1)
    return sums


def _hits(cells: Floats) -> Floats:
    return np.diagonal(cells, axis1=-2, axis2=-1)


def _present(values: Floats, cells: Floats) -> Floats:
    """NaN where a class has no weight, as everywhere."""
    return np.where(cells.sum(-1) > 0, values, np.nan)


def _each_class(area: Callable[..., Floats], truth: Ints, probabilities: Floats, weights: Floats | None) -> Floats:
    weights = _weights(truth, weights)
    areas = [area(truth == number, scores, weights) for number, scores in enumerate(probabilities.T)]
    return np.stack(areas, axis=-1)
