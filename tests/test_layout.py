"""Whatever form HAM10000 comes in, the raw folder is the same; whatever is wrong with it is said in one line."""

import os
import shutil
import zipfile
from collections import namedtuple

import pytest

from dermaline import params
from dermaline.errors import DermalineError
from dermaline.sources import layout, local
from tests.serving import contents, image_id, images, in_folder, start_download, table, unpack, wait_until, zipped

JPEGS = images(range(12))
MASKS = {name: b"png " + name.encode() for name in JPEGS}
CSV, TAB = table(12, 9), table(12, 9, dataverse=True)
FIRST, SECOND = {n: JPEGS[n] for n in list(JPEGS)[:5]}, {n: JPEGS[n] for n in list(JPEGS)[5:]}
PNGS = in_folder("", MASKS, "_segmentation.png")
LESION = "HAM10000_segmentations_lesion_tschandl"

KAGGLE = (
    in_folder("HAM10000_images_part_1/", FIRST, ".jpg")
    | in_folder("HAM10000_images_part_2/", SECOND, ".jpg")
    | in_folder(f"{LESION}/", MASKS, "_segmentation.png")
    | {"HAM10000_metadata.csv": CSV, "hmnist_8_8_L.csv": b"1,2\n"}
)
DATAVERSE = {
    "HAM10000_images_part_1.zip": zipped(in_folder("", FIRST, ".jpg")),
    "HAM10000_images_part_2.zip": zipped(in_folder("", SECOND, ".jpg"), zipfile.ZIP_DEFLATED),
    "HAM10000_metadata.tab": TAB,
    f"{LESION}.zip": zipped(in_folder(f"{LESION}/", MASKS, "_segmentation.png") | {"__MACOSX/._ISIC_1.jpg": b"x"}),
    "ISIC2018_Task3_Test_Images.zip": zipped({"ISIC_0034524.jpg": b"a test image"}),
}
FORMS = {
    "kaggle": KAGGLE,
    "kaggle, one zip": {"archive.zip": zipped(KAGGLE, zipfile.ZIP_DEFLATED)},
    "dataverse": DATAVERSE,
    "dataverse, no extension": {name.removesuffix(".tab"): content for name, content in DATAVERSE.items()},
    "lower case and doubled": KAGGLE
    | in_folder("ham10000_images_part_1/", FIRST, ".jpg")
    | in_folder("deep/down/ham10000_images_part_2/", SECOND, ".JPG")
    | {"ISIC2018_Task3_Test_Images/ISIC_0034524.jpg": b"a test image", "ham10000_metadata.tab": TAB},
    "flat": in_folder("", JPEGS, ".jpg") | PNGS | {"HAM10000_metadata.csv": CSV, "._ISIC_0024306.jpg": b"of a Mac"},
}


def raw(source, folder):
    layout.write([source], folder, official=False)
    return contents(folder)


def refused(source, tmp_path, said):
    """`source` is refused in one line that matches `said`, and no raw folder appears."""
    with pytest.raises(DermalineError, match=said) as problem:
        raw(source, tmp_path / "raw")
    assert "\n" not in str(problem.value)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_raw_folder(tmp_path, form, capsys):
    """Byte for byte, but for the column that Dataverse alone has: where a photograph is from."""
    expected = raw(unpack(KAGGLE, tmp_path / "expected"), tmp_path / "expected_raw")
    found = raw(unpack(FORMS[form], tmp_path / "given"), tmp_path / "raw")
    with_source = expected["metadata.csv"].replace(b"\n", b",vidir\n").replace(b",vidir", b",dataset", 1)
    has_source = TAB in FORMS[form].values()
    assert found == expected | ({"metadata.csv": with_source} if has_source else {})
    assert "raw: 12 images, 9 lesions, 12 masks" in capsys.readouterr().out


def test_the_raw_folder_is_sorted_and_complete(tmp_path):
    raw(unpack(DATAVERSE, tmp_path / "given"), tmp_path / "raw")
    lines = (tmp_path / "raw" / "metadata.csv").read_text().splitlines()
    assert lines[0] == "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
    assert lines[1] == "HAM_0000000,ISIC_0024306,nv,histo,0.0,male,lower extremity,vidir"
    assert [line.split(",")[1] for line in lines[1:]] == sorted(JPEGS)
    assert [line.split(",")[4] for line in lines[1:]].count("") == 2
    for name, files in (("images.zip", in_folder("", JPEGS, ".jpg")), ("masks.zip", in_folder("", MASKS, ".png"))):
        with zipfile.ZipFile(tmp_path / "raw" / name) as archive:
            assert archive.namelist() == sorted(files)
            assert {inside: archive.read(inside) for inside in files} == files


