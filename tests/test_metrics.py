"""Every metric against scikit-learn, and what must hold whatever the input."""

import time

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference

from dermaline.base.classes import CLASSES, MELANOMA
from dermaline.evaluation import bootstrap, metrics, ranking, summary
from dermaline.evaluation.scores import LEAST_PROBABILITY, area_under_roc
from dermaline.params import whole

SIZE = 7
BOUNDED = [name for name in metrics.HEADLINE if name not in ("nll", "brier", "kappa")]


def sample(seed: int, rows: int = 240, classes=range(SIZE), digits: int = 2):
    """Truth, probabilities with ties (few digits), whole weights with zeros among them."""
    random = np.random.default_rng(seed)
    truth = random.choice(list(classes), rows)
    logits = random.normal(size=(rows, SIZE))
    logits[np.arange(rows), truth] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, probabilities.round(digits), random.integers(0, 4, rows).astype(float)


CASES = [sample(seed) for seed in range(4)] + [
    sample(5, classes=(0, 4, 5)),
    sample(6, 60, digits=1),
    sample(7, digits=6),
]


def per_class(truth, probabilities, weights, score):
    """scikit-learn's `score` of each class against the rest."""
    predicted = probabilities.argmax(axis=1)
    present = [number for number in range(SIZE) if weights[truth == number].sum()]
    return {
        number: score(truth == number, predicted == number, probabilities[:, number], weights) for number in present
    }


def precision(actual, predicted, score, weights):
    return reference.precision_score(actual, predicted, sample_weight=weights, zero_division=0)


def recall(actual, predicted, score, weights):
    return reference.recall_score(actual, predicted, sample_weight=weights)


def specificity(actual, predicted, score, weights):
    return reference.recall_score(~actual, ~predicted, sample_weight=weights)


def f1(actual, predicted, score, weights):
    return reference.f1_score(actual, predicted, sample_weight=weights)


def auc(actual, predicted, score, weights):
    return reference.roc_auc_score(actual, score, sample_weight=weights)


def average_precision(actual, predicted, score, weights):
    return reference.average_precision_score(actual, score, sample_weight=weights)


def sensitivity_at(truth, probabilities, weights, target):
    known = weights > 0
    actual, score, weights = (truth == MELANOMA)[known], probabilities[known, MELANOMA], weights[known]
    fpr, tpr, _ = reference.roc_curve(actual, score, sample_weight=weights, drop_intermediate=False)
    return tpr[1 - fpr >= target - 1e-12].max()


def expected_ece(truth, probabilities, weights, bins=15):
    total = 0.0
    for low in range(bins):
        confidence = probabilities.max(axis=1)
        inside = (confidence > low / bins) & (confidence <= (low + 1) / bins)
        if weights[inside].sum():
            right = np.average(probabilities[inside].argmax(axis=1) == truth[inside], weights=weights[inside])
            gap = abs(right - np.average(confidence[inside], weights=weights[inside]))
            total += gap * weights[inside].sum() / weights.sum()
    return total


@pytest.mark.parametrize("bins", [4, 15])
def test_calibration_error_at_all_confidences_and_any_bins(bins):
    random, count = np.random.default_rng(0), 400
    confidence = random.uniform(0.15, 1, count)
    probabilities = np.repeat((1 - confidence[:, None]) / 6, 7, axis=1)
    probabilities[:, 3] = confidence
    truth, ones = np.where(random.random(count) < 0.6, 3, 1), np.ones(count)
    expected = expected_ece(truth, probabilities, ones, bins)
    assert metrics.ece(truth, probabilities, None, bins) == pytest.approx(expected)
    table = pd.DataFrame(probabilities, columns=list(CLASSES)).assign(dx=np.array(CLASSES)[truth], predicted="df")
    asked = whole.read(ROOT / "params.yaml").evaluate.model_copy(update={"calibration_bins": bins})
    assert summary.headline(table, asked)["ece"] == pytest.approx(expected)


@pytest.mark.parametrize("score", [precision, recall, specificity, f1, auc, average_precision])
@pytest.mark.parametrize(("truth", "probabilities", "weights"), CASES)
def test_each_class_as_scikit_learn(score, truth, probabilities, weights):
    found = metrics.PER_CLASS[score.__name__](truth, probabilities, weights)
    expected = per_class(truth, probabilities, weights, score)
    assert found[list(expected)] == pytest.approx(list(expected.values()), abs=1e-12)
    assert np.isnan(np.delete(found, list(expected))).all()


