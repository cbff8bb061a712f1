"""`python -m dermaline predict` on real files, with small real models, against what the predict stage writes."""

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from closure import ROOT
from PIL import Image

from dermaline import __main__
from dermaline.base.classes import CLASSES, MELANOMA
from dermaline.base.errors import DermalineError
from dermaline.base.files import digest
from dermaline.compute import setup_fabric
from dermaline.data.decode import decode
from dermaline.data.patients import FINDINGS, encode
from dermaline.data.photographs import resized
from dermaline.inference.conformal import SetRule
from dermaline.inference.decision import Decision
from dermaline.inference.likelihood_ratios import LikelihoodRatios
from dermaline.inference.predict import probabilities
from dermaline.models.model_io import load, save
from dermaline.models.network import Network
from dermaline.params import whole
from dermaline.user_files import photographs
from stages import predict as predict_stage

SIZES = ((64, 48), (300, 225), (500, 700))  # width, height
NAMES = ("first", "second")
DECISION = Decision(
    models={"second": "", "first": ""},  # the digests are known when the models are
    temperatures={"second": 1.5, "first": 0.8},  # not in the order of the alphabet
    temperature=0.9,
    prior=dict(zip(CLASSES, (0.03, 0.05, 0.11, 0.01, 0.11, 0.67, 0.02), strict=True)),
    factors=dict(zip(CLASSES, (0.25, 0.3, 0.41, 0.16, 0.41, 0.85, 0.21), strict=True)),
    likelihood_ratios=LikelihoodRatios(
        ratios={name: dict.fromkeys(CLASSES, 1.0) | {"mel": 1 + n / 9, "df": 0.2} for n, name in enumerate(FINDINGS)},
        power=0.5,
    ),
    tau=0.6,
    melanoma_threshold=0.14,
    set_rule=SetRule(
        coverage=0.9, by_class=True, thresholds=dict(zip(CLASSES, (0.3, 0.2, 0.1, 0.0, 0.14, 0.4, 0.25), strict=True))
    ),
    val_images=300,
    val_melanomas=30,
)


