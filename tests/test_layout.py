"""Whatever form HAM10000 comes in, the raw folder is the same; whatever is wrong with it is said in one line."""

import io
import os
import re
import shutil
import zipfile
from collections import namedtuple
from contextlib import ExitStack

import pandas as pd
import pytest

from dermaline.base.errors import DermalineError
from dermaline.data.table import read_table
from dermaline.params import whole
from dermaline.sources import folders, layout, local
from dermaline.sources.archive import RawZip
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
KAGGLE_ZIP = zipped(in_folder("HAM10000_images_part_2/", SECOND, ".jpg"))
SPELLED = b"\xef\xbb\xbf" + re.sub(rb"ISIC_(\d+),nv", rb"isic_\1.jpg, NV ", CSV).replace(b".0,", b",").replace(
    b",", b";"
)
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
    "downloaded twice": in_folder("", JPEGS, " (1).jpg")
    | in_folder("HAM10000_images_part_1 (1)/", FIRST, " - Copy (2).jpg")
    | in_folder("", MASKS, "_segmentation 2.png")
    | {"HAM10000_metadata (1).csv": CSV, "HAM10000_metadata copy.csv": CSV, "part_2 (1).zip": KAGGLE_ZIP},
    "a spreadsheet's table, in other spellings": in_folder("", JPEGS, ".jpg")
    | PNGS
    | {"HAM10000_metadata.csv": SPELLED, "HAM10000_metadata.tab": TAB},
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


def test_a_table_of_ones_own_needs_no_more_than_is_read_of_it(tmp_path):
    own = pd.read_csv(io.BytesIO(CSV)).drop(columns="dx_type").to_csv(index=False).encode()
    expected = raw(unpack(KAGGLE, tmp_path / "expected"), tmp_path / "expected_raw")
    found = raw(unpack(KAGGLE | {"HAM10000_metadata.csv": own}, tmp_path / "given"), tmp_path / "raw")
    assert found["metadata.csv"] == expected["metadata.csv"].replace(b",histo,", b",,")
    assert len(read_table(tmp_path / "raw/metadata.csv")) == 12


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


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_that_loops_ends(tmp_path):
    whole = raw(unpack(KAGGLE, tmp_path / "whole"), tmp_path / "raw")
    looping = unpack(KAGGLE, tmp_path / "looping")
    (looping / "HAM10000_images_part_1/loop").symlink_to(looping)
    (looping / "hmnist").symlink_to(looping / "HAM10000_images_part_2")
    assert [name for name, _ in folders.files(looping, ExitStack()) if "hmnist" in name] == ["hmnist_8_8_L.csv"]
    assert raw(looping, tmp_path / "again") == whole


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
        (
            without("ISIC_0024308.jpg"),
            r": 1 of the 12 images of the table are not there, ISIC_0024308 for one; complete the data$",
        ),
        (without("part_2"), r": 7 of the 12 images of the table .* one; is HAM10000_images_part_2 missing\?$"),
        (without("part_1"), r": 5 of the 12 images of the table .* one; is HAM10000_images_part_1 missing\?$"),
        (KAGGLE | {"ISIC_0099999.jpg": b"x"}, ": 1 of the 13 images there are not in the table, ISIC_0099999 for one"),
        (
            KAGGLE | {"ISIC_0024306 (1).jpg": b"x"},
            r"^ISIC_0024306: .*ISIC_0024306 \(1\)\.jpg .*differ; remove the wrong",
        ),
        (without("metadata"), r"no table HAM10000_metadata \(\.csv or \.tab\) or ISIC2018_.*; check the path"),
        ({"HAM10000_metadata.tab": TAB, "all.zip": zipped(DATAVERSE)}, r"no images .* unpack a zip that lies inside"),
        (KAGGLE | {"HAM10000_metadata.tab": table(12, 8, dataverse=True)}, r"metadata\.csv and .*\.tab differ"),
        (KAGGLE | {"HAM10000_metadata.csv": CSV + CSV.splitlines()[1]}, r"\(ISIC_0024317 has more than one row\)"),
        (
            KAGGLE | {"HAM10000_metadata.csv": CSV.replace(b"lesion_id", b"id")},
            r"\(no column lesion_id\); correct it, or get it again",
        ),
        (KAGGLE | {"HAM10000_metadata.csv": CSV + b"HAM_1,ISIC_1\n"}, r"\(a row without dx\)"),
        (KAGGLE | {"more.zip": b"no zip"}, r"more\.zip: not a whole zip .* delete it and get it again"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, files, said):
    refused(unpack(files, tmp_path / "given"), tmp_path, said)


