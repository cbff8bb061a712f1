"""Intervals of shares against scipy, and against their promise to hold the truth 95 times in 100."""

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from scipy.stats import binomtest, norm

from dermaline.base.classes import CLASSES
from dermaline.evaluation import bootstrap, metrics, rates, summary, tables
from dermaline.params import whole

OPTIONS = whole.read(ROOT / "params.yaml").evaluate.model_copy(update={"bootstrap": 100})
PHOTOGRAPHS = (0.62, 0.28, 0.08, 0.02)  # shares of lesions with 1 to 4 of them
SENSITIVITY = {"akiec": 0.72, "bcc": 0.90, "bkl": 0.74, "df": 0.87, "mel": 0.70, "nv": 0.89, "vasc": 0.955}
TEST = {"akiec": 34, "bcc": 49, "bkl": 109, "df": 11, "mel": 92, "nv": 811, "vasc": 15}  # lesions, as of HAM10000
SMALL = {"akiec": 7, "bcc": 10, "bkl": 22, "df": 2, "mel": 18, "nv": 163, "vasc": 3}  # few
SLICE = {"bcc": 4, "bkl": 7, "mel": 3, "nv": 60}


def drawn(random: np.random.Generator, lesions: dict[str, int], alike: float = 0.65) -> pd.DataFrame:
    """Decided predictions of lesions of one to four photographs, which err together as correlated normals do."""
    lesion_dx = np.repeat(list(lesions), list(lesions.values()))
    lesion = np.repeat(np.arange(len(lesion_dx)), random.choice([1, 2, 3, 4], len(lesion_dx), p=PHOTOGRAPHS))
    score = np.sqrt(alike) * random.normal(size=len(lesion_dx))[lesion]
    score += np.sqrt(1 - alike) * random.normal(size=len(lesion))
    dx = lesion_dx[lesion]
    right = score < norm.ppf([SENSITIVITY[name] for name in lesions])[np.searchsorted(list(lesions), dx)]
    predicted = np.where(right, dx, np.where(dx == "nv", "mel", "nv"))
    return pd.DataFrame({"dx": dx, "group": lesion, "predicted": predicted} | dict.fromkeys(CLASSES, 1 / 7))


def share(trials: list[pd.Series]) -> pd.Series:
    """How often each of some intervals held its truth."""
    return pd.DataFrame(trials).mean()


def test_sensitivities_and_their_mean_are_held_as_often_as_is_claimed():
    random, known, held = np.random.default_rng(0), pd.Series(SENSITIVITY), []
    for _ in range(300):
        found = rates.intervals(drawn(random, TEST))
        low, high = (pd.Series(end, CLASSES) for end in found["recall"])
        held.append((low <= known) & (known <= high))
        held[-1]["mean"] = found["balanced_accuracy"][0] <= known.mean() <= found["balanced_accuracy"][1]
    assert share(held).between(0.92, 0.99).all(), share(held)


@pytest.mark.parametrize(("lesions", "trials"), [(SMALL, 200), (SLICE, 300)])
def test_of_few_lesions_too(lesions, trials):
    random, held = np.random.default_rng(0), []
    known = {"balanced_accuracy": np.mean([SENSITIVITY[name] for name in lesions])}
    known |= {"melanoma_sensitivity": SENSITIVITY["mel"]}
    for _ in range(trials):
        row = summary.metrics_with_ci(drawn(random, lesions), known, OPTIONS)
        held.append(pd.Series({name: row[f"{name}_low"] <= known[name] <= row[f"{name}_high"] for name in known}))
    assert share(held).between(0.92, 0.995).all(), share(held)


@pytest.mark.parametrize(
    ("lesions", "metric", "known", "most"),
    [
        ({"df": 11}, metrics.accuracy, SENSITIVITY["df"], 0.9),
        ({"vasc": 15}, metrics.accuracy, SENSITIVITY["vasc"], 0.75),
        (SLICE, metrics.balanced_accuracy, np.mean([SENSITIVITY[name] for name in SLICE]), 0.87),
    ],
)
def test_percentiles_of_redrawn_lesions_hold_it_less_often(lesions, metric, known, most):
    random, held = np.random.default_rng(0), []
    for trial in range(150):
        table = drawn(random, lesions)
        truth, decisions, group = tables.truth(table), tables.decisions(table), table["group"].to_numpy()
        low, high = bootstrap.interval(
            bootstrap.bootstrap_distribution({"it": metric}, truth, decisions, group, OPTIONS.bootstrap, trial)["it"]
        )
        held.append(low <= known <= high)
    assert 0.5 < np.mean(held) < most


def test_of_one_photograph_a_lesion_it_is_the_interval_of_wilson():
    for right, count in ((0, 1), (3, 3), (7, 30), (29, 30)):
        expected = binomtest(right, count).proportion_ci(method="wilson")
        assert rates.wilson(np.arange(count) < right, np.arange(count)) == pytest.approx(tuple(expected))