def photograph(number: int, form: str = "JPEG") -> bytes:
    """A patch of colour with a darker disc, of one of three sizes."""
    random = np.random.default_rng(number)
    width, height = SIZES[number % 3]
    y, x = np.mgrid[:height, :width]
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (height * random.uniform(0.1, 0.4)) ** 2
    pixels = np.where(inside[..., None], random.integers(0, 150, 3), random.integers(100, 255, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def save_model(folder: Path, seed: int, facts: dict, **changes) -> None:
    """A random network, its head scaled so that images come out as different classes."""
    torch.manual_seed(seed)
    recipe = tiny.recipe(backbone="resnet10t", drop_path=0.0, weights="none", **changes)
    network = Network(recipe, pretrained=False).eval()
    pixels = np.stack([decode(photograph(number), recipe.size, 50) for number in range(9)])
    last = [module for module in network.head.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.bias.zero_()
        logits = network(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
        scale = 2 / logits.std(dim=0)
        last.weight.mul_(scale[:, None])
        last.bias.copy_(-logits.mean(dim=0) * scale)
    save(folder, network.state_dict(), recipe, facts)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Two models, one with metadata, their decision, and images in a folder, in a zip, and alone."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "params.yaml", root)
    save_model(root / "models/first", 1, {})
    save_model(root / "models/second", 2, {}, metadata="concat")
    models = {name: digest(root / f"models/{name}/model.safetensors") for name in DECISION.recipes}
    DECISION.model_copy(update={"models": models}).save(root / "metrics/decision.json")
    (root / "folder/deeper/.hidden").mkdir(parents=True)
    (root / "folder/__MACOSX").mkdir()
    for number, name in enumerate(("a.jpg", "deeper/b.JPEG", "deeper/c.PnG", "d.jpg")):
        (root / "folder" / name).write_bytes(photograph(number, "PNG" if name.endswith("PnG") else "JPEG"))
    for name in ("deeper/.hidden/x.jpg", "._a.jpg", "__MACOSX/y.jpg", "notes.txt"):
        (root / "folder" / name).write_bytes(b"not an image")
    with zipfile.ZipFile(root / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4, 8):
            archive.writestr(f"inside/e{number}.jpg", photograph(number))
        archive.writestr("__MACOSX/inside/._e4.jpg", b"not an image")
    (root / "single.bmp").write_bytes(photograph(8, "BMP"))
    return root


def ids(project: Path) -> dict[str, bytes]:
    """image id -> file, in the order of the output."""
    files = {
        name: project / "folder" / path
        for name, path in zip("abcd", ("a.jpg", "deeper/b.JPEG", "deeper/c.PnG", "d.jpg"), strict=True)
    }
    content = {name: files[name].read_bytes() for name in "adbc"}
    return content | {f"e{number}": photograph(number) for number in range(4, 8)} | {"single": photograph(8, "BMP")}


@pytest.fixture
def predict(project, monkeypatch, tmp_path):
    """The command, parsed as typed, in this process; gives the table that it wrote."""
    monkeypatch.chdir(project)

    def call(*words: str) -> pd.DataFrame:
        output = tmp_path / "out" / "predictions.csv"
        monkeypatch.setattr(sys, "argv", ["dermaline", "predict", *words, "--device", "cpu", "--output", str(output)])
        __main__.main()
        return pd.read_csv(output)

    return call


def subprocess_predict(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dermaline", "predict", *words, "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def by_the_stage(project: Path, monkeypatch, name: str, **known) -> np.ndarray:
    """Raw probabilities as the predict stage writes them, for the same images as `prepare` packs them.

    Args:
        known: columns of the index: age, sex, localization.
    """
    options = whole.read(ROOT / "params.yaml")
    packed = [decode(content, options.prepare.size, 50) for content in ids(project).values()]
    index = pd.DataFrame({"row": range(len(packed)), "image_id": list(ids(project))})
    index = index.assign(lesion_id=index["image_id"], group=index["image_id"], dx="nv", **known)
    (project / "data/prepared").mkdir(parents=True, exist_ok=True)
    np.save(project / "data/prepared/images.npy", np.stack(packed))
    index.to_csv(project / "data/prepared/index.csv", index=False)
    split = index[["image_id"]].assign(split=["val", *["test"] * (len(packed) - 1)])
    split.to_csv(project / "data/split.csv", index=False)
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["stages.predict", name])
    predict_stage.main()
    table = pd.read_csv(project / f"data/predictions/{name}.csv", dtype={"model": str})
    assert list(table["image_id"]) == list(ids(project))
    assert set(table["model"]) == {digest(project / f"models/{name}/model.safetensors")}
    return table[list(CLASSES)].to_numpy()


def test_a_run_from_outside_agrees_with_the_pipeline_and_names_a_bad_image(project, monkeypatch, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photograph(2)[:-900])
    output = tmp_path / "predictions.csv"
    paths = ("folder", "more.zip", str(broken), "single.bmp")
    done = subprocess_predict(project, *paths, "--last-run", "--output", str(output))

    assert done.returncode == 1
    assert f"skipped {broken}: " in done.stderr
    assert (
        done.stderr.splitlines()[-1]
        == f"error: 1 of 10 images could not be used, see above; the others are in {output}"
    )
    assert done.stderr.count("without --metadata") == 1
    table = pd.read_csv(output)
    assert list(table.image_id) == list(ids(project))
    raw = [by_the_stage(project, monkeypatch, name, age=None) for name in DECISION.recipes]
    expected, predicted = DECISION.apply(raw)
    np.testing.assert_allclose(table[list(CLASSES)], expected, atol=2e-6)
    assert list(table.predicted) == [CLASSES[number] for number in predicted]
    assert list(table.melanoma_suspected) == list(expected[:, MELANOMA] >= 0.14)
    held = expected >= list(DECISION.set_rule.thresholds.values())
    held[np.arange(len(held)), predicted] = True
    assert [set(names.split()) for names in table.diagnoses] == [{*np.array(CLASSES)[row]} for row in held]
    assert [names.split()[0] for names in table.diagnoses] == list(table.predicted)
    assert list(table.not_sure) == [names.count(" ") > 0 for names in table.diagnoses]
    # The decision rule and the threshold both matter here.
    assert (predicted != expected.argmax(axis=1)).any()
    assert set(table.melanoma_suspected) == {True, False}


def test_a_folder_without_an_image_is_refused(predict, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DermalineError, match=f"{tmp_path}: no image there; name others"):
        predict(str(tmp_path))


def test_two_named_models_are_averaged_plainly(predict, capsys):
    one, other = (predict("folder", "--model", f"models/{name}") for name in NAMES)
    both = predict("folder", "--model", "models/first", "--model", "models/second", "--tta", "flips")
    assert "plain mean of 2 models, not calibrated" in capsys.readouterr().out
    mean = (one[list(CLASSES)] + other[list(CLASSES)]) / 2
    np.testing.assert_allclose(both[list(CLASSES)], mean, atol=2e-7)
    assert list(both.predicted) == list(mean.idxmax(axis=1))
    assert both[["melanoma_suspected", "diagnoses", "not_sure"]].isna().all(axis=None)


def test_isic_confidences_are_largest_where_the_decision_falls(predict):
    own, isic = (predict("folder", "more.zip", "--last-run", "--format", form) for form in ("csv", "isic"))
    assert list(isic) == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    assert list(isic.image) == list(own.image_id)
    confidences = isic.drop(columns="image")
    assert list(confidences.idxmax(axis=1).str.lower()) == list(own.predicted)
    np.testing.assert_allclose(confidences.sum(axis=1), 1, atol=1e-12)
    shares = own[list(CLASSES)] / np.array(list(DECISION.prior.values())) ** DECISION.tau
    shares = shares.div(shares.sum(axis=1), axis=0)
    np.testing.assert_allclose(confidences.rename(columns=str.lower)[list(CLASSES)], shares, atol=1e-5)


def test_metadata_reach_the_model_by_image_id(predict, project, monkeypatch, tmp_path, capsys):
    rows = pd.DataFrame(
        {"image_id": list(ids(project)), "age": range(10, 100, 10), "sex": "female", "localization": "back"}
    )
    path = tmp_path / "table.tsv"
    rows.drop(index=4).sample(frac=1, random_state=0).to_csv(path, sep="\t", index=False)
    words = ("folder", "more.zip", "single.bmp", "--model", "models/second")
    with_table, without = predict(*words, "--metadata", str(path)), predict(*words)
    assert "has no row for 1 of 9 images" in capsys.readouterr().err
    rows.loc[4, ["age", "sex", "localization"]] = None
    expected = by_the_stage(project, monkeypatch, "second", **rows.drop(columns="image_id"))
    np.testing.assert_allclose(with_table[list(CLASSES)], expected, atol=2e-6)
    differs = (with_table[list(CLASSES)] - without[list(CLASSES)]).abs().max(axis=1) > 1e-4
    assert list(differs[differs].index) == [0, 1, 2, 3, 5, 6, 7, 8]


def test_the_decision_looks_at_the_patients_too(predict, project, monkeypatch, tmp_path):
    rows = pd.DataFrame({"image_id": list(ids(project)), "age": [None, *range(20, 100, 10)], "sex": "female"})
    rows.to_csv(tmp_path / "table.csv", index=False)
    found = predict("folder", "more.zip", "single.bmp", "--last-run", "--metadata", str(tmp_path / "table.csv"))
    raw = [by_the_stage(project, monkeypatch, name, **rows.drop(columns="image_id")) for name in DECISION.recipes]
    expected, predicted = DECISION.apply(raw, encode(rows))
    np.testing.assert_allclose(found[list(CLASSES)], expected, atol=2e-6)
    assert list(found.predicted) == [CLASSES[number] for number in predicted]
    assert np.abs(expected - DECISION.apply(raw)[0]).max() > 0.05


def test_in_onnxruntime_it_is_the_same_in_fp32_whatever_the_recipe_computes_in(predict, project, monkeypatch, tmp_path):
    """With metadata."""
    rows = pd.DataFrame({"image_id": list(ids(project)), "age": range(10, 100, 10)})
    rows.to_csv(tmp_path / "ages.csv", index=False)
    words = ("folder", "more.zip", "single.bmp", "--metadata", str(tmp_path / "ages.csv"), "--model")
    for name, precision in (("half", "bf16-mixed"), ("full", "32-true")):
        save_model(tmp_path / name, 2, {}, metadata="concat", precision=precision)
    exact, rounded = (predict(*words, str(tmp_path / name)) for name in ("full", "half"))
    found = predict(*words, str(tmp_path / "half"), "--backend", "onnx")
    np.testing.assert_allclose(found[list(CLASSES)], exact[list(CLASSES)], atol=1e-5)
    assert (found[list(CLASSES)] - rounded[list(CLASSES)]).abs().max(axis=None) > 1e-4


def test_quick_is_the_middle_of_the_photograph_at_each_scale(predict, tmp_path):
    stated = {"prepared_size": [96, 128], "predict": {"tta": "flips", "grid": [3, 3], "scales": 3}}
    save_model(tmp_path / "mixed", 1, stated, view="mixed", crop_from=(96, 128))
    words = ("single.bmp", "--model", str(tmp_path / "mixed"))
    network, recipe = load(tmp_path / "mixed")
    image = torch.tensor(decode(photograph(8, "BMP"), (96, 128), 50)[None]).permute(0, 3, 1, 2)
    seen = [resized(image, size) for size in ((32, 48), (55, 78), (96, 128))]  # at each, a window of 32 x 48
    seen = [
        one[..., (h := (one.shape[2] - 32) // 2) : h + 32, (w := (one.shape[3] - 48) // 2) : w + 48] for one in seen
    ]
    expected = np.mean([probabilities(network, one, setup_fabric("cpu", "32-true")).numpy() for one in seen], axis=0)
    assert recipe.size == (32, 48)
    np.testing.assert_allclose(predict(*words, "--quick")[list(CLASSES)], expected, atol=2e-6)
    assert np.abs(predict(*words)[list(CLASSES)] - expected).max(axis=None) > 1e-4


def test_a_model_that_states_its_preparation_is_prepared_so(predict, project, tmp_path):
    save_model(
        tmp_path / "stated", 1, {"prepared_size": [40, 60], "predict": {"tta": "none", "grid": [3, 3], "scales": 3}}
    )
    found = predict("single.bmp", "--model", str(tmp_path / "stated"))
    network, recipe = load(tmp_path / "stated")
    image = torch.tensor(decode(photograph(8, "BMP"), (40, 60), 50)[None]).permute(0, 3, 1, 2)
    image = resized(image, recipe.size)
    expected = probabilities(network, image, setup_fabric("cpu", "32-true")).numpy()
    np.testing.assert_allclose(found[list(CLASSES)], expected, atol=2e-6)


def test_an_output_that_is_a_folder_is_refused_before_the_work(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["dermaline", "predict", "folder", "--output", str(tmp_path)])
    monkeypatch.setattr(photographs, "decoded", None)
    with pytest.raises(DermalineError, match=f"{tmp_path}: is a folder"):
        __main__.main()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_a_name_in_another_encoding_does_not_stop_the_others(predict, tmp_path):
    for name in (b"m\xe9lanome.jpg", b"plain.jpg"):
        (tmp_path / os.fsdecode(name)).write_bytes(photograph(1))
    assert list(predict(str(tmp_path), "--model", "models/first").image_id) == ["m\\udce9lanome", "plain"]


def test_a_zip_in_a_folder_is_not_opened_which_is_said(predict, project, capsys):
    shutil.copy(project / "more.zip", project / "folder/deeper")
    try:
        assert list(predict("folder", "--model", "models/first").image_id) == ["a", "d", "b", "c"]
    finally:
        (project / "folder/deeper/more.zip").unlink()
    assert "zips in folder are not opened; name them" in capsys.readouterr().err


def test_two_images_of_one_name_are_told_apart(predict, tmp_path):
    (tmp_path / "a.png").write_bytes(photograph(1, "PNG"))
    table = predict("folder", str(tmp_path / "a.png"), str(tmp_path / "a.png"), "--model", "models/first")
    assert list(table.image_id) == ["folder/a", "d", "b", "c", f"{tmp_path.name}/a"]


def test_an_image_that_is_not_read_here_is_named_and_the_status_says_so(predict, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, kind in {"a.webp": "WEBP", "b.tif": "TIFF", "d.jpg": "AVIF"}.items():
        (photos / name).write_bytes(photograph(1, kind).replace(b"av01", b"aw01"))
    (photos / "e.HEIC").write_bytes(b"an image")
    with pytest.raises(DermalineError, match="2 of 4 images could not be used, see above; the others are in"):
        predict(str(photos), "--model", "models/first")
    said = capsys.readouterr().err
    assert f"skipped {photos / 'd.jpg'}: can't be decoded" in said
    assert f"skipped {photos / 'e.HEIC'}: .HEIC files are not read; convert it" in said
    assert list(pd.read_csv(tmp_path / "out/predictions.csv").image_id) == ["a", "b"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_linked_output_is_written_through(predict, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/predictions.csv").symlink_to(tmp_path / "target.csv")
    table = predict("single.bmp", "--model", "models/first")
    assert (tmp_path / "out/predictions.csv").is_symlink()
    assert pd.read_csv(tmp_path / "target.csv").equals(table)


def test_nothing_is_written_when_no_image_can_be_used(predict, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DermalineError, match="none of 1 images"):
        predict(str(tmp_path / "broken.jpg"), "--model", "models/first")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "nowhere: no such file or folder"),
        (("params.yaml.zip",), "params.yaml.zip: not a whole zip"),
        (("folder", "--model", "models/third"), "models/third: not a trained model"),
        (
            ("folder", "--model", "models/first", "--decision", "metrics/decision.json"),
            "is of the models second, first",
        ),
        (("folder", "--decision", "metrics/decision.json"), "of which models"),
        (("folder",), "released/decision.json: not found"),
        (("folder", "--last-run", "--metadata", "folder/notes.txt"), "no column 'image_id'"),
    ],
)
def test_what_can_not_be_done_is_said(predict, project, words, message):
    shutil.copy(project / "params.yaml", project / "params.yaml.zip")
    (project / "folder/notes.txt").write_text("sex,age\nmale,50\n")
    with pytest.raises(DermalineError, match=message):
        predict(*words)


def test_blocks_come_in_order_however_many_there_are(project, monkeypatch):
    monkeypatch.setattr(photographs, "BLOCK", 2)
    monkeypatch.setattr(photographs, "PREFETCH_BLOCKS", 3)
    found = photographs.find([project / "folder", project / "more.zip"])
    blocks = list(photographs.decoded(found, [(24, 32), (12, 16)], 50))
    assert [name for block in blocks for name in block.image_ids] == [one.image_id for one in found]
    assert [block.images[12, 16].shape for block in blocks] == [(2, 12, 16, 3)] * 4
    assert (blocks[3].images[24, 32][1] == decode(photograph(7), (24, 32), 50)).all()


def test_an_entry_that_a_zip_has_lost_is_named_alone(project, tmp_path):
    content = bytearray((project / "more.zip").read_bytes())
    start = content.index(b"inside/e5.jpg") + 200
    content[start : start + 60] = bytes(60)
    path = tmp_path / "damaged.zip"
    path.write_bytes(content)
    (block,) = photographs.decoded(photographs.find([path]), [(24, 32)], 50)
    assert list(block.bad) == [f"{path}: inside/e5.jpg"]
    assert block.image_ids == ["e4", "e6", "e7"]