def test_a_damaged_zip_is_named_with_its_entry(tmp_path):
    damaged = zipped(KAGGLE).replace(b"jpeg 7 jpeg", b"jpeg 8 jpeg", 1)
    source = unpack({"archive.zip": damaged}, tmp_path / "given")
    refused(source, tmp_path, r"archive\.zip: .*/ISIC_0024313\.jpg: cannot be read \(Bad CRC")


def flagged(content, method=None, encrypted=False):
    """The zip `content`, its entries marked as compressed by `method` or as encrypted, in both of its headers."""
    marked = bytearray(content)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(signature), content):
            start = found.start() + at
            marked[start] |= encrypted
            if method is not None:
                marked[start + 2 : start + 4] = method.to_bytes(2, "little")
    return bytes(marked)


@pytest.mark.parametrize(
    "how", [{"method": 9}, {"method": 93}, {"encrypted": True}], ids=["Deflate64", "Zstandard", "encrypted"]
)
def test_a_zip_that_python_cannot_read_is_to_be_unpacked(tmp_path, how):
    """Windows packs what is large as Deflate64; to get such a zip again would not help."""
    source = unpack({"archive.zip": flagged(zipped(KAGGLE), **how)}, tmp_path / "given")
    refused(source, tmp_path, r"archive\.zip: .*: cannot be read in its zip \(.*\); unpack it and name the folder$")


def test_png_images_are_taken_and_masks_are_not_among_them(tmp_path):
    """Converted copies of HAM10000 exist. Of an image in both formats the JPEG counts: the camera's own file."""
    pngs = {name: b"\x89PNG\r\n\x1a\n" + content for name, content in JPEGS.items()}
    files = in_folder("", pngs, ".png") | PNGS | in_folder("masks/", MASKS, ".png") | {"HAM10000_metadata.csv": CSV}
    raw(unpack(files | {"ISIC_0024306.jpg": JPEGS["ISIC_0024306"]}, tmp_path / "given"), tmp_path / "raw")
    stored, masks = RawZip(tmp_path / "raw" / "images.zip"), RawZip(tmp_path / "raw" / "masks.zip")
    assert {name: stored.read(name) for name in JPEGS} == pngs | {"ISIC_0024306": JPEGS["ISIC_0024306"]}
    assert set(stored.names.values()) == {"ISIC_0024306.jpg", *(f"{name}.png" for name in list(JPEGS)[1:])}
    assert {name: masks.read(name) for name in masks.names} == MASKS


def test_an_age_that_is_no_number_is_left_to_the_reader_of_the_raw_table(tmp_path):
    source = unpack(KAGGLE | {"HAM10000_metadata.csv": CSV.replace(b"25.0", b"unknown")}, tmp_path / "given")
    lines = raw(source, tmp_path / "raw")["metadata.csv"].decode().splitlines()
    assert [line.split(",")[4] for line in lines[5:8]] == ["20.0", "unknown", "30.0"]


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
    [
        (None, "data.path is empty; name the folder"),
        ("", "data.path is empty"),
        ("nowhere", "nowhere does not exist"),
        ("~nobody-of-this-name/ham", "no home folder for ~nobody-of-this-name/ham; write it out"),
    ],
)
def test_a_wrong_local_path_is_one_line(tmp_path, monkeypatch, path, said):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(DermalineError, match=said):
        local.fetch(whole.read().data.model_copy(update={"path": path}), tmp_path / "raw")


@pytest.mark.parametrize("path", ["HAM (1)/größe", "~/HAM (1)/größe"])
def test_a_local_path_counts_from_the_main_checkout_or_the_home_folder(tmp_path, monkeypatch, path):
    for name in ("HOME", "USERPROFILE") if path.startswith("~") else ("DVC_ROOT",):
        monkeypatch.setenv(name, str(tmp_path))
    unpack(KAGGLE, tmp_path / "HAM (1)" / "größe")
    local.fetch(whole.read().data.model_copy(update={"path": path}), tmp_path / "raw")
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