def test_photographs_of_a_lesion_that_agree_count_once_and_none_make_it_narrower_than_its_lesions():
    right = np.arange(30) < 20
    lesions = rates.wilson(right, np.arange(30))
    assert rates.wilson(np.repeat(right, 3), np.repeat(np.arange(30), 3)) == pytest.approx(lesions)
    mixed = np.tile([True, True, False], 30)  # two of three right in each: no lesion differs from another
    assert rates.wilson(mixed, np.repeat(np.arange(30), 3)) == pytest.approx(lesions)
    uneven = rates.wilson(
        np.repeat(right, np.r_[np.full(29, 1), 11]), np.repeat(np.arange(30), np.r_[np.full(29, 1), 11])
    )
    assert uneven[1] - uneven[0] > 1.2 * (lesions[1] - lesions[0])


def test_each_metric_has_the_interval_of_its_own_rows():
    table = drawn(np.random.default_rng(1), TEST).query("dx != 'df'")
    found, group = rates.intervals(table), table["group"].to_numpy()
    rows = {
        "recall": (table["dx"] == "mel", table["predicted"] == "mel"),
        "precision": (table["predicted"] == "mel", table["dx"] == "mel"),
        "specificity": (table["dx"] != "mel", table["predicted"] != "mel"),
    }
    for name, (chosen, hit) in rows.items():
        own = rates.wilson(hit[chosen].to_numpy(), group[chosen])
        assert [end[CLASSES.index("mel")] for end in found[name]] == pytest.approx(own)
        assert np.isnan([end[CLASSES.index("df")] for end in found[name]]).all()
    assert found["accuracy"] == pytest.approx(rates.wilson((table["dx"] == table["predicted"]).to_numpy(), group))
    assert found["melanoma_sensitivity"] == pytest.approx([end[CLASSES.index("mel")] for end in found["recall"]])
    assert found["melanoma_specificity"] == pytest.approx([end[CLASSES.index("mel")] for end in found["specificity"]])
    never = rates.intervals(table.assign(predicted="nv"))["precision"]
    assert np.isnan(never[0][CLASSES.index("mel")])
    assert np.isfinite(never[0][CLASSES.index("nv")])


def test_arms_of_independent_values_add_as_squares():
    assert rates.of_mean(np.array([0.9, np.nan]), (np.array([0.5, 0.1]), np.array([1.0, 0.2]))) == (0.5, 1.0)
    found = rates.of_mean(np.full(4, 0.6), (np.full(4, 0.4), np.full(4, 0.7)))
    assert found == pytest.approx((0.5, 0.65))


def test_intervals_are_by_group_whatever_the_lesions_are_called():
    """Near-duplicates of lesion_ids of their own err together: by lesion the intervals would be too narrow."""
    table = drawn(np.random.default_rng(2), TEST, alike=0.99)
    table["lesion_id"] = np.arange(len(table))
    found = summary.scores(table, OPTIONS)
    assert found == summary.scores(table.assign(lesion_id="one"), OPTIONS)
    by_lesion = summary.scores(table.assign(group=table["lesion_id"]), OPTIONS)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "kappa"):
        ends, narrower = found["intervals"][name], by_lesion["intervals"][name]
        assert ends["high"] - ends["low"] > narrower["high"] - narrower["low"]


def test_redrawing_says_nothing_of_a_class_of_few_lesions_or_where_no_draw_differs():
    table = drawn(np.random.default_rng(3), SMALL)
    per_class = summary.scores(table, OPTIONS)["per_class"]
    for name, count in SMALL.items():
        assert ("f1" in per_class[name]["intervals"]) == (count >= summary.FEWEST_LESIONS)
        assert "recall" in per_class[name]["intervals"]
    for melanomas in (summary.FEWEST_LESIONS - 1, summary.FEWEST_LESIONS):  # so it is with what is of melanoma alone
        fewer = drawn(np.random.default_rng(3), SMALL | {"mel": melanomas})
        fewer["mel"] = np.random.default_rng(4).random(len(fewer))
        found = summary.scores(fewer, OPTIONS)["intervals"]
        assert ("melanoma_sensitivity_at_specificity_90" in found) == (melanomas == summary.FEWEST_LESIONS)
    perfect = table.assign(predicted=table["dx"], **{name: (table["dx"] == name) * 1.0 for name in CLASSES})
    found = summary.scores(perfect, OPTIONS)
    assert found["macro_auc"] == 1
    assert "macro_auc" not in found["intervals"]
    assert found["intervals"]["balanced_accuracy"]["low"] < 0.95


def test_a_difference_of_two_groups_of_patients_is_held_as_often_as_is_claimed():
    random, held = np.random.default_rng(0), []
    for confidence in (0.95, 0.99):
        for _ in range(300):
            sides = [drawn(random, lesions) for lesions in ({"mel": 25}, {"mel": 70})]
            right = [(side["dx"] == side["predicted"]).to_numpy() for side in sides]
            ends = [
                rates.wilson(one, side["group"].to_numpy(), confidence) for one, side in zip(right, sides, strict=True)
            ]
            values = [one.mean() for one in right]
            low, high = rates.of_difference(tuple(values), tuple(ends))
            held.append({confidence: low <= 0 <= high})  # both are of the same melanomas
    found = pd.DataFrame(held).mean()
    assert 0.925 < found[0.95] < 0.98
    assert found[0.99] > 0.975
