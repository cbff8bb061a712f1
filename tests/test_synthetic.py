"""The generated data: its shape is HAM10000's, and the same parameters give the same bytes."""

import io
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermaline.base.classes import CLASSES
from dermaline.base.columns import COLUMNS, SOURCE
from dermaline.data import ham10000
from dermaline.params.data import Data
from dermaline.sources.synthetic import images as synthetic
from dermaline.sources.synthetic import patients

ROOT = Path(__file__).parents[1]


def settings(images: int = 70, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Data:
    return Data.model_validate(
        {
            "source": "synthetic",
            "path": None,
            "kaggle": {"dataset": "owner/name", "version": 1},
            "dataverse": {"server": "https://example.org", "doi": "doi:10.1/1"},
            "synthetic": {"images": images, "size": size, "seed": seed},
        }
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def opened(folder: Path, name: str) -> dict[str, Image.Image]:
    with zipfile.ZipFile(folder / name) as files:
        return {Path(name).stem: Image.open(io.BytesIO(files.read(name))) for name in files.namelist()}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "raw"
    synthetic.fetch(settings(images=140), folder, workers=2)
    return folder


@pytest.fixture(scope="module")
def table(raw):
    return pd.read_csv(raw / "metadata.csv")


def test_one_worker_and_two_write_the_same_bytes(raw, tmp_path):
    synthetic.fetch(settings(images=140), tmp_path / "again", workers=1)
    assert content(tmp_path / "again") == content(raw)


def test_another_seed_writes_other_bytes(raw, tmp_path):
    synthetic.fetch(settings(images=140, seed=1), tmp_path / "other", workers=2)
    other, own = content(tmp_path / "other"), content(raw)
    assert list(other) == list(own) == ["images.zip", "masks.zip", "metadata.csv"]
    assert all(other[name] != own[name] for name in own)


@pytest.mark.parametrize("images", [70, 71, 500, 2000, 10015, 123457])
def test_the_imbalance_is_that_of_ham10000(images):
    counts = synthetic.apportioned(images)
    assert sum(counts.values()) == images
    assert list(counts) == list(CLASSES)
    for dx in set(CLASSES) - {"nv"}:
        assert abs(counts[dx] - max(3, images * synthetic.IMAGES[dx] / 10015)) < 1
    assert images != 10015 or counts == synthetic.IMAGES


@pytest.mark.parametrize("images", [70, 2000, 10015])
def test_lesions_and_their_photographs(images):
    plan = synthetic.planned(images, seed=0)
    photos = Counter(len(lesion.image_ids) for lesion in plan)
    assert sum(count * lesions for count, lesions in photos.items()) == images
    assert max(photos) <= synthetic.MOST_PHOTOS
    assert len({image_id for lesion in plan for image_id in lesion.image_ids}) == images
    assert min(Counter(lesion.dx for lesion in plan).values()) >= synthetic.FEWEST_LESIONS
    assert 0.22 < 1 - photos[1] / len(plan) < 0.32
    assert images != 10015 or len(plan) == 7470


def test_the_table_has_the_vocabulary_of_ham10000(table):
    assert list(table.columns) == [*COLUMNS, SOURCE]
    assert table.image_id.is_unique
    assert table.image_id.str.fullmatch(r"SYN_\d{7}").all()
    assert not table.image_id.map(ham10000.has).any()  # whose near-duplicates are a list
    assert table.lesion_id.str.fullmatch(r"HAM_\d{7}").all()
    assert set(table.dx) == set(CLASSES)
    assert set(table.dx_type) <= set(patients.DX_TYPES)
    assert set(table.sex) <= set(patients.SEXES)
    assert set(table.localization) <= set(patients.SITES)
    assert set(table.age.dropna()) <= set(range(0, 90, 5))
    assert set(table.dx[table.dx_type == "follow_up"]) == {"nv"}


def test_a_lesion_has_one_row_of_facts(table):
    facts = table.drop(columns="image_id").drop_duplicates()
    assert len(facts) == table.lesion_id.nunique()


@pytest.mark.parametrize("dx", CLASSES)
def test_patients_of_every_diagnosis(dx):
    drawn = pd.DataFrame([patients.patient(dx, np.random.default_rng(seed)) for seed in range(300)])
    assert abs(drawn.age.mean() - patients.AGE[dx][0]) < 6
    assert set(drawn.dx_type) == {
        name for name, share in zip(patients.DX_TYPES, patients.DX_TYPE[dx], strict=True) if share
    }


def test_images_and_masks_belong_together(raw, table):
    images, masks = opened(raw, "images.zip"), opened(raw, "masks.zip")
    assert set(images) == set(masks) == set(table.image_id)
    for image_id, image in images.items():
        mask = np.asarray(masks[image_id])
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 48))
        assert mask.shape == (48, 64)
        assert set(np.unique(mask)) <= {0, 255}
        assert 0.02 < (mask > 0).mean() < 0.98, image_id


def test_lesions_differ_from_the_skin_around_them(raw):
    images, masks = opened(raw, "images.zip"), opened(raw, "masks.zip")
    contrast = []
    for image_id, image in images.items():
        grey, inside = np.asarray(image.convert("L"), float), np.asarray(masks[image_id]) > 0
        contrast.append(np.median(grey[~inside]) - np.median(grey[inside]))
    assert np.median(contrast) > 20


def test_near_duplicates_hide_under_two_lesion_ids(tmp_path):
    plan = synthetic.planned(700, seed=0)
    copies = [lesion for lesion in plan if lesion.copy_of is not None]
    assert len(copies) == 2
    thumbnails = []
    for lesion in copies:
        original = plan[lesion.copy_of]
        assert (original.dx, original.copy_of) == (lesion.dx, None)
        assert original.number != lesion.number
        pair = [synthetic.photographed(shown, (96, 128), seed=0)[0] for shown in (original, lesion)]
        assert pair[0][1] != pair[1][1]
        thumbnails += [np.asarray(Image.open(io.BytesIO(jpeg)).convert("L").reduce(4), float) for _, jpeg, _ in pair]
    alike = np.corrcoef([thumbnail.ravel() for thumbnail in thumbnails])
    assert alike[0, 1] > 0.97
    assert alike[2, 3] > 0.97
    assert alike[0, 2] < 0.97
    facts = synthetic.table(plan, seed=0).set_index("lesion_id").drop(columns="image_id")
    for lesion in copies:
        assert facts.loc[f"HAM_{lesion.number:07d}"].equals(facts.loc[f"HAM_{lesion.copy_of:07d}"])


def test_another_photograph_shows_the_same_lesion_otherwise():
    plan = synthetic.planned(140, seed=0)
    several = next(lesion for lesion in plan if len(lesion.image_ids) > 1)
    first, second = synthetic.photographed(several, (48, 64), seed=0)[:2]
    assert first[1] != second[1]
    assert first[2] != second[2]


def test_killed_midway_it_leaves_no_raw_folder(tmp_path):
    raw = tmp_path / "raw"
    command = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests');"
        "from test_synthetic import settings; from dermaline.sources.synthetic import images as synthetic;"
        "synthetic.fetch(settings(images=5000), Path(sys.argv[1]), workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", command, str(raw)], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".raw.*/images.zip")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert list(tmp_path.glob(".raw.*"))
    assert not raw.exists()
