"""Preparing: what becomes of good images and of each kind of bad input."""

import contextlib
import io
import json
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parameters import put_parameters
from PIL import ExifTags, Image, ImageFilter
from stage import error_line, run_stage

from dermaline.base.columns import COLUMNS
from dermaline.base.errors import DermalineError
from dermaline.data.decode import BadImageError, decode
from dermaline.data.index import read_index
from dermaline.sources.archive import RawZip, writing
from stages import prepare as stage


def photograph(seed: int, shift: int = 0) -> Image.Image:
    """A textured picture of its own for each seed, 128 x 96; `shift` moves the frame over the same skin."""
    noise = np.random.default_rng(seed).integers(0, 255, (160, 200, 3), dtype=np.uint8)
    whole = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)).point(lambda value: (value - 128) * 4 + 128)
    return whole.crop((20 + shift, 20 + shift, 148 + shift, 116 + shift))


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def mask(number: int) -> Image.Image:
    """All lesion for odd numbers, none for even ones; in a palette of black and white, as some of HAM10000's are."""
    image = Image.new("P", (128, 96), number % 2)
    image.putpalette([0, 0, 0, 255, 255, 255])
    return image


def metadata(count: int) -> pd.DataFrame:
    rows = {name: [""] * count for name in COLUMNS}
    rows["image_id"] = [f"ISIC_{number:07}" for number in range(count)]
    rows["lesion_id"] = [f"HAM_{number:07}" for number in range(count)]
    rows["dx"] = ["nv"] * count
    return pd.DataFrame(rows)


@pytest.fixture
def folder(tmp_path):
    put_parameters(tmp_path, {"prepare.size": [48, 64]})
    return tmp_path


def write_raw(folder, jpegs: list[bytes], table: pd.DataFrame | None = None) -> None:
    table = metadata(len(jpegs)) if table is None else table
    with writing(folder / "data/raw") as raw:
        for number, jpeg in enumerate(jpegs):
            raw.add_image(f"ISIC_{number:07}", jpeg)
            raw.add_mask(f"ISIC_{number:07}", encoded(mask(number), "PNG"))
        raw.write_table(table)


def drop_bad_images(folder) -> None:
    put_parameters(folder, {"prepare.bad_images": "drop"})


def test_good_images_are_packed_in_the_order_of_the_index(folder, monkeypatch):
    pictures = [photograph(seed) for seed in range(5)]
    write_raw(folder, [encoded(picture) for picture in pictures])
    monkeypatch.chdir(folder)
    stage.main()
    images = np.load(folder / "data/prepared/images.npy")
    masks = np.load(folder / "data/prepared/masks.npy")
    index = pd.read_csv(folder / "data/prepared/index.csv")
    assert images.shape == (5, 48, 64, 3)
    assert masks.shape == (5, 48, 64)
    assert masks.reshape(5, -1).mean(axis=1).tolist() == [0, 1, 0, 1, 0]
    assert index.row.tolist() == list(range(5))
    for row, picture in enumerate(pictures):
        expected = np.asarray(picture.resize((64, 48), Image.Resampling.BICUBIC), dtype=float)
        assert np.abs(images[row] - expected).mean() < 8
    assert index.group.tolist() == index.lesion_id.tolist()


def test_a_near_duplicate_under_another_lesion_joins_its_group(folder, monkeypatch):
    pictures = [photograph(0), photograph(1), photograph(0, shift=3), photograph(2)]
    write_raw(folder, [encoded(picture) for picture in pictures])
    monkeypatch.chdir(folder)
    stage.main()
    index = pd.read_csv(folder / "data/prepared/index.csv")
    assert index.group.tolist() == ["HAM_0000000", "HAM_0000001", "HAM_0000000", "HAM_0000003"]
    found = json.loads((folder / "data/prepared/report.json").read_text())["near_duplicates"]
    assert [(pair["a"], pair["b"]) for pair in found] == [("ISIC_0000000", "ISIC_0000002")]


TRUNCATED = encoded(photograph(9))[:900]
BOMB = encoded(Image.new("1", (12_000, 9_000)), "PNG")
DEEP = encoded(Image.fromarray(np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)), "PNG")

