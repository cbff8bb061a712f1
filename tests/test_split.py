"""The split: no lesion on two sides, whatever the table looks like."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from parameters import put_parameters

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.data.groups import groups, stratum
from dermaline.data.split import SPLITS, leaked, split_images
from dermaline.params.split import Split
from stages import split as stage


def options(val=0.15, test=0.15, seed=0, **changes) -> Split:
    return Split(**{"val": val, "test": test, "seed": seed, "folds": 5, "fold": None, "unit": "lesion"} | changes)


@st.composite
def indexes(draw, least=3) -> pd.DataFrame:
    """A table with every class: `least` lesions or more, of one to six photographs, some joined by near-duplicates."""
    rows = []
    for dx in CLASSES:
        for number in range(draw(st.integers(least, 60))):
            rows += [(f"HAM_{dx}{number:04}", dx)] * draw(st.integers(1, 6))
    index = pd.DataFrame(rows, columns=["lesion_id", "dx"])
    index.insert(0, "image_id", [f"ISIC_{row:07}" for row in range(len(index))])
    pair = st.tuples(st.integers(0, len(index) - 1), st.integers(0, len(index) - 1))
    pairs = pd.DataFrame(draw(st.lists(pair, max_size=8)), columns=["a", "b"], dtype=int)
    return index.assign(group=groups(index.lesion_id, pairs))


shares = st.floats(0.05, 0.3)


@settings(max_examples=60)
@given(indexes(), shares, shares, st.integers(0, 2**31 - 1))
def test_no_lesion_and_no_group_stands_on_two_sides(index, val, test, seed):
    joined = stratum(index.group, index.dx).value_counts()
    assume((joined.reindex(CLASSES, fill_value=3) >= 3).all())  # near-duplicates may have joined most of a class
    sides = split_images(index, options(val, test, seed))
    assert set(sides) == set(SPLITS)
    assert (sides.groupby(index.group).nunique() == 1).all()
    assert (sides.groupby(index.lesion_id).nunique() == 1).all()


@settings(max_examples=60)
@given(indexes(), shares, shares, st.integers(0, 2**31 - 1))
def test_each_class_gets_its_share_on_each_side(index, val, test, seed):
    index = index.assign(group=index.lesion_id)
    sides = split_images(index, options(val, test, seed))
    lesions = index.assign(side=sides).drop_duplicates("lesion_id")
    for _, members in lesions.groupby("dx"):
        counts = members.side.value_counts()
        assert set(counts.index) == set(SPLITS)
        for side, wanted in (("val", val), ("test", test)):
            assert abs(counts[side] - len(members) * wanted) <= 1


@settings(max_examples=20)
@given(indexes(least=4), st.integers(0, 2**31 - 1), st.sampled_from([None, 0, 2]), st.sampled_from(["lesion", "image"]))
def test_same_seed_same_split_whatever_the_order_of_the_rows(index, seed, fold, unit):
    chosen = options(seed=seed, folds=3, fold=fold, unit=unit)
    index = index.assign(group=index.lesion_id)
    first = split_images(index, chosen)
    shuffled = index.sample(frac=1, random_state=1)
    again = split_images(shuffled, chosen)
    pd.testing.assert_series_equal(first, again.sort_index())


@settings(max_examples=25)
@given(indexes(least=4), st.integers(2, 6), st.floats(0.01, 0.49), st.integers(0, 2**31 - 1))
def test_folds_partition_the_images_by_group(index, folds, val, seed):
    diagnosis = index.group.map(stratum(index.group, index.dx))
    index = index[index.group.groupby(diagnosis).transform("nunique") >= max(folds, 4)]
    assume(len(index))
    tested = pd.Series(0, index=index.index)
    for fold in range(folds):
        sides = split_images(index, options(val=val, seed=seed, folds=folds, fold=fold))
        tested += sides == "test"
        assert (sides.groupby(index.group).nunique() == 1).all()
        for _, members in index.assign(dx=diagnosis, side=sides).drop_duplicates("group").groupby("dx"):
            counts = members.side.value_counts()
            assert set(counts.index) == set(SPLITS)
            assert len(members) // folds <= counts.test <= -(-len(members) // folds)
            rest = len(members) - counts.test
            assert counts.val == min(max(1, round(val * len(members))), rest - 1)
        assert leaked(index, sides) == 0
    assert (tested == 1).all()


def test_another_seed_another_split():
    index = pd.DataFrame({"lesion_id": [f"HAM_{n:03}" for n in range(70)], "dx": list(CLASSES) * 10})
    index = index.assign(group=index.lesion_id)
    assert (split_images(index, options(seed=0)) != split_images(index, options(seed=1))).any()


@pytest.mark.parametrize("column", ["lesion_id", "group"])
def test_without_lesions_it_refuses(column):
    index = pd.DataFrame({"lesion_id": ["a", "b", "c"], "group": ["a", "b", "c"], "dx": ["nv"] * 3})
    with pytest.raises(DermalineError, match="would leak"):
        split_images(index.drop(columns=column), options())
    index.loc[1, column] = None
    with pytest.raises(DermalineError, match="would leak"):
        split_images(index, options())


def test_a_class_of_two_lesions_is_refused():
    index = pd.DataFrame({"lesion_id": ["a", "b"], "group": ["a", "b"], "dx": ["df", "df"]})
    with pytest.raises(DermalineError, match=r"only 2 lesion\(s\) of df"):
        split_images(index, options())


def test_too_few_lesions_for_the_folds_are_refused_in_every_fold():
    index = pd.DataFrame({"lesion_id": [f"l{n}" for n in range(4)], "dx": ["df"] * 4})
    for fold in range(5):
        with pytest.raises(DermalineError, match=r"only 4 lesion\(s\) of df; 5 folds \(split.folds\) need 5"):
            split_images(index.assign(group=index.lesion_id), options(fold=fold))


def test_the_fewest_lesions_have_one_on_every_side():
    def sides(count: int, **changes) -> list[dict[str, int]]:
        names = [f"{dx}{number}" for dx in CLASSES for number in range(count)]
        table = pd.DataFrame({"image_id": names, "lesion_id": names, "group": names})
        table["dx"] = table["group"].str.rstrip("0123456789")
        split = split_images(table, options(0.49, 0.49, **changes))
        return [part.value_counts().sort_index().to_dict() for _, part in split.groupby(table["dx"])]

    assert sides(3) == [{"test": 1, "val": 1, "train": 1}] * 7
    assert sides(4, folds=2, fold=1) == [{"test": 2, "val": 1, "train": 1}] * 7
    with pytest.raises(DermalineError, match=r"only 3 lesion\(s\) of akiec; 2 folds \(split.folds\) need 4"):
        sides(3, folds=2, fold=1)


def test_the_split_by_shares_is_the_one_that_results_were_measured_on():
    index = pd.DataFrame({"lesion_id": [f"{dx}{n}" for dx in CLASSES for n in range(7)], "dx": np.repeat(CLASSES, 7)})
    sides = split_images(index.assign(group=index.lesion_id), options())
    assert " ".join(index.lesion_id[sides == "test"]) == "akiec4 bcc3 bkl5 df1 mel6 nv4 vasc3"
    assert " ".join(index.lesion_id[sides == "val"]) == "akiec2 bcc2 bkl2 df5 mel5 nv6 vasc2"


@settings(max_examples=25)
@given(indexes(least=8), st.integers(0, 2**31 - 1), st.sampled_from([None, 0, 3]))
def test_a_lesion_more_moves_few_others(index, seed, fold):
    """Of each class at most one at each end of a block, where a shuffle would deal all of them anew."""
    index = index.assign(group=index.lesion_id)
    chosen = options(seed=seed, folds=4, fold=fold)
    less = index[index.lesion_id != "HAM_nv0003"]
    before, after = split_images(less, chosen), split_images(index, chosen)[less.index]
    moved = less.lesion_id[before != after].unique()
    assert all(name.startswith("HAM_nv") for name in moved)
    assert len(moved) <= 3


def test_a_group_of_two_diagnoses_counts_as_the_one_of_most_images_the_first_if_even():
    group = np.array(["b", "a", "a", "a", "b", "c"])
    label = np.array(["mel", "nv", "bkl", "nv", "nv", "df"])
    assert stratum(group, label).to_dict() == {"a": "nv", "b": "mel", "c": "df"}


def test_a_split_by_image_leaks_and_the_leak_is_measured():
    """Seven classes of ten lesions: one with ten photographs, nine with one."""
    lesions = [(f"{dx}{n}", dx) for dx in CLASSES for n in [0] * 10 + list(range(1, 10))]
    index = pd.DataFrame(lesions, columns=["lesion_id", "dx"])
    index = index.assign(group=index.lesion_id, image_id=[f"i{n:03}" for n in range(len(index))])
    sides = split_images(index, options(unit="image"))
    seen = set(index.lesion_id[sides == "train"])
    expected = np.mean([lesion in seen for lesion in index.lesion_id[sides == "test"]])
    assert leaked(index, sides) == pytest.approx(expected)
    assert 0.2 < expected < 0.8
    assert leaked(index, split_images(index, options())) == 0


def test_a_near_duplicate_of_a_trained_lesion_is_a_leak():
    index = pd.DataFrame({"lesion_id": ["a", "b", "c", "d"], "group": ["a", "a", "c", "d"]})
    assert leaked(index, pd.Series(["train", "test", "test", "val"])) == 0.5
    assert leaked(index, pd.Series(["val", "test", "test", "train"])) == 0


@pytest.mark.parametrize("unit", ["lesion", "image"])
def test_the_stage_says_how_much_leaks(unit, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put_parameters(tmp_path, {"split.unit": unit})
    Path("data/prepared").mkdir(parents=True)
    index = pd.DataFrame({"lesion_id": [f"{dx}{n % 10}" for dx in CLASSES for n in range(40)]})
    index = index.assign(dx=np.repeat(CLASSES, 40), group=index.lesion_id, image_id=[f"i{n}" for n in range(280)])
    index.to_csv("data/prepared/index.csv", index=False)
    stage.main()
    share = json.loads(Path("metrics/split.json").read_text())["leaked_test_images"]
    said = capsys.readouterr().out
    if unit == "lesion":
        assert (share, said) == (0, "")
    else:
        assert share > 0.9
        assert said.startswith(f"warning: split.unit is image: {share:.0%} of the test images")
        assert said.count("\n") == 1


def test_groups_join_along_chains():
    lesions = pd.Series(["c", "a", "b", "d", "d"])
    pairs = pd.DataFrame({"a": [0, 1], "b": [1, 2]})
    assert groups(lesions, pairs).tolist() == ["a", "a", "a", "d", "d"]


def test_a_part_says_who_is_in_it():
    """By image; words as `metadata` understands them, what it does not is unknown."""
    rows = [("a", "nv", 30, "male", "back"), ("a", "nv", 30, "m", "Back"), ("b", "mel", None, "?", "elbow")]
    rows += [("c", "nv", 50, "female", "face"), ("d", "nv", 70, "female", "face")]
    part = pd.DataFrame(rows, columns=["lesion_id", "dx", "age", "sex", "localization"])
    assert stage.described(part) == {
        "images": 5,
        "lesions": 4,
        "images_per_class": {"mel": 1, "nv": 4},
        "age_quartiles": [30, 40, 55],
        "images_without_age": 1,
        "images_per_sex": {"female": 2, "male": 2, "unknown": 1},
        "images_per_localization": {"back": 2, "face": 2, "unknown": 1},
    }
    nobody = stage.described(part[["lesion_id", "dx"]])
    assert (nobody["age_quartiles"], nobody["images_per_sex"]) == ([], {"unknown": 5})
