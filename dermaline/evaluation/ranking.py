"""Metrics of a ranking: what a class's probability is worth at every threshold, without choosing one.

Shapes are those of `dermaline.evaluation.metrics`. Rows with equal scores enter together, as one point of the curve.
"""

import numpy as np

from dermaline.evaluation.scores import Bools, Floats, counts, ratio


def average_precision_score(positive: Bools, score: Floats, weights: Floats) -> Floats:
    """Average precision, [...]: precision at each threshold, weighted by the recall gained there (no interpolation).

    NaN without positives. Arguments as for `counts`. Source: Manning et al., Information Retrieval, 8.4.
    """
    true, false = counts(positive, score, weights)
    gains = np.diff(true, axis=-1, prepend=0)
    precision = np.nan_to_num(ratio(true, true + false))  # before the first row of any weight nothing is gained
    return ratio(np.einsum("...k,...k->...", gains, precision), true[..., -1])


def sensitivity_at(positive: Bools, score: Floats, weights: Floats, specificity: float) -> Floats:
    """The largest sensitivity among the ROC points whose specificity is at least `specificity`, [...].

    The points are the distinct scores and the threshold above all of them (sensitivity 0, specificity 1); nothing is
    interpolated between them, so a real threshold reaches the value. NaN without positives or without negatives.
    Other arguments as for `counts`.
    """
    true, false = counts(positive, score, weights)
    negatives = false[..., -1:]
    allowed = np.nan_to_num(ratio(negatives - false, negatives)) >= specificity
    best = np.max(true, axis=-1, where=allowed, initial=0)
    return ratio(np.where(negatives[..., 0] > 0, best, np.nan), true[..., -1])


def roc_curve(positive: Bools, score: Floats) -> tuple[Floats, Floats]:
    """The ROC curve as false and true positive rates, [P] each, from (0, 0) to (1, 1).

    Points on a straight line between their neighbours are left out: the curve and its area stay exactly the same.
    Needs a positive and a negative.
    """
    true, false = (np.append(0, count) for count in counts(positive, score, np.ones(len(score))))
    turn = np.diff(false)[:-1] * np.diff(true)[1:] != np.diff(false)[1:] * np.diff(true)[:-1]
    corners = np.concatenate([[True], turn, [True]])
    return false[corners] / false[-1], true[corners] / true[-1]


def precision_recall_curve(positive: Bools, score: Floats) -> tuple[Floats, Floats]:
    """The precision-recall curve as recalls and precisions, [P] each, from recall 0 to 1.

    Drawn as steps (a precision holds back to the recall before it), its area is the average precision exactly. Points
    that add no recall, and all but the last of a run of equal precision, are left out. Needs a positive.
    """
    true, false = counts(positive, score, np.ones(len(score)))
    gains = np.diff(true, prepend=0) > 0
    recall, precision = true[gains] / true[-1], true[gains] / (true + false)[gains]
    run_ends = np.append(np.diff(precision) != 0, True)
    recall, precision = recall[run_ends], precision[run_ends]
    return np.append(0, recall), np.append(precision[0], precision)