def test_masks_are_optional(tmp_path):
    files = {name: content for name, content in KAGGLE.items() if LESION not in name}
    assert list(raw(unpack(files, tmp_path / "given"), tmp_path / "raw")) == ["images.zip", "metadata.csv"]


@pytest.mark.parametrize("entry", ["../out.jpg", "a/../../out.jpg", "/etc/out.jpg", "..\\out.jpg", "C:\\out.jpg"])
def test_a_zip_that_climbs_out_is_refused(tmp_path, entry):
    source = unpack({"archive.zip": zipped(KAGGLE | {entry: b"x"})}, tmp_path / "given")
    refused(source, tmp_path, r"archive\.zip: the entry '.*out\.jpg' points outside; do not use this zip")


def without(name):
    return {path: content for path, content in KAGGLE.items() if name not in path}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (KAGGLE | {"b/ISIC_0024306.jpg": b"other"}, r"^ISIC_0024306: .*b/ISIC_0024306\.jpg differ; remove the wrong"),
        (without("ISIC_0024308.jpg"), "ISIC_0024308 is in the table but not there, 1 such images in all"),
        (KAGGLE | {"ISIC_0099999.jpg": b"x"}, "ISIC_0099999 is there but not in the table, 1 such images in all"),
        (without("metadata"), r"no table HAM10000_metadata \(\.csv or \.tab\); check the path"),
        ({"HAM10000_metadata.tab": TAB, "all.zip": zipped(DATAVERSE)}, r"no images .* unpack a zip that lies inside"),
        (KAGGLE | {"HAM10000_metadata.tab": table(12, 8, dataverse=True)}, r"metadata\.csv and .*\.tab differ"),
        (KAGGLE | {"HAM10000_metadata.csv": CSV + CSV.splitlines()[1]}, r"\(ISIC_0024317 has more than one row\)"),
        (
            KAGGLE | {"HAM10000_metadata.csv": CSV.replace(b"lesion_id", b"id")},
            r"\(no column lesion_id\); get it again",
        ),
        (KAGGLE | {"HAM10000_metadata.csv": CSV + b"HAM_1,ISIC_1\n"}, r"\(a row without dx\)"),
        (KAGGLE | {"HAM10000_metadata.csv": CSV.replace(b"25.0", b"old")}, r"not a table of HAM10000 \(.*old"),
        (KAGGLE | {"more.zip": b"no zip"}, r"more\.zip: not a whole zip .* delete it and get it again"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, files, said):
    refused(unpack(files, tmp_path / "given"), tmp_path, said)


def test_a_damaged_zip_is_named_with_its_entry(tmp_path):
    damaged = zipped(KAGGLE).replace(b"jpeg 7 jpeg", b"jpeg 8 jpeg", 1)
    source = unpack({"archive.zip": damaged}, tmp_path / "given")
    refused(source, tmp_path, r"archive\.zip: .*/ISIC_0024313\.jpg: cannot be read \(Bad CRC")


def test_the_whole_data_set_is_demanded_by_its_counts(tmp_path):
    source = unpack(KAGGLE, tmp_path / "given")
    with pytest.raises(DermalineError, match="12 images of 9 lesions, expected 10015 images of 7470 lesions"):
        layout.write([source], tmp_path / "raw", official=True)


def test_a_small_disk_is_told_before_writing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 100))
    refused(unpack(KAGGLE, tmp_path / "given"), tmp_path, r"raw: 0\.0 MB needed, 0\.0 MB free; make room")


@pytest.mark.parametrize(
    ("path", "said"),
    [(None, "data.path is empty; name the folder"), ("", "data.path is empty"), ("nowhere", "nowhere does not exist")],
)
def test_a_wrong_local_path_is_one_line(tmp_path, monkeypatch, path, said):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(DermalineError, match=said):
        local.fetch(params.load("data").model_copy(update={"path": path}), tmp_path / "raw")


def test_a_relative_local_path_counts_from_the_main_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    unpack(KAGGLE, tmp_path / "ham")
    local.fetch(params.load("data").model_copy(update={"path": "ham"}), tmp_path / "raw")
    assert (tmp_path / "raw" / "images.zip").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_stage_killed_while_writing_leaves_no_raw_folder(tmp_path):
    files = {name: content for name, content in KAGGLE.items() if image_id(11) not in name}
    source = unpack(files | {"HAM10000_metadata.csv": CSV}, tmp_path / "ham")
    os.mkfifo(source / f"{image_id(11)}.jpg")  # whoever reads it waits for ever
    process = start_download(tmp_path, {"source": "local", "path": "ham"})
    try:
        wait_until(lambda: list(tmp_path.glob("data/*/images.zip")))  # glob's star takes hidden folders too
    finally:
        process.kill()
        process.communicate(timeout=10)
    assert not (tmp_path / "data" / "raw").exists()
