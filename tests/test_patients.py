"""The table that somebody brings of patients: other people's columns, words and ids."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from dermaline.base.errors import DermalineError
from dermaline.data.metadata import MISSING, encode
from dermaline.user_files.metadata_table import read_metadata


@pytest.fixture
def table(tmp_path):
    def write(text: str) -> Path:
        (tmp_path / "patients.csv").write_text(text)
        return tmp_path / "patients.csv"

    return write


def rows(*values: tuple) -> torch.Tensor:
    return encode(pd.DataFrame(values, columns=["age", "sex", "localization"]))


@pytest.mark.parametrize("image_id", ["isic_id", "image", "image_name", "image_id", " Image "])
def test_a_table_of_the_isic_archive_is_understood(table, capsys, image_id):
    header = f"{image_id},attribution,age_approx,anatom_site_general,sex,diagnosis"
    lines = ["one,x,45.0,posterior torso,M,nevus", "two,x,,head/neck,female,nevus", "three,x,unknown,,F,melanoma"]
    known = read_metadata(table("\n".join([header, *lines])), ["one", "two", "three"])
    expected = rows((45, "male", "back"), (None, "female", "face"), (None, "female", None))
    assert torch.equal(known(["one", "two", "three"]), expected)
    assert capsys.readouterr().err == ""


def test_words_that_are_not_known_are_counted(table, capsys):
    text = "image_id,age,sex,localization\na,50,male,nose\nb,50,X,Nose\nc,NA,unknown,back\nd,1,male,elsewhere\n"
    path = table(text)
    known = read_metadata(path, ["a", "b", "c"])
    expected = rows((50, "male", None), (50, None, None), (None, None, "back"))
    assert torch.equal(known(["a", "b", "c"]), expected)
    note = capsys.readouterr().err
    assert note.startswith(f"note: {path}: not known, and taken as missing: ")
    for part in ("localization 'nose' in 1 of 3 rows", "localization 'Nose' in 1 of 3 rows", "sex 'X' in 1 of 3 rows"):
        assert part in note
    assert "elsewhere" not in note  # no image of this run
    assert len(note.splitlines()) == 1


def test_of_many_unknown_words_the_frequent_ones_are_named(table, capsys):
    ids = [f"i{number}" for number in range(30)]
    text = "image_id,sex,localization\n" + "".join(f"{one},male,{'nose' if one > 'i2' else one}\n" for one in ids)
    read_metadata(table(text), ids)
    note = capsys.readouterr().err
    assert "missing: localization 'nose' in 17 of 30 rows, " in note
    assert note.endswith(", and 9 other words\n")


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".png", ".tiff", ".heic"])
def test_an_image_id_may_have_a_suffix(table, suffix, capsys):
    known = read_metadata(table(f"image_id,age\na{suffix},50\nb.2{suffix},60\n"), ["a", "b.2", "c"])
    assert torch.equal(known(["b.2", "a", "c"]), torch.cat([rows((60, None, None), (50, None, None)), MISSING[None]]))
    assert "has no row for 1 of 3 images" in capsys.readouterr().err


def test_an_image_id_may_be_that_of_an_image_among_others_of_its_name(table):
    known = read_metadata(table("image_id,age\np/a.jpg,50\np/a.png,60\nq/b.png,70\n"), ["p/a.jpg", "p/a.png", "q/b"])
    assert torch.equal(known(["p/a.png", "q/b"]), rows((60, None, None), (70, None, None)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,age\nISIC_7,50\n", "none of the 2 images' ids is there .it has such as ISIC_7, they are such as a."),
        ("image_id,years,gender\na,50,male\n", "no column age, sex or localization .* found image_id, years, gender"),
        ("image_id,localization\na,nose\nb,unknown\n", "no word in it is known .localization 'nose' in 1 of 2 rows"),
        ("image_id,age\na,430\n", "age '430' is not in years"),
        ("image_id,age\na.jpg,50\na.png,50\n", "line 3 is an image again .a."),
        ("name,age\na,50\n", "no column 'image_id'; found name, age"),
    ],
    ids=["ids", "columns", "words", "age", "twice", "no ids"],
)
def test_a_table_that_is_of_no_use_is_one_line(table, text, message):
    path = table(text)
    with pytest.raises(DermalineError, match=message) as problem:
        read_metadata(path, ["a", "b"])
    assert str(problem.value).startswith(f"{path}: ")
    assert "\n" not in str(problem.value)