AVIF = encoded(photograph(8), "AVIF").replace(b"av01", b"aw01")  # one bit is wrong: Pillow raises a RuntimeError


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TRUNCATED, "truncated"),
        (b"a text", "not an image file"),
        (BOMB, "108 megapixels"),
        (DEEP, "more than 8 bits a channel"),
        (AVIF, "can't be decoded"),
    ],
    ids=["truncated", "text", "bomb", "16 bits", "AVIF"],
)
def test_a_bad_image_stops_or_is_left_out_as_the_rule_says(folder, content, reason, monkeypatch):
    write_raw(folder, [encoded(photograph(0)), content, encoded(photograph(2))])
    monkeypatch.chdir(folder)
    with pytest.raises(DermalineError, match=rf"images.zip: ISIC_0000001.*{reason}.*bad_images"):
        stage.main()
    assert not (folder / "data/prepared").exists()

    drop_bad_images(folder)
    stage.main()
    assert reason in json.loads((folder / "data/prepared/report.json").read_text())["dropped"]["ISIC_0000001"]
    assert pd.read_csv(folder / "data/prepared/index.csv").image_id.tolist() == ["ISIC_0000000", "ISIC_0000002"]
    images, masks = (np.load(folder / f"data/prepared/{name}.npy") for name in ("images", "masks"))
    assert len(images) == len(masks) == 2
    assert images[1].any()


def test_where_an_image_is_left_out_its_outline_goes_with_it(folder, monkeypatch):
    write_raw(folder, [b"a text", encoded(photograph(0)), encoded(photograph(2))])
    drop_bad_images(folder)
    monkeypatch.chdir(folder)
    stage.main()
    masks = np.load(folder / "data/prepared/masks.npy")
    assert masks.reshape(len(masks), -1).mean(axis=1).tolist() == [1, 0]  # of the second and the third


def test_a_photograph_whose_outline_is_broken_is_kept_without_one(folder, monkeypatch, capsys):
    write_raw(folder, [encoded(photograph(seed)) for seed in range(3)])
    with zipfile.ZipFile(folder / "data/raw/masks.zip") as archive:
        masks = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "data/raw/masks.zip", "w") as archive:
        for name, content in masks.items():
            archive.writestr(name, content[:40] if name.startswith("ISIC_0000001") else content)
    monkeypatch.chdir(folder)
    with pytest.raises(DermalineError, match=r"masks.zip: ISIC_0000001"):
        stage.main()
    drop_bad_images(folder)
    stage.main()
    assert "note: 1 outlines can't be read, of ISIC_0000001 for one" in capsys.readouterr().out
    masks = np.load(folder / "data/prepared/masks.npy")
    assert masks.reshape(3, -1).mean(axis=1).tolist() == [0, 0, 0]
    assert json.loads((folder / "data/prepared/report.json").read_text())["dropped"] == {}


def test_lesions_of_one_patient_are_one_group_and_no_chain_of_false_alarms(folder, monkeypatch, capsys):
    table = metadata(7).assign(patient_id=["P"] * 5 + ["", "Q"], dx=["nv", "mel", "nv", "nv", "bkl", "nv", "nv"])
    write_raw(folder, [encoded(photograph(seed)) for seed in range(7)], table)
    monkeypatch.chdir(folder)
    stage.main()
    index = read_index()
    assert index.group.tolist() == [index.lesion_id[0]] * 5 + index.lesion_id[5:].tolist()
    assert index.patient_id.isna().tolist() == [False] * 5 + [True, False]
    assert "warning" not in capsys.readouterr().out
    assert json.loads((folder / "data/prepared/report.json").read_text())["groups"] == 7


def test_one_photograph_of_two_diagnoses_is_named(folder, monkeypatch, capsys):
    pictures = [encoded(photograph(0)), encoded(photograph(1)), encoded(photograph(0))]
    write_raw(folder, pictures, metadata(3).assign(dx=["mel", "nv", "nv"]))
    monkeypatch.chdir(folder)
    stage.main()
    said = "warning: ISIC_0000000 (mel) and ISIC_0000002 (nv) look like one lesion; one diagnosis is wrong\n"
    assert capsys.readouterr().out == said


