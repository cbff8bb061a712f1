"""Images that are no dermatoscopic photographs: the density against scikit-learn and SciPy, the stage and `predict`."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from parameters import put_parameters
from PIL import Image
from scipy.stats import multivariate_normal
from sklearn.covariance import ShrunkCovariance
from sklearn.metrics import roc_auc_score
from stage import generated

from dermaline import __main__
from dermaline.base.errors import DermalineError
from dermaline.base.files import digest
from dermaline.commands.predict import FORMATS
from dermaline.inference.ensemble import Prediction, plain
from dermaline.models.model_io import save
from dermaline.models.network import Network
from dermaline.ood import density, detector, non_lesions, packaged, report
from dermaline.user_files.forms import ISIC
from stages import ood, prepare, split

SIZE = (48, 64)
FOLDER = Path("models/out_of_distribution")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project after its first stages and `ood`, on generated photographs, with a model and a decision."""
    root = tmp_path_factory.mktemp("made")
    small = {"data.synthetic.images": 100, "data.synthetic.size": [96, 128], "prepare.size": [96, 128]}
    put_parameters(root, small | {"ood.size": SIZE, "ood.drawn": 6, "ood.false_alarms": 0.1})
    generated(root, prepare, split, ood)
    recipe = tiny.recipe(backbone="resnet10t", drop_path=0.0, weights="none")
    save(root / "models/lite0", Network(recipe, pretrained=False).state_dict(), recipe, {})
    models = {"lite0": digest(root / "models/lite0/model.safetensors")}
    plain(["lite0"]).model_copy(update={"models": models}).save(root / "metrics/decision.json")
    with zipfile.ZipFile(root / "data/raw/images.zip") as archive:
        for name in archive.namelist()[:12]:
            archive.extract(name, root / "photos")
    Image.new("RGB", (400, 300), (250, 250, 250)).save(root / "photos/blank.png")
    return root


@pytest.fixture
def project(made, monkeypatch) -> Path:
    monkeypatch.chdir(made)
    return made


def predict(output: Path, *words: str) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dermaline", "predict", *words, "--device", "cpu", "--output", str(output)])
        __main__.main()
    return pd.read_csv(output)