@pytest.mark.parametrize(("truth", "probabilities", "weights"), CASES)
def test_headline_as_scikit_learn(truth, probabilities, weights):
    predicted = probabilities.argmax(axis=1)

    def macro(score):
        return np.mean(list(per_class(truth, probabilities, weights, score).values()))

    floored = np.maximum(probabilities, LEAST_PROBABILITY)
    labels = {"labels": range(SIZE), "sample_weight": weights}
    expected = {
        "accuracy": reference.accuracy_score(truth, predicted, sample_weight=weights),
        "balanced_accuracy": macro(recall),
        "macro_f1": macro(f1),
        "weighted_f1": reference.f1_score(truth, predicted, average="weighted", zero_division=0, **labels),
        "macro_auc": macro(auc),
        "macro_average_precision": macro(average_precision),
        "mean_specificity": macro(specificity),
        "kappa": reference.cohen_kappa_score(truth, predicted, sample_weight=weights),
        "nll": -np.average(np.log(floored[np.arange(len(truth)), truth]), weights=weights),
        "brier": np.average(((np.eye(SIZE)[truth] - probabilities) ** 2).sum(axis=1), weights=weights),
        "ece": expected_ece(truth, probabilities, weights),
        "melanoma_sensitivity": recall(truth == MELANOMA, predicted == MELANOMA, None, weights),
        "melanoma_specificity": specificity(truth == MELANOMA, predicted == MELANOMA, None, weights),
        "melanoma_sensitivity_at_specificity_90": sensitivity_at(truth, probabilities, weights, 0.90),
        "melanoma_sensitivity_at_specificity_95": sensitivity_at(truth, probabilities, weights, 0.95),
    }
    assert set(expected) == set(metrics.HEADLINE)
    found = {name: float(metric(truth, probabilities, weights)) for name, metric in metrics.HEADLINE.items()}
    assert found == pytest.approx(expected, abs=1e-9)


def test_nll_and_brier_agree_with_scikit_learn_on_exact_probabilities():
    truth, probabilities, _ = sample(11, digits=12)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    assert metrics.nll(truth, probabilities) == pytest.approx(reference.log_loss(truth, probabilities))
    assert metrics.brier(truth, probabilities) == pytest.approx(
        reference.brier_score_loss(truth, probabilities, scale_by_half=False, labels=range(SIZE))
    )


@pytest.mark.parametrize("name", [*metrics.HEADLINE, *metrics.PER_CLASS])
def test_a_metric_is_of_the_decisions_or_of_the_probabilities(name):
    truth, probabilities, _ = sample(2, digits=6)
    metric, decided = (metrics.HEADLINE | metrics.PER_CLASS)[name], np.eye(SIZE)[probabilities.argmax(axis=1)]
    same = np.array_equal(metric(truth, probabilities), metric(truth, decided))
    assert same is (name in metrics.OF_DECISIONS)


@pytest.mark.parametrize("name", [*metrics.HEADLINE, *metrics.PER_CLASS])
def test_a_metric_bears_confidences_that_are_no_chances_or_needs_chances(name):
    """The cube keeps every order, within a row and within a class, and no sum."""
    truth, probabilities, _ = sample(2, digits=6)
    metric = (metrics.HEADLINE | metrics.PER_CLASS)[name]
    same = np.allclose(metric(truth, probabilities), metric(truth, probabilities**3), atol=1e-12)
    assert same is (name not in metrics.OF_CHANCES)


@pytest.mark.parametrize("name", [*metrics.HEADLINE, *metrics.PER_CLASS])
def test_rows_of_weights_are_scored_as_one_by_one(name):
    metric = (metrics.HEADLINE | metrics.PER_CLASS)[name]
    truth, probabilities, _ = sample(3)
    weights = np.random.default_rng(0).integers(0, 3, (5, len(truth))).astype(float)
    weights[0, truth == 3] = 0
    together = metric(truth, probabilities, weights)
    assert together == pytest.approx(np.stack([metric(truth, probabilities, row) for row in weights]), nan_ok=True)


@given(st.integers(0, 10_000), st.permutations(range(60)))
def test_order_is_irrelevant_and_a_weight_of_two_is_a_second_row(seed, order):
    truth, probabilities, weights = sample(seed, 60, digits=1)
    order, times = np.array(order), weights.astype(int)
    for metric in [*metrics.HEADLINE.values(), *metrics.PER_CLASS.values()]:
        weighted = metric(truth, probabilities, weights)
        shuffled = metric(truth[order], probabilities[order], weights[order])
        repeated = metric(truth.repeat(times), probabilities.repeat(times, axis=0), None)
        assert weighted == pytest.approx(shuffled, nan_ok=True)
        assert weighted == pytest.approx(repeated, nan_ok=True)


