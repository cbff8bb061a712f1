"""Metadata as numbers: constants, nothing fitted, and a row that says nothing is the row that hides others."""

import numpy as np
import pandas as pd
import pytest
import torch

from dermaline.base.errors import DermalineError
from dermaline.data.metadata import MISSING, WIDTH, encode
from dermaline.data.words import SITES


def row(**values) -> torch.Tensor:
    return encode(pd.DataFrame([values]))[0]


def test_a_row_is_age_sex_and_place():
    found = row(age=45.0, sex="female", localization="lower extremity")
    expected = torch.zeros(WIDTH)
    expected[0], expected[3], expected[5 + SITES.index("lower extremity")] = 0.45, 1, 1
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_case_and_spaces_do_not_count():
    assert torch.equal(row(sex=" Female", localization="BACK "), row(sex="female", localization="back"))
    assert not torch.equal(row(sex=" Female", localization="BACK "), MISSING)


def test_each_known_value_has_a_column_of_its_own():
    rows = [{"age": 0, "sex": "male", "localization": site} for site in SITES]
    sites = encode(pd.DataFrame(rows))[:, 5:]
    assert torch.equal(sites, torch.eye(len(SITES)))


@pytest.mark.parametrize(
    "values",
    [
        {"age": np.nan, "sex": "unknown", "localization": "unknown"},
        {"age": None, "sex": None, "localization": None},
        {"sex": "", "localization": "a place that HAM10000 does not have"},
        {"image_id": "one", "dx_type": "follow_up", "dx": "nv"},
    ],
)
def test_a_row_that_says_nothing_is_the_missing_one(values):
    assert torch.equal(row(**values), MISSING)
    assert MISSING.nonzero().flatten().tolist() == [1, 4]  # the two flags


@pytest.mark.parametrize(
    "word", ["", " ", "NA", "n/a", "nan", "NaN", "None", "unknown", " Unknown ", "-", "?", None, np.nan]
)
def test_what_says_nothing_is_missing_in_every_column(word):
    assert torch.equal(row(age=word, sex=word, localization=word), MISSING)
    assert torch.equal(encode(pd.DataFrame({"age": [word, "45"]}))[1], row(age=45))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"sex": "M"}, {"sex": "male"}),
        ({"sex": "f "}, {"sex": "female"}),
        ({"localization": "Posterior torso"}, {"localization": "back"}),
        ({"localization": "anterior torso"}, {"localization": "trunk"}),
        ({"localization": "lateral torso"}, {"localization": "trunk"}),
        ({"localization": "torso"}, {"localization": "trunk"}),
        ({"localization": "head/neck"}, {"localization": "face"}),
        ({"localization": "palms/soles"}, {"localization": "acral"}),
        ({"localization": "oral/genital"}, {"localization": "genital"}),
        ({"localization": "upper extremity", "age": "45.0"}, {"localization": "upper extremity", "age": 45}),
    ],
)
def test_words_of_the_isic_archive_are_ours(theirs, ours):
    assert torch.equal(row(**theirs), row(**ours))
    assert not torch.equal(row(**theirs), MISSING)


def test_age_zero_is_not_a_missing_age():
    assert not torch.equal(row(age=0.0), MISSING)


def test_a_row_is_encoded_alike_in_whatever_company():
    table = pd.DataFrame(
        {"age": [5, np.nan, 80], "sex": ["male", "Female ", np.nan], "localization": ["back", "Back", "face"]}
    )
    together = encode(table)
    assert together.shape == (3, WIDTH)
    for number in range(3):
        assert torch.equal(encode(table.iloc[[number]])[0], together[number])
    assert encode(table.iloc[:0]).shape == (0, WIDTH)


@pytest.mark.parametrize("age", [-1, 430, "old", "inf"])
def test_an_age_that_is_none_is_one_line(age):
    with pytest.raises(DermalineError, match=f"age '{age}'") as problem:
        row(age=age)
    assert "\n" not in str(problem.value)
