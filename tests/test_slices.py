"""The final model by kind of patient and by protocol, against scikit-learn on rows picked by hand."""

import fakes
import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from sklearn import metrics as reference

from dermaline.evaluation import slices, tables
from dermaline.evaluation.summary import FEWEST_LESIONS
from dermaline.params import whole

OPTIONS = whole.read(ROOT / "params.yaml").evaluate.model_copy(update={"bootstrap": 40})


@pytest.fixture(scope="module")
def case():
    """Decided test predictions, which are not the most probable classes, and the index they belong to."""
    index = fakes.index(3000)
    random = np.random.default_rng(1)
    index["age"] = random.choice([0, 29.9, 30, 44.5, 45, 60, 74, 75, 85, np.nan], len(index))
    index["sex"] = random.choice(["male", "female", "unknown", None], len(index), p=[0.5, 0.4, 0.05, 0.05])
    index["localization"] = random.choice(["back", "face", "ear", None], len(index), p=[0.6, 0.355, 0.005, 0.04])
    test = fakes.predictions(index).query("split == 'test'")
    raw = tables.probabilities(test)
    test = tables.decided(test, raw, (raw / raw.mean(axis=0) ** 0.5).argmax(axis=1))
    assert (tables.probabilities(test).argmax(axis=1) != tables.decisions(test).argmax(axis=1)).any()
    return test.sample(frac=1, random_state=0), index.drop(columns="split")


@pytest.fixture(scope="module")
def rows(case):
    return slices.slice_rows(*case, OPTIONS).set_index(["variable", "value"])


def test_every_image_is_in_one_slice_of_each_variable(case, rows):
    test, _ = case
    assert rows.index[0] == ("all", "all")
    for variable in ("sex", "age", "localization"):
        assert rows.loc[variable, "images"].sum() == len(test)
        assert rows.loc[variable, "melanomas"].sum() == (test["dx"] == "mel").sum()
    assert list(rows.index.unique(level=0)) == ["all", "sex", "age", "localization"]


def test_what_is_missing_and_what_is_called_unknown_are_one_slice_the_last(case, rows):
    test, index = case
    tested = index[index["image_id"].isin(test["image_id"])]
    for variable in ("sex", "age", "localization"):
        missing = (tested[variable].isna() | (tested[variable] == "unknown")).sum()
        assert rows.loc[(variable, "unknown"), "images"] == missing
        assert rows.loc[variable].index[-1] == "unknown"


@pytest.mark.parametrize(
    ("variable", "value", "belongs"),
    [
        ("sex", "female", lambda index: index["sex"] == "female"),
        ("localization", "face", lambda index: index["localization"] == "face"),
        ("age", "under 30", lambda index: index["age"].isin([0, 29.9])),
        ("age", "30 to 44", lambda index: index["age"].isin([30, 44.5])),
        ("age", "60 to 74", lambda index: index["age"].isin([60, 74])),
        ("age", "75 and over", lambda index: index["age"].isin([75, 85])),
    ],
)
def test_a_slice_is_scored_on_its_rows_alone(case, rows, variable, value, belongs):
    test, index = case
    part = test[test["image_id"].isin(index["image_id"][belongs(index)])]
    row = rows.loc[(variable, value)]
    assert (row["images"], row["lesions"]) == (len(part), part["lesion_id"].nunique())
    assert row["accuracy"] == pytest.approx(reference.accuracy_score(part["dx"], part["predicted"]))
    lesions = part.groupby("dx")["group"].nunique()
    enough = sorted(lesions.index[lesions >= 10])
    assert row["classes"] == " ".join(enough)
    scored = part[part["dx"].isin(enough)]
    assert 1 < len(enough) < part["dx"].nunique()
    expected = reference.recall_score(scored["dx"], scored["predicted"], labels=enough, average="macro")
    assert row["balanced_accuracy"] == pytest.approx(expected)
    areas = [reference.roc_auc_score(scored["dx"] == name, scored[name]) for name in enough]
    assert row["macro_auc"] == pytest.approx(np.mean(areas))
    melanoma = part[part["dx"] == "mel"]
    assert row["melanoma_sensitivity"] == pytest.approx((melanoma["predicted"] == "mel").mean())
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]


