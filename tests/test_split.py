"""The split: no lesion on two sides, whatever the table looks like."""

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dermaline.classes import CLASSES
from dermaline.data.duplicates import groups
from dermaline.data.split import SPLITS, split_groups
from dermaline.errors import DermalineError


@st.composite
def indexes(draw) -> pd.DataFrame:
    """A table with every class: lesions of one to six photographs, some joined by near-duplicates."""
    rows = []
    for dx in CLASSES:
        for number in range(draw(st.integers(3, 60))):
            rows += [(f"HAM_{dx}{number:04}", dx)] * draw(st.integers(1, 6))
    index = pd.DataFrame(rows, columns=["lesion_id", "dx"])
    index.insert(0, "image_id", [f"ISIC_{row:07}" for row in range(len(index))])
    pair = st.tuples(st.integers(0, len(index) - 1), st.integers(0, len(index) - 1))
    pairs = pd.DataFrame(draw(st.lists(pair, max_size=8)), columns=["a", "b"], dtype=int)
    return index.assign(group=groups(index.lesion_id, pairs))


shares = st.floats(0.05, 0.3)


@settings(max_examples=60, deadline=None)
@given(indexes(), shares, shares, st.integers(0, 2**31 - 1))
def test_no_lesion_and_no_group_stands_on_two_sides(index, val, test, seed):
    joined = index.groupby("group").dx.min().value_counts()
    assume((joined.reindex(CLASSES, fill_value=3) >= 3).all())  # near-duplicates may have joined most of a class
    sides = split_groups(index, val, test, seed)
    assert set(sides) == set(SPLITS)
    assert (sides.groupby(index.group).nunique() == 1).all()
    assert (sides.groupby(index.lesion_id).nunique() == 1).all()


@settings(max_examples=60, deadline=None)
@given(indexes(), shares, shares, st.integers(0, 2**31 - 1))
def test_each_class_gets_its_share_on_each_side(index, val, test, seed):
    index = index.assign(group=index.lesion_id)
    sides = split_groups(index, val, test, seed)
    lesions = index.assign(side=sides).drop_duplicates("lesion_id")
    for _, members in lesions.groupby("dx"):
        counts = members.side.value_counts()
        assert set(counts.index) == set(SPLITS)
        for side, wanted in (("val", val), ("test", test)):
            assert abs(counts[side] - len(members) * wanted) <= 1


@settings(max_examples=20, deadline=None)
@given(indexes(), st.integers(0, 2**31 - 1))
def test_same_seed_same_split_whatever_the_order_of_the_rows(index, seed):
    index = index.assign(group=index.lesion_id)
    first = split_groups(index, 0.15, 0.15, seed)
    shuffled = index.sample(frac=1, random_state=1)
    again = split_groups(shuffled, 0.15, 0.15, seed)
    pd.testing.assert_series_equal(first, again.sort_index())


def test_another_seed_another_split():
    index = pd.DataFrame({"lesion_id": [f"HAM_{n:03}" for n in range(70)], "dx": list(CLASSES) * 10})
    index = index.assign(group=index.lesion_id)
    assert (split_groups(index, 0.15, 0.15, 0) != split_groups(index, 0.15, 0.15, 1)).any()


@pytest.mark.parametrize("column", ["lesion_id", "group"])
def test_without_lesions_it_refuses(column):
    index = pd.DataFrame({"lesion_id": ["a", "b", "c"], "group": ["a", "b", "c"], "dx": ["nv"] * 3})
    with pytest.raises(DermalineError, match="would leak"):
        split_groups(index.drop(columns=column), 0.15, 0.15, 0)
    index.loc[1, column] = None
    with pytest.raises(DermalineError, match="would leak"):
        split_groups(index, 0.15, 0.15, 0)


def test_a_class_of_two_lesions_is_refused():
    index = pd.DataFrame({"lesion_id": ["a", "b"], "group": ["a", "b"], "dx": ["df", "df"]})
    with pytest.raises(DermalineError, match=r"only 2 lesion\(s\) of df"):
        split_groups(index, 0.15, 0.15, 0)


def test_groups_join_along_chains():
    lesions = pd.Series(["c", "a", "b", "d", "d"])
    pairs = pd.DataFrame({"a": [0, 1], "b": [1, 2]})
    assert groups(lesions, pairs).tolist() == ["a", "a", "a", "d", "d"]
