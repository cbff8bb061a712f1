"""Tables of HAM10000, the one that prepare reads, and those of the command score: other codings, columns and rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.reliability.bad_input import Case
from benchmarks.reliability.cases.make import (
    CLASSES,
    csv,
    encoded,
    image_ids,
    local,
    metadata,
    picture,
    raw,
    write,
    zipped,
)

TABLE = metadata()
GOOD = csv(TABLE)
IMAGES = {f"{name}.jpg": name.encode() for name in image_ids(4)}
JPEG = encoded(picture(), "JPEG")
PLACE = "given/HAM10000_metadata.csv: not a table of HAM10000 ("


def _cell(old: str, new: str, content: bytes = GOOD) -> bytes:
    assert old.encode() in content, old
    return content.replace(old.encode(), new.encode(), 1)


def _excel() -> bytes:
    return zipped({"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<workbook/>"})


BAD: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("UTF-16, as a spreadsheet's Unicode text", GOOD.decode().encode("utf-16"), ("UTF-8",)),
    ("Latin-1 with an umlaut", GOOD.replace(b"HAM_0000002", b"HAM_\xfc000002"), ("UTF-8",)),
    ("an empty file", b"", ()),
    ("blank lines alone", b"\n\n\n", ()),
    ("no row", csv(TABLE[:0]), ("no row",)),
    ("a spreadsheet's own file", _excel(), ()),
    ("a picture", JPEG, ()),
    ("a page of a server", b"<!DOCTYPE html>\n<html><body>404, not found</body></html>\n", ()),
    ("JSON", TABLE.to_json().encode(), ()),
    ("zeros", bytes(3000), ()),
    ("a zero inside a row", _cell("HAM_0000001", "HAM_000\0001"), ()),
    ("no header", GOOD.split(b"\n", 1)[1], ("no column lesion_id",)),
    *(
        (f"no column {name}", csv(TABLE.drop(columns=name)), (f"no column {name}",))
        for name in TABLE
        if name != "dx_type"
    ),
    ("a column twice", GOOD.replace(b"sex", b"dx", 1), ("two columns dx",)),
    ("a row with a field too many", _cell("HAM_0000002,", "HAM_0000002,oh,"), ("Expected 7 fields in line 4, saw 8",)),
    ("a row cut short", _cell("HAM_0000003,ISIC_0000003,nv,,45.0,,\n", "HAM_0000003,ISIC_0000003\n"), ("without dx",)),
    ("a quote that is not closed", _cell("HAM_0000002", '"HAM_0000002'), ()),
    ("an image twice", GOOD + b"HAM_0000009,ISIC_0000001,nv,,,,\n", ("ISIC_0000001 has more than one row",)),
    ("image ids that differ by case", _cell("ISIC_0000003", "isic_0000002"), ("ISIC_0000002 has more than one row",)),
    ("an image id with a suffix, and without", _cell("ISIC_0000003", "ISIC_0000002.jpg"), ("0002 has more than one",)),
    ("a row without an image", _cell("ISIC_0000003", " "), ("a row without image_id",)),
    ("a row without a lesion", _cell("HAM_0000003", ""), ("a row without lesion_id",)),
    ("a row without a diagnosis", _cell("ISIC_0000003,nv", "ISIC_0000003,"), ("a row without dx",)),
]
ODD: list[tuple[str, bytes]] = [
    ("a byte order mark", b"\xef\xbb\xbf" + GOOD),
    ("ends of lines of Windows", GOOD.replace(b"\n", b"\r\n")),
    ("ends of lines of old Macs", GOOD.replace(b"\n", b"\r")),
    ("tabs", csv(TABLE, sep="\t")),
    ("semicolons", csv(TABLE, sep=";")),
    ("all in quotes", csv(TABLE, quoting=1)),
    ("blanks around cells", GOOD.replace(b",nv,", b", nv ,")),
    ("a blank line at its end", GOOD + b"\n\n"),
    ("no end of the last line", GOOD[:-1]),
    ("ids in lower case, with suffixes", GOOD.replace(b"ISIC_0000001", b"isic_0000001.JPG")),
    ("a cell of two lines", csv(metadata(localization=["", "", "lower\nextremity", ""]))),
    ("a comma in a cell", csv(metadata(localization=["", "", "head, neck", ""]))),
    ("a further column", csv(TABLE.assign(notes="größe"))),
    ("the rows in another order", csv(TABLE[::-1])),
]


def _whole() -> bool:
    table = pd.read_csv("data/raw/metadata.csv")
    return table["image_id"].tolist() == image_ids(4) and set(table["dx"]) == {"nv"} and set(table["age"]) == {45}


def _prepare(table: bytes) -> Callable[[], Callable[[], object]]:
    return raw({"metadata.csv": table, "images.zip": zipped({f"{name}.jpg": JPEG for name in image_ids(4)})})


RAW: list[tuple[str, bytes, tuple[str, ...]]] = [
    (
        "two diagnoses for one lesion",
        _cell("0000003,ISIC_0000003,nv", "0000002,ISIC_0000003,mel"),
        ("lesion HAM_0000002 has two diagnoses",),
    ),
    ("lesion ids that differ by case", _cell("HAM_0000003", "ham_0000002"), ("HAM_0000002", "ham_0000002", "case")),
    ("an unknown diagnosis", _cell("ISIC_0000002,nv", "ISIC_0000002,melanoma"), ("ISIC_0000002", "dx 'melanoma'")),
    ("a diagnosis in capitals", _cell("ISIC_0000002,nv", "ISIC_0000002,NV"), ("did you mean 'nv'?",)),
    ("an age in words", _cell("45.0", "old"), ("age 'old' is not in years",)),
    ("an age below zero", _cell("45.0", "-1"), ("age '-1' is not in years",)),
    ("an infinite age", _cell("45.0", "inf"), ("age 'inf' is not in years",)),
    ("a lesion that says nothing", _cell("HAM_0000003", "NA"), ("row 5 has no lesion_id",)),
    ("a column twice, in the raw table", GOOD.replace(b"sex", b"dx", 1), ("two columns dx",)),
    (
        "a row with a field too many, in the raw table",
        _cell("HAM_0000002,", "HAM_0000002,oh,"),
        ("Expected 7 fields in line 4, saw 8",),
    ),
    ("UTF-16, in the raw table", GOOD.decode().encode("utf-16"), ("UTF-8",)),
    ("no lesions, in the raw table", csv(TABLE.drop(columns="lesion_id")), ("no column 'lesion_id'; without it",)),
    ("no row, in the raw table", csv(TABLE[:0]), ("has no rows",)),
    ("an empty file, in the raw table", b"", ()),
]
TRUTH = pd.DataFrame({"image_id": [f"p{number}" for number in range(21)], "dx": list(CLASSES) * 3})
TRUTH["lesion_id"] = [f"L{number}" for number in range(21)]
ANSWERS = pd.DataFrame(np.full((21, 7), 0.05) + 0.65 * np.eye(7)[np.arange(21) % 7], columns=list(CLASSES))
ANSWERS.insert(0, "image_id", TRUTH["image_id"])
ANSWERS.insert(1, "predicted", TRUTH["dx"])
TEXT, SAID = csv(ANSWERS.round(4)), csv(TRUTH)


def _isic(numbers: np.ndarray) -> bytes:
    codes = [name.upper() for name in CLASSES]
    return csv(pd.DataFrame(numbers, columns=codes).assign(image=TRUTH["image_id"])[["image", *codes]])


def score(predictions: bytes | None, truth: bytes | None, output: str = "scores.json", draws: int = 10) -> Callable:
    """The command score, of two files."""

    def make() -> Callable[[], object]:
        from dermaline.commands.score import score

        write({name: content for name, content in (("p.csv", predictions), ("t.csv", truth)) if content is not None})
        return lambda: score(Path("p.csv"), Path("t.csv"), Path(output), draws)

    return make


P, T = "p.csv: ", "t.csv: "
SCORED: list[tuple[str, bytes | None, bytes | None, tuple[str, ...]]] = [
    ("no predictions", None, SAID, (P, "give a CSV file")),
    ("no truth", TEXT, None, (T, "give a CSV file")),
    ("empty predictions", b"", SAID, (P,)),
    ("predictions without a row", csv(ANSWERS[:0]), SAID, (P, "has no rows")),
    ("predictions in UTF-16", TEXT.decode().encode("utf-16"), SAID, (P, "UTF-8")),
    ("predictions that are a picture", JPEG, SAID, (P,)),
    ("predictions in a spreadsheet's file", _excel(), SAID, (P,)),
    ("predictions with a row that is too long", TEXT.replace(b"p3,", b"p3,oh,"), SAID, (P,)),
    ("predictions with two columns mel", TEXT.replace(b"vasc", b"mel", 1), SAID, (P, "two columns mel")),
    ("predictions without a class", csv(ANSWERS.drop(columns="df")), SAID, (P, "no column 'df'")),
    ("predictions without ids", csv(ANSWERS.drop(columns="image_id")), SAID, (P, "no column 'image_id'")),
    ("predictions without a prediction", csv(ANSWERS.drop(columns="predicted")), SAID, (P, "no column 'predicted'")),
    ("a prediction that is no class", TEXT.replace(b"p3,df", b"p3,dff"), SAID, (P, "line 5 (p3)", "not one of")),
    ("an image predicted twice", TEXT + TEXT.splitlines()[3], SAID, (P, "line 23", "again")),
    ("an image that is not predicted", csv(ANSWERS[1:]), SAID, ("not the same images", "p0")),
    ("predicted ids that differ by case", TEXT.replace(b"p3,", b"P3,"), SAID, ("not the same images", "P3")),
    ("a probability in words", TEXT.replace(b"0.7", b"high", 1), SAID, (P, "line 2 (p0)", "number from 0 to 1")),
    ("a probability that is missing", TEXT.replace(b"0.7", b"", 1), SAID, (P, "line 2 (p0)")),
    ("an infinite probability", TEXT.replace(b"0.7", b"inf", 1), SAID, (P, "line 2 (p0)")),
    ("a probability below zero", TEXT.replace(b"0.05", b"-0.5", 1), SAID, (P, "line 2 (p0)")),
    ("probabilities that sum to more", TEXT.replace(b"0.05", b"0.9", 1), SAID, (P, "do not sum to 1")),
    ("decimal commas", TEXT.replace(b",", b";").replace(b"0.", b"0,"), SAID, (P, "line 2 (p0)", "number from 0 to 1")),
    ("ISIC's form without a class", TEXT, _isic(np.eye(7)[[*range(7)] * 3]).replace(b"NV", b"XX", 1), (T, "'NV'")),
    ("a truth of two diagnoses", TEXT, _isic(np.ones((21, 7))), (T, "line 2 (p0)", "not one 1")),
    ("an unknown diagnosis of the truth", TEXT, SAID.replace(b"p3,df", b"p3,DF"), (T, "line 5 (p3)", "dx is not one")),
    ("a lesion of two diagnoses in the truth", TEXT, SAID.replace(b"L3\n", b"L2\n"), (T, "two diagnoses")),
    ("lesions of the truth that differ by case", TEXT, SAID.replace(b"L10\n", b"l3\n"), (T, "L3", "l3", "case")),
    ("a truth without a lesion", TEXT, SAID.replace(b"L3\n", b"\n"), (T, "line 5 (p3)", "no lesion_id")),
    ("a truth with two columns dx", TEXT, SAID.replace(b"lesion_id", b"dx", 1), (T, "two columns dx")),
    ("a truth without dx", TEXT, csv(TRUTH[["image_id", "lesion_id"]]), (T, "no column 'dx'")),
]
FINE: list[tuple[str, bytes, bytes]] = [
    ("predictions with a byte order mark", b"\xef\xbb\xbf" + TEXT, SAID),
    ("predictions with tabs", csv(ANSWERS, sep="\t"), SAID),
    ("predictions with semicolons", csv(ANSWERS, sep=";"), SAID),
    ("predictions of old Macs", TEXT.replace(b"\n", b"\r"), SAID),
    ("predictions in per cent", csv(ANSWERS.assign(**ANSWERS[list(CLASSES)] * 100)), SAID),
    ("predictions with suffixes", TEXT.replace(b"p3,", b"p3.JPG,"), SAID),
    ("a cell of two lines in the truth", TEXT, csv(TRUTH.assign(notes="a\nb"))),
    ("classes that are absent from the truth", csv(ANSWERS[:1]), csv(TRUTH[:1])),
]
CASES = [
    *(Case(name, local({"HAM10000_metadata.csv": table, **IMAGES}), (PLACE, *words)) for name, table, words in BAD),
    *(Case(name, local({"HAM10000_metadata.csv": table, **IMAGES}), check=_whole) for name, table in ODD),
    *(Case(name, _prepare(table), ("data/raw/metadata.csv: ", *words)) for name, table, words in RAW),
    *(Case(name, score(predictions, truth), words) for name, predictions, truth, words in SCORED),
    *(Case(name, score(*both), check=Path("scores.json").exists) for name, *both in FINE),
    Case("a folder for an output", score(TEXT, SAID, "recipes"), ("recipes: is a folder",)),
    Case("an output in a folder that is a file", score(TEXT, SAID, "params.yaml/s.json"), ("params.yaml",)),
    Case("too few replicates", score(TEXT, SAID, draws=1), ("--bootstrap 1 is outside 10 to 100000",)),
]