def test_what_says_nothing_is_counted_as_missing(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["NA", "nan", "unknown", "", "40"]
    table = metadata(5).assign(age=words, sex=["unknown", "Unknown", "male", "N/A", "female"], localization="unknown")
    write_raw(folder, [encoded(photograph(seed)) for seed in range(5)], table)
    stage.main()
    missing = json.loads((folder / "data/prepared/report.json").read_text())["missing"]
    assert missing == {"age": 4, "sex": 3, "localization": 5}
    index = pd.read_csv(folder / "data/prepared/index.csv", keep_default_na=False, dtype=str)
    assert index.age.tolist() == ["", "", "", "", "40.0"]
    assert index.sex.tolist() == ["", "", "male", "", "female"]


def test_sex_and_place_have_one_spelling_and_words_that_are_not_known_are_named(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    table = metadata(4).assign(sex=["M", "Male", "male", "Frau"], localization=["Back", "posterior torso", "back", ""])
    write_raw(folder, [encoded(photograph(seed)) for seed in range(4)], table)
    stage.main()
    index = pd.read_csv(folder / "data/prepared/index.csv", keep_default_na=False)
    assert index.sex.tolist() == ["male", "male", "male", "Frau"]
    assert index.localization.tolist() == ["back", "back", "back", ""]
    said = "not known, and taken as missing by models: sex 'Frau' in 1 of 4 rows\n"
    assert capsys.readouterr().err.startswith(f"note: {Path('data/raw/metadata.csv')}: {said}")


@pytest.mark.parametrize("jpegs", [[b"a text", b"a text"], [b"a text", encoded(photograph(0))]], ids=["none", "one"])
def test_fewer_than_two_photographs_are_refused_with_what_is_wrong_with_the_others(folder, monkeypatch, jpegs):
    write_raw(folder, jpegs)
    drop_bad_images(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(DermalineError, match=r"ISIC_0000000: .*not an image file.*; no two are left to learn from$"):
        stage.main()


def test_a_photograph_on_its_side_is_turned_and_as_sharp_as_upright():
    fine = np.random.default_rng(0).integers(0, 255, (1536, 2048, 3), dtype=np.uint8)
    upright = Image.fromarray(fine).resize((1024, 768)).resize((2048, 1536))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned by 90 degrees clockwise
    side = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(side, "JPEG", quality=95, exif=exif)
    straight = io.BytesIO()
    upright.save(straight, "JPEG", quality=95)
    one, other = (decode(file.getvalue(), (192, 256), 50).astype(float) for file in (straight, side))
    assert np.abs(one - other).mean() < 2
    assert other.std() == pytest.approx(one.std(), rel=0.05)  # a smaller one, enlarged, would be smoother


def test_odd_exif_costs_one_image_at_most():
    turned = struct.pack("<HHIHH", ExifTags.Base.Orientation, 3, 1, 6, 0)
    no_number = struct.pack("<HHI4s", ExifTags.Base.XResolution, 2, 2, b"x")  # a text where a fraction should be
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + no_number + bytes(4)
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG", exif=exif)
    with contextlib.suppress(BadImageError):
        assert decode(file.getvalue(), (48, 64), 50).shape == (48, 64, 3)


def test_an_image_that_is_listed_but_missing_is_named(folder):
    write_raw(folder, [encoded(photograph(0)), encoded(photograph(1))], metadata(3))
    assert "ISIC_0000002: not in images.zip" in error_line(run_stage(folder, "prepare"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.assign(dx=["nv", "melanoma"]), "ISIC_0000001 has the unknown dx 'melanoma'"),
        (lambda table: table.assign(image_id="ISIC_0000000"), "image_id ISIC_0000000 stands in two rows"),
        (lambda table: table.assign(lesion_id=["HAM_1", ""]), "row 3 has no lesion_id"),
        (lambda table: table.assign(lesion_id=["HAM_1", "NA"]), "row 3 has no lesion_id"),
        (lambda table: table.assign(age=["old", "5"]), "age 'old' is not in years"),
        (lambda table: table.assign(age=["5", "430"]), "age '430' is not in years"),
        (lambda table: table.assign(lesion_id="HAM_1", dx=["nv", "mel"]), "lesion HAM_1 has two diagnoses"),
    ],
    ids=["dx", "twice", "lesion", "no lesion", "age", "old", "two"],
)
def test_a_bad_table_is_refused(folder, spoil, message, monkeypatch):
    write_raw(folder, [encoded(photograph(0)), encoded(photograph(1))], spoil(metadata(2)))
    monkeypatch.chdir(folder)
    with pytest.raises(DermalineError, match=f"data/raw/metadata.csv: {message}"):
        stage.main()


def test_a_table_without_lesions_is_refused_and_says_why(folder, monkeypatch):
    write_raw(folder, [encoded(photograph(0))])
    path = folder / "data/raw/metadata.csv"
    pd.read_csv(path).drop(columns="lesion_id").to_csv(path, index=False)
    monkeypatch.chdir(folder)
    with pytest.raises(DermalineError, match="no column 'lesion_id'; without it photographs of one lesion"):
        stage.main()


def test_a_cut_off_zip_and_no_download_at_all_are_one_line(folder, monkeypatch):
    write_raw(folder, [encoded(photograph(0))])
    archive = folder / "data/raw/images.zip"
    archive.write_bytes(archive.read_bytes()[:500])
    assert "images.zip: not a whole zip" in error_line(run_stage(folder, "prepare"))
    shutil.rmtree(folder / "data/raw")
    monkeypatch.chdir(folder)
    with pytest.raises(DermalineError, match=r"metadata\.csv: not found; run the download stage first"):
        stage.main()


def test_a_zip_that_was_written_anew_is_read_anew(folder, monkeypatch):
    monkeypatch.chdir(folder)
    path = (folder / "data/raw/images.zip").relative_to(folder)
    for content in (encoded(photograph(0)), encoded(photograph(1))):
        write_raw(folder, [content])
        assert RawZip(path).read("ISIC_0000000") == content