def photographs(count: int) -> torch.Tensor:
    """uint8 [count, 3, height, width], coloured."""
    kinds = ("clouds", "shapes")
    drawn = np.concatenate([non_lesions.drawn(kind, count // 2, SIZE, 3) for kind in kinds])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def correlated(rows: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, 7)) @ random.normal(size=(7, 7)) * np.arange(1, 8) + 5


def test_the_density_is_scikit_learns_of_standardised_features_and_scipys():
    features, others = correlated(200), correlated(50, 1)
    found = density.fit(torch.from_numpy(features), 0.1)
    distances = found.distances(torch.from_numpy(others)).numpy()
    mean, scale = features.mean(axis=0), features.std(axis=0)
    reference = ShrunkCovariance(shrinkage=0.1, assume_centered=True).fit((features - mean) / scale)
    np.testing.assert_allclose(distances, reference.mahalanobis((others - mean) / scale) / 7, rtol=1e-4)
    normal = multivariate_normal(mean, reference.covariance_ * np.outer(scale, scale))
    np.testing.assert_allclose(distances, 2 / 7 * (normal.logpdf(mean) - normal.logpdf(others)), rtol=1e-4)


def test_training_images_have_a_score_of_1_on_average_and_a_feature_that_lies_on_others_does_no_harm():
    features = torch.from_numpy(correlated(300))
    assert density.fit(features, 0.0001).distances(features).mean().item() == pytest.approx(1, abs=0.03)
    twice = torch.cat([features, features[:, :1]], dim=1)
    assert density.fit(twice, 0.01).distances(twice).isfinite().all()


@given(
    st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=4), min_size=9, max_size=60),
    st.sampled_from([0.1, 0.2, 0.34]),
)
def test_of_validations_lesions_no_larger_share_than_promised_is_called_so(lesions, false_alarms):
    group = np.repeat(np.arange(len(lesions)), [len(one) for one in lesions])
    scores = np.concatenate(lesions).astype(float)
    threshold = detector.fit_threshold(scores, group, false_alarms)

    def alarms(limit):
        return pd.Series(scores > limit).groupby(group).mean().mean()

    assert alarms(threshold) <= false_alarms
    lower = scores[scores < threshold]
    if len(lower):  # the next lower threshold breaks the promise, which counts a lesion more that is never found
        assert (alarms(lower.max()) * len(lesions) + 1) / (len(lesions) + 1) > false_alarms - 1e-9


def test_too_few_lesions_give_their_largest_score():
    assert detector.fit_threshold(np.array([1.0, 3.0, 2.0]), np.arange(3), 0.01) == 3


def test_a_score_depends_on_the_image_alone(project):
    found, images = detector.load(FOLDER, torch.device("cpu")), photographs(10)
    together = found.scores(images)
    np.testing.assert_allclose(found.scores(images.flip(0))[::-1], together, rtol=1e-4)
    np.testing.assert_allclose(np.concatenate([found.scores(one[None]) for one in images]), together, rtol=1e-4)
    assert len(set(together)) == len(images)


def test_the_stage_finds_what_shows_no_lesion_and_lets_lesions_be(project):
    told = json.loads(Path("metrics/ood.json").read_text())
    assert told["val"]["false_alarms"] <= 0.1
    assert told["test"]["low"] <= told["test"]["false_alarms"] <= told["test"]["high"] < 0.6
    kinds = told["without_lesion"]
    assert list(kinds) == [*non_lesions.DRAWN, "shuffled", "faces", "photographs"]
    for kind in set(kinds) - {"shuffled"}:
        assert kinds[kind]["detected"] > 0.8, kind
        assert kinds[kind]["auc"] > 0.9, kind
    assert (kinds["faces"]["images"], kinds["photographs"]["images"]) == (100, len(packaged.PHOTOGRAPHS))
    assert kinds["photographs"]["detected"] == pytest.approx(np.mean(list(told["photographs"].values())), abs=1e-6)
    facts = json.loads((FOLDER / "detector.json").read_text())
    assert (facts["threshold"], facts["prepared_size"]) == (told["threshold"], [96, 128])


@pytest.mark.parametrize("most", [1000, 30])
def test_the_density_is_of_training_the_threshold_of_validation_images(project, monkeypatch, most):
    class Enough(Exception):
        """After what is fitted and scored, before anything is written."""

    seen = []

    def of_rows(extract, rows):
        seen.append(set(rows["image_id"]))
        return torch.randn(len(rows), 8, generator=torch.Generator().manual_seed(len(seen)))

    def fit_threshold(found, group, false_alarms):
        assert len(found) == len(group) == len(seen[1])
        raise Enough

    load = ood.load
    few = {"fit_images": most}
    monkeypatch.setattr(
        ood, "load", lambda kind, name: load(kind, name).model_copy(update=few) if name == "ood" else load(kind, name)
    )
    monkeypatch.setattr(ood, "of_rows", of_rows)
    monkeypatch.setattr(detector, "fit_threshold", fit_threshold)
    with pytest.raises(Enough):
        ood.main()
    split = pd.read_csv("data/split.csv").groupby("split")["image_id"].agg(set)
    assert seen[1:] == [split["val"], split["test"]]
    assert seen[0] == split["train"] if most == 1000 else (seen[0] < split["train"] and len(seen[0]) == most)


def test_predict_says_which_images_are_no_dermatoscopic_ones(project, tmp_path, capsys):
    table = predict(tmp_path / "out.csv", "photos", "--last-run").set_index("image_id")
    assert list(table)[-1] == "out_of_distribution"
    assert table.loc["blank", "out_of_distribution"]
    count = table["out_of_distribution"].sum()
    assert 1 <= count <= 4
    assert f"note: {count} of 13 images are unlike" in capsys.readouterr().err
    table.reset_index()[["image_id", "predicted"]].rename(columns={"predicted": "dx"}).to_csv(tmp_path / "truth.csv")
    words = ["dermaline", "score", str(tmp_path / "out.csv"), str(tmp_path / "truth.csv")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*words, "--output", str(tmp_path / "scores.json")])
        __main__.main()
    assert json.loads((tmp_path / "scores.json").read_text())


def test_isics_form_and_models_that_are_named_have_no_such_column(project, tmp_path, capsys):
    shares = np.full((2, 7), 1 / 7)
    prediction = Prediction(shares, np.zeros(2, int), None, None, shares, np.array([True, False]))
    assert list(FORMATS["csv"](["a", "b"], prediction)["out_of_distribution"]) == ["true", "false"]
    assert list(FORMATS["isic"](["a", "b"], prediction)) == ["image", *(name.upper() for name in ISIC.values())]
    assert "out_of_distribution" not in predict(tmp_path / "named.csv", "photos/blank.png", "--model", "models/lite0")
    assert "unlike" not in capsys.readouterr().err