def test_a_small_slice_has_its_counts_and_says_that_it_is_not_scored(rows):
    small = rows[rows["lesions"] < FEWEST_LESIONS]
    assert len(small)
    assert (small["images"] > 0).all()
    assert (small["note"] == "fewer than 10 lesions: not scored").all()
    assert (small.filter(like="_verdict") == "").all(axis=None)
    scores = small.filter(regex="accuracy|auc|sensitivity").drop(columns=list(small.filter(like="_verdict")))
    assert scores.isna().all(axis=None)
    assert (rows["note"] != "").sum() == len(small)


def test_a_class_of_few_lesions_is_in_no_mean_and_its_sensitivity_says_how_little_is_known(case):
    """Four melanomas, all found, made a balanced accuracy of 0.99 with an interval of two hundredths."""
    test, index = case
    nevi, melanomas = (test[test["dx"] == name].drop_duplicates("group") for name in ("nv", "mel"))
    for number in (FEWEST_LESIONS, FEWEST_LESIONS - 1):
        part = pd.concat([nevi.head(60).assign(predicted="nv"), melanomas.head(number).assign(predicted="mel")])
        row = slices._row("sex", "female", part, OPTIONS)
        assert row["melanomas"] == number
        assert (row["melanoma_sensitivity"], row["melanoma_sensitivity_high"]) == pytest.approx((1, 1))
        assert row["melanoma_sensitivity_low"] < 0.73
        if number == FEWEST_LESIONS:
            assert (row["classes"], row["balanced_accuracy"]) == ("mel nv", 1)
            assert row["balanced_accuracy_low"] < 0.87
        else:
            assert row["classes"] == "nv"
            assert np.isnan([row["balanced_accuracy"], row["macro_auc"]]).all()
        whole = slices.slice_rows(part, index, OPTIONS).iloc[0]
        assert (whole["classes"], whole["balanced_accuracy"]) == ("mel nv", 1)  # as in the headline


def test_what_has_no_value_in_a_slice_is_empty(case):
    test, index = case
    row = slices.slice_rows(test[test["dx"] == "nv"], index, OPTIONS).iloc[0]
    assert np.isnan(row["macro_auc"])
    assert np.isnan(row["melanoma_sensitivity_low"])
    assert 0 < row["accuracy"] < 1


def test_the_source_is_sliced_by_where_the_index_knows_it(case):
    test, index = case
    index = index.assign(dataset=np.where(index.index % 3 == 0, "rosendahl", "vidir_modern"))
    rows = slices.slice_rows(test, index, OPTIONS).set_index(["variable", "value"])
    assert rows.loc["dataset", "images"].sum() == len(test)
    assert list(rows.loc["dataset"].index) == ["vidir_modern", "rosendahl"]


def test_each_protocol_counts_what_it_says(case):
    test, _ = case
    test = test.sort_index()
    lesions = tables.by_lesion(test).assign(predicted="nv")
    rows = slices.protocol_rows(test, lesions, None, OPTIONS).set_index("protocol")
    firsts = test[~test["lesion_id"].duplicated()]
    assert rows["cases"].tolist() == [len(test), len(firsts), len(firsts), test["group"].nunique()]
    assert rows["cases"].is_monotonic_decreasing
    assert rows["cases"].nunique() == 3
    expected = [
        reference.accuracy_score(table["dx"], table["predicted"])
        for table in (test, lesions, firsts, test[~test["group"].duplicated()])
    ]
    assert rows["accuracy"].tolist() == pytest.approx(expected)
    assert list(rows)[1:] == [f"{name}{end}" for name in slices.PROTOCOL_METRICS for end in ("", "_low", "_high")]


