"""Sets of diagnoses: thresholds by hand and by the textbook's quantile, and how often they hold what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermaline.base.classes import CLASSES
from dermaline.inference import conformal


def random_case(seed: int, lesions: int, classes: int = 4):
    """Probabilities [N, C] of lesions of one to six photographs; those of many are easy, and photographs are alike."""
    random = np.random.default_rng(seed)
    rows = random.choice([1, 2, 6], lesions, p=[0.6, 0.2, 0.2])
    lesion = np.repeat(np.arange(lesions), rows)
    of_lesion = random.integers(0, classes, lesions)
    logits = random.normal(0, 1, (lesions, classes))[lesion] + random.normal(0, 0.2, (len(lesion), classes))
    truth = of_lesion[lesion]
    logits[np.arange(len(truth)), truth] += 0.5 + 0.5 * rows[lesion]
    shares = np.exp(logits)
    return truth, shares / shares.sum(axis=1, keepdims=True), lesion


def padded(shares):
    """As of all classes, where a case has fewer: nothing is taken for one of the others."""
    return np.pad(shares, ((0, 0), (0, len(CLASSES) - shares.shape[1])))


def fit_thresholds(truth, shares, group, coverage, by_class):
    """The thresholds [C] of a case's own classes."""
    rule = conformal.fit(truth, padded(shares), group, coverage, by_class)
    return np.array(list(rule.thresholds.values()))[: shares.shape[1]]


def test_with_one_photograph_a_lesion_it_is_the_textbooks_quantile():
    truth, shares, lesion = random_case(0, 300)
    first = np.unique(lesion, return_index=True)[1]
    truth, shares = truth[first], shares[first]
    own = shares[np.arange(len(truth)), truth]
    for coverage in (0.5, 0.9, 0.95, 0.99):
        rank = int(np.ceil((len(own) + 1) * coverage))  # Vovk et al. 2005: this smallest of the scores 1 - p
        found = fit_thresholds(truth, shares, np.arange(len(truth)), coverage, by_class=False)
        assert found == pytest.approx(np.full(4, 1 - np.sort(1 - own)[rank - 1]))


def test_a_lesion_counts_once_however_many_photographs_it_has():
    truth, group = np.zeros(12, dtype=int), np.array([0] * 9 + [1, 2, 3])
    shares = np.array([0.9] * 9 + [0.5, 0.4, 0.3])[:, None]
    found = {share: fit_thresholds(truth, shares, group, share, by_class=False) for share in (0.2, 0.4, 0.8, 0.9)}
    assert {share: value[0] for share, value in found.items()} == {0.2: 0.9, 0.4: 0.5, 0.8: 0.3, 0.9: 0.0}


def coverages(by_class: bool, own_group: bool, coverage: float, lesions: int = 120, tries: int = 400):
    """The mean share, of one photograph of each new lesion, whose set holds the truth: of all, and of class 0."""
    found = []
    for seed in range(tries):
        truth, shares, lesion = random_case(seed, lesions)
        group = lesion if own_group else np.arange(len(truth))
        thresholds = fit_thresholds(truth, shares, group, coverage, by_class)
        truth, shares, lesion = random_case(10_000 + seed, lesions)
        first = np.unique(lesion, return_index=True)[1]
        held = (shares >= thresholds)[first, truth[first]]
        found.append((held.mean(), held[truth[first] == 0].mean()))
    return np.mean(found, axis=0)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("by_class", [False, True])
def test_new_lesions_are_covered_as_promised(by_class, coverage):
    of_all, of_class = coverages(by_class, own_group=True, coverage=coverage)
    allowed = 0.04 if by_class else 0.015  # one lesion more: of some 30 of a class, or of all 120
    assert coverage - 0.007 < of_all < coverage + allowed
    if by_class:
        assert coverage - 0.012 < of_class < coverage + allowed


def test_counting_photographs_instead_breaks_the_promise():
    of_all, _ = coverages(by_class=False, own_group=False, coverage=0.9)
    assert of_all < 0.88


@pytest.mark.parametrize(("coverage", "lesions"), [(0.9, 9), (0.95, 19)])
def test_a_class_of_too_few_lesions_is_in_every_set(coverage, lesions):
    truth, shares = np.array([0] * 60 + [1] * lesions), np.full((60 + lesions, 3), 0.3)
    found = fit_thresholds(truth, shares, np.arange(len(truth)), coverage, by_class=True)
    assert list(found) == [0.3, 0.3, 0.0]
    fewer = fit_thresholds(truth[:-1], shares[:-1], np.arange(len(truth) - 1), coverage, by_class=True)
    assert list(fewer) == [0.3, 0.0, 0.0]


@given(st.integers(0, 1000), st.floats(0.5, 0.98), st.booleans())
def test_more_is_promised_by_larger_sets_and_each_holds_the_prediction(seed, coverage, by_class):
    truth, shares, lesion = random_case(seed, 40)
    predicted = np.random.default_rng(seed).integers(0, 4, len(truth))
    small, large = (
        conformal.fit(truth, padded(shares), lesion, share, by_class).members(padded(shares), predicted)
        for share in (coverage, coverage + 0.019)
    )
    assert (small <= large).all()
    assert small[np.arange(len(truth)), predicted].all()
