"""The cluster bootstrap against a plain loop, and what it promises."""

import numpy as np
import pytest

from dermaline.data.groups import stratum
from dermaline.evaluation import bootstrap, metrics

COUNT, SEED = 40, 3


@pytest.fixture
def case():
    """Truth, two models' probabilities and groups of one to several rows, not in order."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 7, 90)
    probabilities = random.dirichlet(np.ones(7), (2, 90))
    return truth, probabilities[0], probabilities[1], np.array([f"g{number}" for number in random.integers(0, 30, 90)])


def drawn(case, count=COUNT, seed=SEED):
    truth, _, _, group = case
    return np.concatenate(list(bootstrap.resample_counts(group, truth, count, seed)))


def test_replicates_are_what_a_plain_loop_over_drawn_groups_gives(case):
    truth, probabilities, _, group = case
    names = np.unique(group)
    most = {name: np.bincount(truth[group == name]).argmax() for name in names}
    strata = {name: [other for other in names if most[other] == most[name]] for name in names}
    random = np.random.default_rng(SEED)
    found = bootstrap.bootstrap_distribution(
        metrics.HEADLINE | metrics.PER_CLASS, truth, probabilities, group, COUNT, SEED
    )
    for number in range(COUNT):
        rows = np.concatenate(
            [np.flatnonzero(group == strata[name][int(random.random() * len(strata[name]))]) for name in names]
        )
        for name, metric in (metrics.HEADLINE | metrics.PER_CLASS).items():
            expected = metric(truth[rows], probabilities[rows], None)
            assert found[name][number] == pytest.approx(expected, nan_ok=True)


def test_groups_stay_together_and_as_many_are_drawn_as_there_are(case):
    truth, _, _, group = case
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    times = drawn(case)
    assert times.shape == (COUNT, len(group))
    assert (times == times[:, first][:, member]).all()
    for number in range(7):  # and as many of each class
        belongs = (stratum(group, truth) == number).to_numpy()
        assert (times[:, first][:, belongs].sum(axis=1) == belongs.sum()).all()


def test_seeded_however_it_is_chunked(case, monkeypatch):
    whole = drawn(case)
    monkeypatch.setattr(bootstrap, "_CHUNK", 7 * len(case[3]))
    assert [len(chunk) for chunk in bootstrap.resample_counts(case[3], case[0], COUNT, SEED)] == [7] * 5 + [5]
    assert (drawn(case) == whole).all()
    assert (drawn(case, seed=SEED + 1) != whole).any()


def test_interval_is_the_percentiles_of_the_values_there_are():
    values = np.column_stack([np.arange(101.0), np.full(101, np.nan), np.r_[np.nan, np.arange(100.0)]])
    low, high = bootstrap.interval(values)
    assert low == pytest.approx([2.5, np.nan, 2.475], nan_ok=True)
    assert high == pytest.approx([97.5, np.nan, 96.525], nan_ok=True)


def test_interval_covers_the_truth_and_heeds_clusters():
    """Photographs of a lesion are right or wrong together: redrawing rows instead would cover far too rarely."""
    random, truth, inside, naive = np.random.default_rng(0), np.zeros(400, int), 0, 0
    group = np.repeat(np.arange(80), 5)
    for trial in range(120):
        right = np.repeat(random.random(80) < 0.8, 5)
        probabilities = np.eye(7)[np.where(right, 0, 1)]
        for kind, labels in (("group", group), ("row", np.arange(400))):
            draws = bootstrap.bootstrap_distribution({"a": metrics.accuracy}, truth, probabilities, labels, 200, trial)[
                "a"
            ]
            low, high = bootstrap.interval(draws)
            inside += kind == "group" and low <= 0.8 <= high
            naive += kind == "row" and low <= 0.8 <= high
    assert 0.88 <= inside / 120 <= 1
    assert naive / 120 < 0.75