@given(arrays(np.int64, st.integers(1, 40), elements=st.integers(0, SIZE - 1)), st.data())
def test_values_stay_in_their_range_or_are_nan(truth, data):
    shape = (len(truth), SIZE)
    scores = data.draw(arrays(float, shape, elements=st.sampled_from([0.0, 0.1, 0.3, 1.0]))) + 1e-3
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    for name in BOUNDED:
        value = metrics.HEADLINE[name](truth, probabilities, None)
        assert np.isnan(value) or -1e-12 <= value <= 1 + 1e-12
    assert 0 <= metrics.brier(truth, probabilities) <= 2
    assert 0 <= metrics.nll(truth, probabilities) <= -np.log(LEAST_PROBABILITY)


@given(arrays(np.int64, st.integers(7, 40), elements=st.integers(0, SIZE - 1)).map(lambda some: np.r_[0, 4, some]))
def test_perfect_and_worst(truth):
    perfect = np.eye(SIZE)[truth]
    best = {name: metric(truth, perfect, None) for name, metric in metrics.HEADLINE.items()}
    assert best == pytest.approx(dict.fromkeys(best, 1.0) | {"nll": 0, "brier": 0, "ece": 0})
    wrong = np.eye(SIZE)[(truth + 1) % SIZE]
    assert (
        metrics.accuracy(truth, wrong) == metrics.balanced_accuracy(truth, wrong) == metrics.macro_f1(truth, wrong) == 0
    )
    assert metrics.brier(truth, wrong) == 2
    assert metrics.ece(truth, wrong) == 1
    assert metrics.macro_auc(truth, 1 - perfect) == 0


def test_sensitivity_at_a_specificity_counts_a_tie_whole():
    negatives, positives = np.linspace(0, 0.9, 10), [0.9, 0.95, 0.85, 0.1]
    score = np.r_[negatives, positives]
    actual, ones = np.arange(14) >= 10, np.ones(14)
    assert ranking.sensitivity_at(actual, score, ones, 1.0) == 0.25  # 0.9 is shared with a negative
    assert ranking.sensitivity_at(actual, score, ones, 0.9) == 0.75  # exactly 0.9 is enough
    assert ranking.sensitivity_at(actual, score, ones, 0.0) == 1
    assert ranking.sensitivity_at(actual, np.ones(14), ones, 0.9) == 0  # only "none" and "all" are thresholds
    assert np.isnan(ranking.sensitivity_at(actual, score, actual.astype(float), 0.9))
    assert np.isnan(ranking.sensitivity_at(actual, score, ~actual * 1.0, 0.9))


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_corners_lose_nothing(seed, digits):
    truth, probabilities, _ = sample(seed, 80, digits=digits)
    actual, score, ones = truth == 5, probabilities[:, 5], np.ones(80)
    fpr, tpr = ranking.roc_curve(actual, score)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(area_under_roc(actual, score, ones))
    full = reference.roc_curve(actual, score, drop_intermediate=False)
    assert np.interp(full[0], fpr, tpr) == pytest.approx(np.maximum.reduceat(full[1], starts(full[0]))[group(full[0])])
    recall, precision = ranking.precision_recall_curve(actual, score)
    assert (recall[0], recall[-1]) == (0, 1)
    best = score >= np.sort(score[actual])[-1]
    assert precision[0] == precision[1] >= actual[best].mean()  # flat to the first corner
    assert (np.diff(recall) > 0).all()
    area = (np.diff(recall) * precision[1:]).sum()
    assert area == pytest.approx(ranking.average_precision_score(actual, score, ones))
    assert len(recall) <= actual.sum() + 1


def starts(values):
    return np.flatnonzero(np.diff(values, prepend=-1))


def group(values):
    return np.cumsum(np.diff(values, prepend=-1) != 0) - 1


def test_a_hundred_replicates_at_once_cost_less_than_a_hundred_estimates():
    random = np.random.default_rng(0)
    truth, probabilities, _ = sample(0, 10_000, digits=6)

    def seconds(work):
        """The processor time of the quickest of three: both sides are measured here and now."""
        times = []
        for _ in range(3):
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
        return min(times)

    groups = random.integers(0, 7000, 10_000)
    at_once = seconds(lambda: bootstrap.bootstrap_distribution(metrics.HEADLINE, truth, probabilities, groups, 100, 0))
    once = seconds(lambda: [metric(truth, probabilities, None) for metric in metrics.HEADLINE.values()])
    assert at_once < 100 * once / 2
