"""The metrics, each one function for a point estimate and for bootstrap replicates alike: arguments as in `scores`.

Where a decision rule has predicted something else than the most probable class, the metrics `OF_DECISIONS` are given
its one-hot rows in place of the probabilities.
"""

from collections.abc import Callable

import numpy as np

from dermaline.base.classes import MELANOMA
from dermaline.evaluation.ranking import average_precision_score, sensitivity_at
from dermaline.evaluation.scores import (
    Floats,
    Ints,
    accuracy,
    auc,
    balanced_accuracy,
    confusion,
    each_class,
    f1,
    macro_auc,
    macro_f1,
    macro_mean,
    nll,
    ones_unless,
    present,
    ratio,
    recall,
    row_mean,
    sums,
    true_positives,
)

Metric = Callable[[Ints, Floats, Floats | None], Floats]
CALIBRATION_BINS = 15


def weighted_f1(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Mean of F1 weighted by the classes' shares of the rows."""
    support = confusion(truth, probabilities, weights).sum(-1)
    return ratio((np.nan_to_num(f1(truth, probabilities, weights)) * support).sum(-1), support.sum(-1))


def macro_average_precision(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of the one-versus-rest average precisions."""
    return macro_mean(average_precision(truth, probabilities, weights))


def mean_specificity(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Macro mean of specificity."""
    return macro_mean(specificity(truth, probabilities, weights))


def kappa(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Cohen's kappa (1960), -1..1: agreement beyond chance. NaN when all rows are, and are predicted, one class."""
    confmat = confusion(truth, probabilities, weights)
    confmat = ratio(confmat, confmat.sum((-2, -1), keepdims=True))
    chance = (confmat.sum(-1) * confmat.sum(-2)).sum(-1)
    return ratio(np.trace(confmat, axis1=-2, axis2=-1) - chance, 1 - chance)


def brier(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """The original multi-class Brier score, 0..2: squared errors summed over the classes (Brier 1950, eq. 2)."""
    return row_mean(((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1), weights)


def ece(truth: Ints, probabilities: Floats, weights: Floats | None = None, bins: int = CALIBRATION_BINS) -> Floats:
    """Expected calibration error, 0..1: |accuracy - confidence| of each bin, weighted by its rows (Guo 2017, eq. 3)."""
    _, confidence, right = calibration(truth, probabilities, weights, bins)
    return ratio(np.abs(right - confidence).sum(-1), ones_unless(truth, weights).sum(-1))


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
    return sensitivity_at(truth == MELANOMA, probabilities[:, MELANOMA], ones_unless(truth, weights), specificity)


def melanoma_sensitivity_at_specificity_90(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Sensitivity to melanoma at 90 % specificity."""
    return melanoma_sensitivity_at(truth, probabilities, weights, 0.90)


def melanoma_sensitivity_at_specificity_95(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Sensitivity to melanoma at 95 % specificity."""
    return melanoma_sensitivity_at(truth, probabilities, weights, 0.95)


def precision(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Of the rows predicted a class, the share that is; 0 for a class that is never predicted."""
    confmat = confusion(truth, probabilities, weights)
    return present(np.nan_to_num(ratio(true_positives(confmat), confmat.sum(-2))), confmat)


def specificity(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Of the rows not of a class, the share not predicted so; NaN too for the only class there is."""
    confmat = confusion(truth, probabilities, weights)
    others = confmat.sum((-2, -1))[..., None] - confmat.sum(-1)
    false = confmat.sum(-2) - true_positives(confmat)
    return present(ratio(others - false, others), confmat)


def average_precision(truth: Ints, probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Average precision of each class versus the rest."""
    return each_class(average_precision_score, truth, probabilities, weights)


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

# What one chooses by and reports: the columns of `dvc exp show`.
KEY_METRICS: tuple[str, ...] = tuple(
    metric.__name__ for metric in (accuracy, balanced_accuracy, macro_f1, macro_auc, melanoma_sensitivity, nll)
)

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

# The metrics that take the numbers for chances; those of a ranking or a decision bear any confidences.
OF_CHANCES: frozenset[str] = frozenset(metric.__name__ for metric in (nll, brier, ece))

# Has no bootstrap interval: in a redrawn sample it is larger than in the sample itself.
BIASED_BY_REDRAWING: frozenset[str] = frozenset({ece.__name__})


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
    weights = ones_unless(truth, weights)
    return tuple(sums(weighted, bin_of, bins) for weighted in (weights, weights * confidence, weights * right))
