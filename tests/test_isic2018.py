"""ISIC 2018's Task 3 as it is handed out is HAM10000: its training part is read, its other parts are not mixed in."""

import zipfile

import pandas as pd
import pytest

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.data.table import read_table
from dermaline.sources import layout
from tests.serving import image_id, images, in_folder, unpack, zipped

TASK = "ISIC2018_Task3_Training"
MARKS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")  # in ISIC's order
PHOTOS = images(range(14))
OTHERS = {name.replace("ISIC_002", "ISIC_003"): b"of another part" for name in PHOTOS}


def lines(*rows):
    return "".join(",".join(row) + "\n" for row in rows).encode()


def dx(number):
    return MARKS[number // 2 % len(MARKS)]


def truth(others=()):
    rows = [[name, *("1.0" if mark == dx(number) else "0.0" for mark in MARKS)] for number, name in enumerate(PHOTOS)]
    return lines(["image", *MARKS], *rows, *others)


def groupings(count=14):
    rows = [[image_id(number), f"HAM_{number // 2:07}", "histopathology"] for number in reversed(range(count))]
    return lines(["image", "lesion_id", "diagnosis_confirm_type"], *rows)


FOLDERS = (
    in_folder(f"{TASK}_Input/", PHOTOS, ".jpg")
    | in_folder("ISIC2018_Task3_Test_Input/", OTHERS, ".jpg")
    | in_folder("ISIC2018_Task3_Validation_Input/", OTHERS, ".jpg")
    | in_folder("ISIC2018_Task1_Training_GroundTruth/", PHOTOS, "_segmentation.png")
    | {
        f"{TASK}_GroundTruth/{TASK}_GroundTruth.csv": truth(),
        f"{TASK}_GroundTruth/LICENSE.txt": b"CC-BY-NC",
        f"{TASK}_LesionGroupings.csv": groupings(),
        "ISIC2018_Task3_Test_GroundTruth/ISIC2018_Task3_Test_GroundTruth.csv": truth()[:80],
    }
)
ZIPS = {
    f"{TASK}_Input.zip": zipped(in_folder(f"{TASK}_Input/", PHOTOS, ".jpg"), zipfile.ZIP_DEFLATED),
    f"{TASK}_GroundTruth.zip": zipped({f"{TASK}_GroundTruth/{TASK}_GroundTruth.csv": truth()}),
    f"{TASK}_LesionGroupings (1).csv": groupings(),
    "ISIC2018_Task3_Test_Input.zip": zipped(in_folder("ISIC2018_Task3_Test_Input/", OTHERS, ".jpg")),
}
FORMS = {
    "folders": FOLDERS,
    "folders below one of the challenge": in_folder("ISIC2018/task 3/", FOLDERS, ""),
    "zips": ZIPS,
    "flat, with HAM10000's own images": in_folder("", PHOTOS, ".jpg")
    | {f"{TASK}_GroundTruth.csv": truth(), f"{TASK}_LesionGroupings.csv": groupings()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_as_ham10000(tmp_path, form, capsys):
    layout.write([unpack(FORMS[form], tmp_path / "given")], tmp_path / "raw", official=False)
    assert "raw: 14 images, 7 lesions, 0 masks" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "raw" / "images.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == in_folder("", PHOTOS, ".jpg")
    table = read_table(tmp_path / "raw" / "metadata.csv")
    assert list(table.image_id) == list(PHOTOS)
    assert list(table.lesion_id) == [f"HAM_{number // 2:07}" for number in range(14)]
    assert list(table.dx) == [dx(number).lower() for number in range(14)]
    assert set(table.dx) == set(CLASSES)
    assert table[["age", "sex", "localization"]].isna().all(axis=None)
    raw = pd.read_csv(tmp_path / "raw" / "metadata.csv")
    assert set(raw.dx_type) == {"histopathology"}


def test_ham10000_s_own_files_come_first(tmp_path):
    """Its table knows more; the challenge's images serve where there are none of its own."""
    own = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    own += "".join(f"HAM_{number},{image_id(number)},nv,histo,50,male,back\n" for number in range(14))
    files = FOLDERS | {"HAM10000_metadata.csv": own.encode()}
    layout.write([unpack(files, tmp_path / "given")], tmp_path / "raw", official=False)
    table = read_table(tmp_path / "raw" / "metadata.csv")
    assert (set(table.age), set(table.dx), table.lesion_id.nunique()) == ({50}, {"nv"}, 14)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({f"{TASK}_LesionGroupings.csv": None}, "without it photographs of one lesion would land in train and test"),
        (
            {f"{TASK}_LesionGroupings.csv": groupings(13)},
            rf"{image_id(13)} has no lesion in .*Groupings\.csv; get both",
        ),
        ({f"{TASK}_GroundTruth/{TASK}_GroundTruth.csv": None}, rf"no table .*{TASK}_GroundTruth\.csv; check the path"),
        ({f"{TASK}_GroundTruth.csv": truth().replace(b"1.0", b"0.0")}, "differ; remove the wrong one"),
        ({f"{TASK}_Input/{image_id(3)}.jpg": None}, f"1 of the 14 images of the table are not there, {image_id(3)}"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, files, said):
    given = {name: content for name, content in (FOLDERS | files).items() if content is not None}
    with pytest.raises(DermalineError, match=said) as problem:
        layout.write([unpack(given, tmp_path / "given")], tmp_path / "raw", official=False)
    assert "\n" not in str(problem.value)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("marks", ["0,0,0,0,0,0,0", "1,1,0,0,0,0,0", "2,-1,0,0,0,0,0", "?,1,0,0,0,0,0"])
def test_an_image_without_one_diagnosis_is_named(tmp_path, marks):
    row = truth([["ISIC_0024999", *marks.split(",")]])
    files = FOLDERS | {f"{TASK}_GroundTruth/{TASK}_GroundTruth.csv": row}
    with pytest.raises(DermalineError, match=r"GroundTruth\.csv: ISIC_0024999 has not one diagnosis; get both files"):
        layout.write([unpack(files, tmp_path / "given")], tmp_path / "raw", official=False)
