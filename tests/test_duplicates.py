"""Near-duplicates: planted ones are found, others are not, and neither the packed size nor the copy decides."""

import hashlib
import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parameters import put_parameters
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from stage import run_stage

from dermaline.base.columns import COLUMNS
from dermaline.data import ham10000
from dermaline.data.duplicates import CANDIDATES, known_pairs, near_duplicates, similar_pairs
from dermaline.params.prepare import Prepare
from dermaline.sources.archive import RawZip, writing
from stages import prepare

OPTIONS = Prepare(
    size=(48, 64),
    bad_images="stop",
    max_megapixels=50,
    duplicate_similarity=0.85,
    duplicate_similarity_same_facts=0.7,
)
FACTS = {"dx": "nv", "age": 40, "sex": "female", "localization": "back"}
OF_HAM10000 = [f"HAM_{n:07}" for n in range(12)]
SHIFT = (40, 30)  # pixels of 640 x 480: a sixteenth of each side


@cache
def skin(seed: int) -> Image.Image:
    """A textured picture of its own for each seed, 800 x 600, with a dark spot in the middle."""
    random = np.random.default_rng(seed)
    noise = Image.fromarray(random.integers(0, 255, (150, 200, 3), dtype=np.uint8)).resize((800, 600))
    texture = noise.filter(ImageFilter.GaussianBlur(3)).point(lambda value: value // 2 + 100)
    spot = Image.new("L", (800, 600))
    spot.paste(180, (300, 220, 500, 380))
    return Image.composite(
        Image.new("RGB", (800, 600), (90, 50, 40)), texture, spot.filter(ImageFilter.GaussianBlur(30))
    )


def frame(seed: int, left: int = 80, top: int = 60, side: float = 1) -> Image.Image:
    return skin(seed).crop((left, top, left + round(640 * side), top + round(480 * side))).resize((640, 480))


def jpeg(image: Image.Image, quality: int = 92) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


TWINS = {
    "recompressed": lambda: jpeg(frame(0), quality=40),
    "half the size": lambda: jpeg(frame(0).resize((320, 240))),
    "another colour": lambda: jpeg(ImageEnhance.Color(frame(0)).enhance(0.4)),
    "another light": lambda: jpeg(ImageEnhance.Brightness(frame(0)).enhance(0.7)),
    "shifted": lambda: jpeg(frame(0, 80 + SHIFT[0], 60 + SHIFT[1])),
    "shifted twice as far": lambda: jpeg(frame(0, 80 + 2 * SHIFT[0], 60 - SHIFT[1])),
    "zoomed": lambda: jpeg(frame(0, 96, 72, 0.95)),
}


def found(folder: Path, images: list[bytes], table: pd.DataFrame) -> pd.DataFrame:
    with writing(folder / "raw") as raw:
        for image_id, content in zip(table.image_id, images, strict=True):
            raw.add_image(image_id, content)
        raw.write_table(table)
    return near_duplicates(RawZip(folder / "raw/images.zip"), table, OPTIONS)


def facts(count: int, **changes) -> pd.DataFrame:
    table = pd.DataFrame({name: [value] * count for name, value in FACTS.items()})
    table = table.assign(image_id=[f"X_{n:02}" for n in range(count)], lesion_id=[f"L_{n:02}" for n in range(count)])
    return table.assign(**changes).reindex(columns=list(COLUMNS), fill_value="consensus")


@pytest.mark.parametrize("change", TWINS)
def test_a_planted_twin_is_found_and_nothing_else(change, tmp_path):
    images = [jpeg(frame(seed)) for seed in range(25)] + [TWINS[change]()]
    pairs = found(tmp_path, images, facts(26))
    assert pairs[["a", "b"]].to_numpy().tolist() == [[0, 25]]


def test_a_mirrored_or_turned_photograph_is_none(tmp_path):
    null = [jpeg(change(frame(seed))) for seed in range(20) for change in (ImageOps.mirror, ImageOps.flip)]
    assert found(tmp_path, [jpeg(frame(seed)) for seed in range(20)] + null, facts(60)).empty


@pytest.mark.parametrize(
    ("changes", "twins"),
    [
        ({}, True),
        ({"age": [40, None]}, False),
        ({"sex": ["female", "male"]}, False),
        ({"localization": ["back", "foot"]}, False),
        ({"localization": [None, None]}, True),
        ({"dx": ["nv", "mel"]}, False),
        ({"lesion_id": ["L", "L"]}, False),
    ],
    ids=str,
)
def test_of_two_that_are_somewhat_similar_the_facts_decide(changes, twins, tmp_path):
    other = Image.blend(frame(0), frame(1), 0.7)
    pairs = found(tmp_path, [jpeg(frame(0)), jpeg(other)], facts(2, **changes))
    assert len(pairs) == twins
    if twins:
        assert 0.75 < pairs.similarity[0] < 0.83


@pytest.mark.parametrize(("other", "twins"), [(0, True), (0.35, True), (0.4, False), (0.5, False)])
def test_two_diagnoses_are_one_lesion_only_if_nearly_identical(other, twins, tmp_path):
    images = [frame(0), Image.blend(frame(0), frame(1), other)]
    assert len(found(tmp_path / "two", [jpeg(image) for image in images], facts(2, dx=["nv", "mel"]))) == twins
    assert len(found(tmp_path / "one", [jpeg(image) for image in images], facts(2))) == 1


def test_of_images_of_ham10000_its_list_decides_and_nobody_looks(tmp_path):
    pair = ham10000.PAIRS[0]
    table = facts(3, image_id=["ISIC_0024306", *pair], lesion_id=OF_HAM10000[:3])
    pairs = found(tmp_path, [jpeg(frame(0)), jpeg(frame(0)), jpeg(frame(1))], table)
    assert pairs[["a", "b"]].to_numpy().tolist() == [[1, 2]]


def test_a_clinic_may_number_its_photographs_as_ham10000_does(tmp_path):
    """By the ids of lesions they are others: they are searched, and no pair of the list is theirs."""
    ids = ["ISIC_0024306", "ISIC_0024307", *ham10000.PAIRS[0]]
    images = [jpeg(frame(seed)) for seed in (0, 0, 1, 2)]
    assert found(tmp_path / "own", images, facts(4, image_id=ids))[["a", "b"]].to_numpy().tolist() == [[0, 1]]
    named = facts(4, image_id=ids, lesion_id=OF_HAM10000[:4])
    assert found(tmp_path / "ham", images, named)[["a", "b"]].to_numpy().tolist() == [[2, 3]]


def test_beside_images_of_ham10000_others_are_searched(tmp_path):
    table = facts(3, image_id=["ISIC_0024306", "ISIC_0024307", "X"], lesion_id=[*OF_HAM10000[:2], "X"])
    pairs = found(tmp_path, [jpeg(frame(0)), jpeg(frame(0)), jpeg(frame(0))], table)
    assert sorted(pairs[["a", "b"]].to_numpy().tolist()) == [[0, 2], [1, 2]]


def test_the_list_of_ham10000_is_of_its_images_each_pair_once():
    ids = [image_id for pair in ham10000.PAIRS for image_id in pair]
    assert all(ham10000.has(image_id) for image_id in ids)
    assert all(a < b for a, b in ham10000.PAIRS)
    assert len(set(ham10000.PAIRS)) == len(ham10000.PAIRS) == 25
    listed = "\n".join(" ".join(pair) for pair in ham10000.PAIRS)  # looked at one by one: no code can tell them again
    assert (
        hashlib.sha256(listed.encode()).hexdigest()
        == "08e3046ad8b2854e9a39b00d1b862e4c78a5f1d1f34a98326987925f754513e4"
    )
    assert not any(map(ham10000.has, ("ISIC_0024305", "ISIC_0034321", "ISIC_24306", "SYN_0024306", "ISIC_0024306_a")))


@pytest.mark.parametrize(
    "own", [pytest.param(False, id="HAM10000's"), pytest.param(True, id="others", marks=pytest.mark.slow)]
)
def test_groups_do_not_depend_on_the_size_nor_on_the_copy(own, tmp_path, monkeypatch):
    """Of two copies, one half as large and recompressed, at three sizes each: the same index of groups."""
    names = [f"X_{n}" for n in range(12)] if own else [*ham10000.PAIRS[3], *(f"ISIC_00{24306 + n}" for n in range(10))]
    frames = [frame(seed) for seed in range(11)] + [frame(3, 80 + SHIFT[0], 60)]
    copies = {"whole": [jpeg(image) for image in frames], "half": [jpeg(one.resize((320, 240)), 75) for one in frames]}
    groups = set()
    for copy, images in copies.items():
        folder = tmp_path / copy
        with writing(folder / "data/raw") as raw:
            for name, content in zip(names, images, strict=True):
                raw.add_image(name, content)
            raw.write_table(facts(12, image_id=names, lesion_id=OF_HAM10000).sort_values("image_id"))
        for size in ([48, 64], [60, 60], [192, 256]):
            put_parameters(folder, {"prepare.size": size})
            monkeypatch.chdir(folder)
            prepare.main()
            groups.add((folder / "data/prepared/index.csv").read_bytes())
    assert len(groups) == 1
    assert len(json.loads((folder / "data/prepared/report.json").read_text())["near_duplicates"]) == 1
    assert len(pd.read_csv(io.BytesIO(groups.pop())).group.unique()) == 11


def test_a_large_group_is_reported_and_warned_about(tmp_path):
    with writing(tmp_path / "data/raw") as raw:
        for number in range(7):
            raw.add_image(f"X_{number:02}", jpeg(frame(0 if number < 5 else number)))
        raw.write_table(facts(7))
    put_parameters(tmp_path)
    result = run_stage(tmp_path, "prepare")
    assert result.stdout.startswith("warning: near-duplicates join 5 lesions (5 images) to one group, L_00; look at")
    report = json.loads((tmp_path / "data/prepared/report.json").read_text())
    assert report["largest_group"] == {"group": "L_00", "lesions": 5, "images": 5}


def test_between_two_sets_only_pairs_of_both_are_sought():
    """Photographs are most like a crowd in their own set, which must not take the place of their twins."""
    random = np.random.default_rng(0)

    def crowd(of: np.ndarray) -> np.ndarray:
        drawn = of * 0.9 + random.integers(0, 25, (2 * CANDIDATES, *of.shape))
        return np.clip(drawn, 0, 255).astype(np.uint8)

    first = random.integers(0, 255, (60, 80, 3))
    ours, theirs = crowd(first), crowd(first * 0.7 + random.integers(0, 75, first.shape))
    found = known_pairs(ours, theirs, 0.5)
    assert set(found.a) | set(found.b) <= set(range(len(ours)))
    assert len(found) >= len(ours)
    together = similar_pairs(np.concatenate([ours, theirs]), 0.5)
    assert not ((together.a < len(ours)) & (together.b >= len(ours))).any()  # of all with all they are not seen
