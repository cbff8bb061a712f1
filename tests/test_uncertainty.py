"""The risk-coverage curve and the table of sets, against plain loops over the rows."""

import fakes
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from dermaline.base.classes import CLASSES
from dermaline.evaluation import tables, uncertainty


@pytest.fixture(scope="module")
def case():
    """Decided test predictions, not the most probable classes, and the index they belong to."""
    index = fakes.index(900)
    test = fakes.predictions(index).query("split == 'test'")
    raw = tables.probabilities(test)
    test = tables.decided(test, raw, (raw / raw.mean(axis=0) ** 0.5).argmax(axis=1)).sample(frac=1, random_state=0)
    return test.reset_index(drop=True), index


def kept(test: pd.DataFrame, images: int) -> pd.DataFrame:
    """The images whose predicted class has the largest probability."""
    sure = pd.Series([row[row["predicted"]] for _, row in test.iterrows()])
    return test.loc[sure.sort_values(ascending=False, kind="stable").index[:images]]


def test_the_curve_is_of_the_surest_images(case):
    test, _ = case
    rows = uncertainty.risk_rows(test)
    assert len(rows) == 100
    for row in (rows.iloc[0], rows.iloc[49], rows.iloc[79], rows.iloc[99]):
        images = round(row["coverage"] * len(test))
        some = kept(test, images)
        assert row["accuracy"] == pytest.approx(reference.accuracy_score(some["dx"], some["predicted"]))
        recalls = [(own["predicted"] == name).mean() for name, own in some.groupby("dx")]
        assert row["balanced_accuracy"] == pytest.approx(np.mean(recalls))
        assert row["melanomas"] == pytest.approx((some["dx"] == "mel").sum() / (test["dx"] == "mel").sum())
    assert rows["risk"].to_numpy() == pytest.approx(1 - rows["accuracy"].to_numpy())
    assert rows["coverage"].iloc[-1] == rows["melanomas"].iloc[-1] == 1


def test_the_area_is_the_mean_risk_over_all_numbers_of_images(case):
    test, _ = case
    order = kept(test, len(test))
    wrong = (order["dx"] != order["predicted"]).to_numpy()
    expected = np.mean([wrong[:count].mean() for count in range(1, len(wrong) + 1)])
    assert uncertainty.risk_area(test) == pytest.approx(expected)


def test_a_confidence_that_knows_the_errors_has_the_least_area(case):
    test, _ = case
    right = (test["dx"] == test["predicted"]).to_numpy()
    probabilities = np.where(tables.decisions(test) > 0, np.where(right, 0.9, 0.6)[:, None], 0.05)
    wrong = (~right).sum()
    least = sum(k / (right.sum() + k) for k in range(1, wrong + 1)) / len(test)
    assert uncertainty.risk_area(test.assign(**dict(zip(CLASSES, probabilities.T, strict=True)))) == pytest.approx(
        least
    )


def test_what_is_told_of_a_share_is_of_that_share(case):
    test, _ = case
    found = uncertainty.selective(test)
    assert list(found) == ["risk_area", "at_80%", "at_90%", "at_100%"]
    some = kept(test, int(np.ceil(0.8 * len(test))))
    told = found["at_80%"]
    assert told["images"] == len(some)
    assert told["accuracy"] == pytest.approx((some["dx"] == some["predicted"]).mean())
    assert told["accuracy_low"] < told["accuracy"] < told["accuracy_high"]
    assert told["confidence"] == pytest.approx(min(row[row["predicted"]] for _, row in some.iterrows()))
    melanomas = some[some["dx"] == "mel"]
    assert told["melanomas"] == pytest.approx(len(melanomas) / (test["dx"] == "mel").sum())
    assert told["melanoma_sensitivity"] == pytest.approx((melanomas["predicted"] == "mel").mean())
    assert told["melanoma_sensitivity_low"] < told["melanoma_sensitivity"] < told["melanoma_sensitivity_high"]


def test_without_melanomas_what_is_told_has_no_number_that_is_none(case):
    test, _ = case
    told = uncertainty.selective(test[test["dx"] != "mel"])["at_100%"]
    assert [name for name in told if "melanoma" in name] == []
    assert told["accuracy"] == 1 - uncertainty.risk_rows(test[test["dx"] != "mel"])["risk"].iloc[-1]


def test_the_table_of_sets_counts_what_is_in_them(case):
    test, index = case
    held = tables.probabilities(test) > 0.1
    rows = uncertainty.set_rows(test, {("marginal", 0.9): held}, index).set_index(["variable", "value"])
    sex = index.set_index("image_id").loc[test["image_id"], "sex"].to_numpy()
    parts = {("all", "all"): np.ones(len(test), bool), ("dx", "mel"): (test["dx"] == "mel").to_numpy()}
    for key, own in (parts | {("sex", "male"): sex == "male"}).items():
        # of each lesion, of which a photograph counts less the more there are
        inside, sizes, single, sure = [], [], [], []
        for lesion in set(test["group"][own]):
            photographs = np.flatnonzero(own & (test["group"] == lesion))
            inside.append(np.mean([held[row, CLASSES.index(test["dx"][row])] for row in photographs]))
            sizes.append(held[photographs].sum() / len(photographs))
            single.append((held[photographs].sum(axis=1) == 1).mean())
            true = [CLASSES.index(test["dx"][row]) for row in photographs]
            sure.append(
                np.mean([held[row].sum() == 1 and held[row, of] for row, of in zip(photographs, true, strict=True)])
            )
        assert (rows.loc[key, "images"], rows.loc[key, "lesions"]) == (own.sum(), len(inside))
        for name, values in (("coverage", inside), ("size", sizes), ("single", single)):
            assert rows.loc[key, name] == pytest.approx(np.mean(values)), name
        assert rows.loc[key, "single_coverage"] == pytest.approx(np.sum(sure) / np.sum(single))
        assert rows.loc[key, "coverage_low"] < rows.loc[key, "coverage"] < rows.loc[key, "coverage_high"]
        low, high = rows.loc[key, ["single_coverage_low", "single_coverage_high"]]
        assert low < rows.loc[key, "single_coverage"] < high
    assert rows.loc["dx", "images"].sum() == len(test)


def test_of_one_photograph_a_lesion_the_single_sets_have_wilsons_interval(case):
    test, index = case
    test = test.drop_duplicates("group").reset_index(drop=True)
    held = tables.probabilities(test) > 0.3
    single = held.sum(axis=1) == 1
    right = held[np.arange(len(test)), tables.truth(test)] & single
    (row,) = uncertainty.set_rows(test, {("marginal", 0.9): held}, index).query("value == 'all'").to_dict("records")
    ends = binomtest(int(right.sum()), int(single.sum())).proportion_ci(method="wilson")
    assert (row["single_coverage_low"], row["single_coverage_high"]) == pytest.approx((ends.low, ends.high))
    (row,) = (
        uncertainty.set_rows(test, {("marginal", 0.9): held | True}, index).query("value == 'all'").to_dict("records")
    )
    assert np.isnan([row[f"single_coverage{end}"] for end in ("", "_low", "_high")]).all()