def test_the_photographs_alone_are_a_protocol_where_more_is_looked_at(case):
    test, _ = case
    alone = test.assign(predicted="nv")
    rows = slices.protocol_rows(test, tables.by_lesion(test).assign(predicted="nv"), alone, OPTIONS)
    row = rows.set_index("protocol").loc["all images, without age, sex and place"]
    assert (row["cases"], row["accuracy"]) == (len(test), pytest.approx((test["dx"] == "nv").mean()))


def worsened(test, index, share, seed=0):
    """A share of the right diagnoses of the face's images made wrong."""
    face = test["image_id"].isin(index["image_id"][index["localization"] == "face"]).to_numpy()
    unlucky = face & (np.random.default_rng(seed).random(len(test)) < share)
    return test.assign(predicted=np.where(unlucky, np.where(test["dx"] == "nv", "mel", "nv"), test["predicted"]))


def test_a_slice_is_judged_against_all_other_images(case):
    test, index = case
    found = slices.slice_rows(worsened(test, index, 0.5), index, OPTIONS).set_index(["variable", "value"])
    assert found.loc[("localization", "face"), "accuracy_verdict"] == "worse"
    assert found.loc[("localization", "back"), "accuracy_verdict"] == "better"
    assert found.loc[("sex", "male"), "accuracy_verdict"] == "not shown to differ"
    face = index.set_index("image_id").loc[test["image_id"], "localization"].to_numpy() == "face"
    right = (worsened(test, index, 0.5)["dx"] == worsened(test, index, 0.5)["predicted"]).to_numpy()
    row = found.loc[("localization", "face")]
    assert row["accuracy_difference"] == pytest.approx(right[face].mean() - right[~face].mean())
    assert row["accuracy_difference_low"] < row["accuracy_difference"] < row["accuracy_difference_high"] < 0
    assert found.loc[("all", "all")].filter(like="verdict").eq("").all()


def test_a_slice_is_compared_over_the_classes_that_both_sides_have(case):
    test, index = case
    place = index.set_index("image_id").loc[test["image_id"], "localization"].to_numpy()
    test = worsened(test, index, 0.5)[(place != "face") | test["dx"].isin(["nv", "mel"]).to_numpy()]
    found = slices.slice_rows(test, index, OPTIONS).set_index(["variable", "value"]).loc[("localization", "face")]
    sides = []
    for inside in (True, False):
        side = test[(index.set_index("image_id").loc[test["image_id"], "localization"] == "face").to_numpy() == inside]
        side = side[side["dx"].isin(["nv", "mel"])]
        recalled = reference.recall_score(side["dx"], side["predicted"], labels=["nv", "mel"], average="macro")
        sides.append(recalled)
    assert found["balanced_accuracy_difference"] == pytest.approx(sides[0] - sides[1])


def test_where_nothing_differs_nothing_is_said_however_many_slices_there_are():
    """Of 16 data sets without a difference one at most has a verdict; of uncorrected intervals, four had one."""
    random, said = np.random.default_rng(0), 0
    for trial in range(16):
        lesions = 600
        group = np.repeat(np.arange(lesions), random.choice([1, 2, 3], lesions, p=[0.6, 0.3, 0.1]))
        dx = random.choice(["nv", "mel", "bkl"], lesions, p=[0.6, 0.2, 0.2])[group]
        right = random.random(len(group)) < 0.8
        test = pd.DataFrame({
            "image_id": [f"{trial}-{row}" for row in range(len(group))],
            "lesion_id": group,
            "group": group,
            "dx": dx,
            "predicted": np.where(right, dx, np.where(dx == "nv", "mel", "nv")),
        })  # fmt: skip
        parts = [(random.integers(0, 10, lesions) == value)[group] for value in range(10)]
        said += (slices._judged(test, parts).filter(like="_verdict").isin(["better", "worse"])).any(axis=None)
    assert said <= 1