def test_what_was_cut_short_or_is_of_two_fits_is_refused_in_one_line(project, tmp_path):
    found, folder = detector.load(FOLDER, torch.device("cpu")), tmp_path / "detector"
    (tmp_path / ".detector.partial").mkdir()  # as a killed run leaves it
    facts = found.facts.model_dump()
    detector.save(folder, found.density, {name: facts[name] for name in facts if name != "density"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector"]
    assert detector.load(folder, torch.device("cpu")).facts == found.facts
    whole = (folder / "density.safetensors").read_bytes()
    (folder / "density.safetensors").write_bytes(whole[:-4] + b"else")
    with pytest.raises(DermalineError, match=r"density\.safetensors: not that of detector\.json; run git checkout and"):
        detector.load(folder, torch.device("cpu"))
    for other in (density.Density(torch.zeros(3), torch.eye(3)), found.density._replace(mean=torch.zeros(1, 112))):
        detector.save(folder, other, {name: facts[name] for name in facts if name != "density"})
        with pytest.raises(DermalineError, match=r"not a detector \(.* is of other features\)"):
            detector.load(folder, torch.device("cpu"))
    (folder / "density.safetensors").unlink()
    with pytest.raises(DermalineError, match=r"detector: not a detector .*; run the stage ood"):
        detector.load(folder, torch.device("cpu"))
    (folder / "detector.json").write_text('{"density": ')
    with pytest.raises(DermalineError, match=r"detector: not a detector .*; run the stage ood"):
        detector.load(folder, torch.device("cpu"))


@pytest.mark.parametrize("kind", non_lesions.DRAWN)
def test_drawn_images_are_the_same_for_a_seed_and_others_for_another(kind):
    assert non_lesions.drawn(kind, 3, (16, 17), 1).shape == (3, 16, 17, 3)  # the least that `prepare.size` may be
    images = non_lesions.drawn(kind, 6, SIZE, 1)
    assert images.shape == (6, *SIZE, 3)
    assert images.dtype == np.uint8
    assert (non_lesions.drawn(kind, 3, SIZE, 1) == images[:3]).all()
    assert len({image.tobytes() for image in [*images, *non_lesions.drawn(kind, 6, SIZE, 2)]}) == 12


def test_a_photograph_cut_up_keeps_its_pixels_and_loses_its_order():
    images = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), np.uint8)
    cut = non_lesions.shuffled(images, 0)
    for before, after in zip(images, cut, strict=True):
        assert (np.sort(before.reshape(-1, 3), axis=0) == np.sort(after.reshape(-1, 3), axis=0)).all()
        assert (before != after).mean() > 0.8
    tiles = {
        images[0][top : top + 12, left : left + 16].tobytes() for top in range(0, 48, 12) for left in range(0, 64, 16)
    }
    assert cut[0][12:24, 16:32].tobytes() in tiles


@pytest.mark.parametrize("name", packaged.PHOTOGRAPHS)
def test_the_quarters_of_a_photograph_are_its_own(name):
    whole, *quarters = packaged.views(name, SIZE)
    pasted = np.vstack([np.hstack(quarters[:2]), np.hstack(quarters[2:])])
    half = Image.fromarray(pasted).resize(SIZE[::-1], Image.Resampling.BOX)
    assert np.abs(np.asarray(half).astype(int) - whole).mean() < 12


def test_the_report_counts_a_lesion_once_and_its_auc_is_scikit_learns():
    rows = pd.DataFrame({"group": ["a", "a", *map(str, range(30))], "dx": ["mel", "mel", *["nv"] * 30]})
    scores = np.array([9.0, 1.0, 8.0, *[1.0] * 29])
    told = report.of_lesions(rows, scores, 5)
    assert told["false_alarms"] == pytest.approx(1.5 / 31)
    assert (told["images"], told["lesions"]) == (32, 31)
    assert list(told["by_diagnosis"]) == ["nv"]  # of one lesion nothing is told
    assert told["by_diagnosis"]["nv"]["false_alarms"] == pytest.approx(1 / 30)
    others = np.array([[9.0, 2.0], [0.5, 7.0], [6.0, 8.0]])
    told = report.of_others(others, 5, scores)
    assert (told["images"], told["detected"]) == (3, pytest.approx(2 / 3))
    assert told["auc"] == pytest.approx(roc_auc_score([1] * 6 + [0] * 32, [*others.ravel(), *scores]))


def test_a_detector_of_another_split_is_refused(tmp_path):
    fitted = density.fit(torch.randn(200, 4), 0.01)
    facts = {"threshold": 3.0, "size": (32, 48), "prepared_size": (48, 64), "fit_images": 9, "val_lesions": 9}
    detector.save(tmp_path / "of", fitted, facts | {"false_alarms": 0.01, "split": "aaaa"})
    detector.require_split(tmp_path / "of", ["aaaa", None])
    with pytest.raises(DermalineError, match="of: fitted on another split than the models"):
        detector.require_split(tmp_path / "of", ["aaaa", "bbbb"])


@pytest.mark.parametrize("content", [None, "half", "{}"])
def test_of_a_broken_detector_the_split_is_one_line_too(tmp_path, content):
    if content is not None:
        (tmp_path / "detector.json").write_text(content)
    with pytest.raises(DermalineError, match=r"^[^\n]*not a detector .*; run the stage ood$|detector\.json"):
        detector.require_split(tmp_path, ["aaaa"])
