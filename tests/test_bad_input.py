"""Bad input: a sample of the cases of the trial `bad_input`, and mutated files for each reader."""

import pytest

from benchmarks.reliability import bad_input, fuzz
from benchmarks.reliability.bad_input import FAMILIES, cases, tried
from benchmarks.reliability.cases import images, masks
from dermaline.data.decode import BadImageError, decode, decode_mask

MENDED = {  # each a kind that was lost once
    "recipes": ("lr in words", "a recipe in UTF-16", "balancing that ends before it begins, in a recipe"),
    "parameters": (
        *("split.seed: True", "split.seed: None", "train.dropout: nan", "plot.palette: colourblind", "a picture"),
        *("a date that is none", "a number of 10,000 digits", "a folder of that name", "a section misspelt"),
    ),
    "tables": (
        *(
            "UTF-16, as a spreadsheet's Unicode text",
            "a column twice",
            "no row, in the raw table",
            "a zero inside a row",
        ),
        *("lesion ids that differ by case", "lesions of the truth that differ by case", "a truth with two columns dx"),
        *("predictions with a row that is too long", "predictions with semicolons", "semicolons"),
        "an output in a folder that is a file",
    ),
    "archives": (
        *("an image that is a link", "a name that is no UTF-8 and says it is", "images.zip is of a later version"),
        *("a name that climbs out", "a locked zip", "a name in Shift JIS", "an entry without a name"),
    ),
    "masks": ("an empty index", "an index without image_id", "no image", "more folds than lesions"),
}
SOME = [(family, one) for family, names in MENDED.items() for one in cases(family) if one.name in names]


@pytest.mark.parametrize(("family", "case"), SOME, ids=[f"{family}: {case.name}" for family, case in SOME])
def test_bad_input_is_one_line_that_names_it_and_leaves_nothing(family, case):
    assert tried(case) is None


def test_cases_are_many_and_called_differently():
    named = [(family, one.name) for family in FAMILIES for one in cases(family)]
    assert len(set(named)) == len(named) >= 120
    assert len(SOME) == sum(map(len, MENDED.values()))


@pytest.mark.parametrize(("rows", "decoder"), [(images, decode), (masks, decode_mask)], ids=["images", "masks"])
def test_every_bad_image_is_refused_and_every_odd_one_is_decoded(rows, decoder):
    for name, make, words in rows.BAD:
        with pytest.raises(BadImageError) as refusal:
            decoder(make(), (48, 64), 50)
        assert all(word in str(refusal.value) for word in words), name
    for name, make, *_ in rows.ODD:
        assert decoder(make(), (48, 64), 50).shape[:2] == (48, 64), name


def test_a_case_that_is_lost_is_counted(monkeypatch):
    monkeypatch.setattr(bad_input, "cases", lambda family: [cases("recipes")[0]._replace(words=("something else",))])
    assert [(one["tries"], one["lost"]) for one in bad_input.main([])] == [(1, 1)] * len(FAMILIES)


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_a_mutated_file_is_read_or_refused(name):
    assert fuzz.examples(name, 20 if name in ("params", "recipes") else 100) == {}


@pytest.mark.parametrize("problem", [KeyError("x"), ValueError("two\nlines"), MemoryError()])
def test_what_is_no_refusal_is_a_fault(problem, tmp_path):
    def read(content, folder):
        raise problem

    assert fuzz.fault(fuzz.TARGETS["tables"]._replace(read=read), b"", tmp_path)
