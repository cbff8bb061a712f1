"""Sets of diagnoses that hold the true one as often as promised (split conformal prediction).

A set holds every class whose probability reaches that class's threshold, as in the least ambiguous set-valued
classifiers of Sadinle et al. 2019, and always the prediction itself.
"""

import numpy as np

from dermaline.base.classes import CLASSES
from dermaline.base.parameters import Fraction, Section
from dermaline.evaluation.scores import Bools, Floats, Ints


class SetRule(Section):
    """Which classes are in a set, and what is promised: its `coverage` of all lesions, or of those of each class."""

    coverage: Fraction
    by_class: bool
    thresholds: dict[str, Fraction]  # by class, the probability from which it is in the set

    @property
    def kind(self) -> str:
        """What tables call the promise: `by class` or `marginal`."""
        return "by class" if self.by_class else "marginal"

    def members(self, probabilities: Floats, predicted: Ints) -> Bools:
        """Which classes are in the set of each row, [N, 7], for calibrated probabilities and predicted numbers [N]."""
        found = probabilities >= np.array(list(self.thresholds.values()))
        found[np.arange(len(predicted)), predicted] = True
        return found


def fit(truth: Ints, probabilities: Floats, group: np.ndarray, coverage: float, by_class: bool) -> SetRule:
    """The rule that keeps a promise of coverage.

    The promise is for one photograph of a new lesion like those of the fit; photographs of a lesion are alike, so a
    lesion counts once, shared among its photographs (Lee, Barber & Willett 2023, hierarchical conformal prediction).

    Args:
        truth: [N] class numbers.
        probabilities: calibrated, [N, 7].
        group: [N] labels of any kind; rows of one are one lesion's.
        coverage: share of the lesions whose set is to hold the truth, over 0.
        by_class: whether it is to hold for the lesions of each class (Vovk 2012, label-conditional), not for all.

    Returns:
        With the same threshold for all, or one a class; 0, which takes the class into every set, where there are fewer
        lesions than a promise needs: 9 for 0.9, 19 for 0.95.
    """
    own = probabilities[np.arange(len(truth)), truth]
    if by_class:
        rows = {name: truth == number for number, name in enumerate(CLASSES)}
        thresholds = {name: _threshold(own[some], group[some], coverage) for name, some in rows.items()}
    else:
        thresholds = dict.fromkeys(CLASSES, _threshold(own, group, coverage))
    return SetRule(coverage=coverage, by_class=by_class, thresholds=thresholds)


def percent(coverage: float) -> str:
    """A promise in words: 90 %, or 97.5 %."""
    return f"{100 * coverage:.4g} %"


def _threshold(own: Floats, group: np.ndarray, coverage: float) -> float:
    found = lower_bound(own, group, coverage)
    return 0.0 if found is None else found


def lower_bound(values: Floats, group: np.ndarray, coverage: float) -> float | None:
    """The largest t at which rows with `values >= t` weigh this share of all lesions and one more, never found.

    Args:
        values: [N].
        group: [N] labels of any kind; rows of one are one lesion's, which counts once.
        coverage: share of new lesions, over 0, whose photograph is to reach t.

    Returns:
        One of the values; None where there are fewer lesions than the promise needs.
    """
    _, lesion, rows = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(-values, kind="stable")
    found = np.cumsum(1 / rows[lesion[order]]) / (len(rows) + 1)
    enough = np.flatnonzero(found >= coverage - 1e-9)
    return float(values[order][enough[0]]) if len(enough) else None
