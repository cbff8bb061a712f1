"""Outlines: who learns from what, that it learns, that it goes on after a stop, and what is measured."""

import json
from types import SimpleNamespace

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parameters import put_parameters
from PIL import Image
from scipy.stats import ttest_1samp
from sklearn.metrics import f1_score, jaccard_score
from test_predict_command import save_model
from torchvision.transforms.v2.functional import resize

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.base.parameters import load
from dermaline.compute import setup_fabric
from dermaline.data.photographs import in_memory
from dermaline.data.split import deal
from dermaline.evaluation import rates
from dermaline.params.segment import Segment
from dermaline.segmentation import network, scores
from dermaline.segmentation.outlines import inside, probabilities
from dermaline.segmentation.train import FoldTraining, loss_of, train
from dermaline.training.augment import augment
from dermaline.training.checkpoint import ResumeCheckpoint
from stages import outline, segment

SMALL = {"size": (32, 64), "precision": "32-true", "batch_size": 8, "lr": 5e-3, "ema": 0.7, "epochs": 6}


NOT_KEPT = SimpleNamespace(load=lambda: None, save=lambda state: None)  # 84 MB an epoch, which nobody reads


def options(**changes) -> Segment:
    return Segment.model_validate(load(Segment, "segment").model_dump() | SMALL | changes)


def disks(count: int, seed: int, size: tuple[int, int] = (32, 64)) -> torch.Tensor:
    """Photographs uint8 [N, 4, H, W] of a dark disk on bright noise; the fourth channel is its outline."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices(size)
    found = []
    for _ in range(count):
        middle, radius = random.uniform(0.35, 0.65, 2) * size, random.uniform(6, 12)
        mask = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2
        photograph = random.uniform(150, 255, (3, *size)) * np.where(mask, 0.4, 1)
        found.append(np.concatenate([photograph, mask[None] * 255]))
    return torch.from_numpy(np.array(found).astype(np.uint8))


@pytest.fixture(scope="module")
def fabric():
    return setup_fabric("cpu", "32-true")


# ---- folds


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(CLASSES)), min_size=1, max_size=90), st.integers(2, 5))
def test_a_group_is_in_one_fold_and_each_diagnosis_is_dealt_out_evenly(rows, folds):
    diagnosis = dict(rows)
    index = pd.DataFrame({"group": [f"g{number}" for number, _ in rows], "dx": [diagnosis[n] for n, _ in rows]})
    dealt = deal(index, folds, 0)
    assert dealt.groupby(index.group).nunique().eq(1).all()
    assert dealt.between(0, folds - 1).all()
    of_groups = index.assign(fold=dealt).drop_duplicates("group")
    counts = pd.crosstab(of_groups.dx, of_groups.fold).reindex(columns=range(folds), fill_value=0)
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    turned = index.sample(frac=1, random_state=1)
    assert deal(turned, folds, 0).sort_index().equals(dealt)


# ---- training


def test_the_outline_goes_along_with_the_photograph_in_shape_and_not_in_colour():
    images = disks(6, 0)
    images[:, :3] = images[:, 3:]  # so that photograph and outline are to stay the same
    chosen, generators = torch.arange(6), [torch.Generator().manual_seed(3) for _ in range(2)]
    plain = options(brightness=0, contrast=0, saturation=0, colour_cast=0)
    given_, device = ([in_memory(images)], chosen, (32, 64)), torch.device("cpu")
    still = augment(*given_, plain, generators[0], device)
    assert torch.allclose(still[:, 0], still[:, 3], atol=1e-5)
    assert not torch.allclose(still[:, 3], images[:, 3] / 255, atol=0.1)  # it was turned
    coloured = augment(*given_, options(random_erasing=1), generators[1], device)
    assert torch.equal(coloured[:, 3], still[:, 3])
    assert not torch.allclose(coloured[:, :3], still[:, :3], atol=0.02)


def test_the_loss_is_least_for_the_outline_itself_and_counts_images_alike():
    masks = disks(2, 0)[:, 3] / 255
    right = (masks * 2 - 1) * 20
    assert loss_of(right, masks) < 1e-3
    assert loss_of(-right, masks) > 10
    logits = torch.randn(2, *masks.shape[1:], generator=torch.Generator().manual_seed(0))
    masks[1] *= torch.arange(masks.shape[2]) < 36  # of which less is inside
    found, each, pixels = logits.sigmoid(), (1, 2), torch.nn.functional.binary_cross_entropy(logits.sigmoid(), masks)
    dice = (2 * (found * masks).sum(each) + 2) / (found.sum(each) + masks.sum(each) + 2)  # twice `smooth`
    assert loss_of(logits, masks).item() == pytest.approx((pixels + (1 - dice).mean()).item(), abs=1e-5)


def test_each_network_learns_from_the_other_folds_alone(fabric):
    """Of fold 1 the outlines are turned inside out: the network that learned from fold 0 knows nothing of that."""
    images = disks(16, 1)
    folds = torch.arange(16) % 2
    images[folds == 1, 3] = 255 - images[folds == 1, 3]
    chosen = options(epochs=12)
    trained = train(chosen, [in_memory(images)], folds, fabric, NOT_KEPT, lambda line: None)
    new = disks(6, 2)
    known = new[:, 3].numpy() > 0
    found = []
    for weights in trained:
        one = network.UNet(chosen, pretrained=False).eval()
        one.load_state_dict(weights)
        found.append(probabilities([one], new[:, :3], fabric) > 127)
    for masks in (found[1], ~found[0]):
        assert np.mean([scores.jaccard(*pair) for pair in zip(masks, known, strict=True)]) > 0.7


class Stopped(Exception):
    """What a test stops a training with."""


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_bits(fabric, tmp_path):
    given_ = (options(epochs=3), [in_memory(disks(8, 1))], torch.arange(8) % 2, fabric)
    whole = train(*given_, ResumeCheckpoint(str(tmp_path / "whole")), lambda line: None)
    scratch, lines = ResumeCheckpoint(str(tmp_path / "stopped")), []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("fold"):
            raise Stopped

    for _ in range(4):  # in the middle of a network's training, and at its end
        with pytest.raises(Stopped):
            train(*given_, scratch, say)
    resumed = train(*given_, scratch, lines.append)
    assert sum(line.startswith("fold") for line in lines) == 6  # no epoch was trained twice
    for one, other in zip(whole, resumed, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("epochs", [1, 9, 10, 11])
def test_the_rate_rises_and_falls_however_few_steps_there_are(fabric, epochs):
    training = FoldTraining(options(epochs=epochs, weights="none"), 0, torch.arange(4), fabric)
    rates = []
    for _ in range(epochs):
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.optimizer.step()
        training.schedule.step()
    assert all(0 < rate <= 5e-3 for rate in rates)
    assert rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)


def test_a_backbone_without_weights_for_a_u_net_is_refused_in_one_line():
    for changes, said in (
        ({"backbone": "resnet_of_nowhere"}, "timm has no 'resnet_of_nowhere'"),
        ({"backbone": "convnext_atto", "weights": "none"}, "its weights do not fit a U-Net"),
        ({"backbone": "test_vit", "weights": "none"}, "no U-Net of test_vit"),
        ({"backbone": "resnet18"}, "no bundled weights for 'resnet18'"),
    ):
        with pytest.raises(DermalineError, match=said):
            network.UNet(options(**changes), pretrained=True)
    with pytest.raises(ValueError, match="no multiple of 32"):
        options(size=(48, 64))


def test_broken_weights_are_one_line(tmp_path):
    chosen = options()
    network.save(tmp_path / "made", [network.UNet(chosen, pretrained=False).state_dict()], chosen, {})
    assert network.load(tmp_path / "made", "cpu")[0] == chosen
    (tmp_path / "made/fold_0.safetensors").write_bytes(b"half")
    with pytest.raises(DermalineError, match=r"made: no trained U-Nets .* run the segment stage"):
        network.load(tmp_path / "made", "cpu")


# ---- scores


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_overlaps_are_those_of_scikit_learn(seed, share, other):
    random = np.random.default_rng(seed)
    found, known = random.random((6, 9)) < share, random.random((6, 9)) < other
    told = scores.agreement(found, known)
    if (found | known).any():
        assert told["jaccard"] == pytest.approx(jaccard_score(known.ravel(), found.ravel()))
        assert told["dice"] == pytest.approx(f1_score(known.ravel(), found.ravel()))
    assert told["thresholded_jaccard"] == (told["jaccard"] if told["jaccard"] >= 0.65 else 0)
    swapped = scores.agreement(known, found)
    assert told == pytest.approx(swapped)


def test_the_distance_of_boundaries():
    known = np.zeros((60, 80), bool)
    known[20:40, 20:60] = True
    assert scores.boundary_distance(known, known) == 0
    grown = np.zeros_like(known)
    grown[17:43, 17:63] = True
    # 3 pixels from everywhere, but for the grown corners: of a diagonal of 100 pixels
    assert scores.boundary_distance(grown, known) == pytest.approx(0.03, abs=0.0005)
    assert scores.boundary_distance(np.zeros_like(known), known) == 1
    assert scores.boundary_distance(np.zeros_like(known), np.zeros_like(known)) == 0


def test_thresholds_find_a_dark_saturated_lesion():
    image = np.full((40, 60, 3), (220, 190, 180), np.uint8)
    image[10:30, 20:40] = (120, 60, 40)
    for mask in scores.by_threshold(image).values():
        assert mask[10:30, 20:40].all()
        assert mask.sum() == 400


def test_the_interval_of_a_mean_over_lesions():
    random = np.random.default_rng(0)
    values = random.normal(size=30)
    low, high = rates.of_clusters(values, np.arange(30))
    assert (low, high) == pytest.approx(tuple(ttest_1samp(values, 0).confidence_interval(0.95)))
    assert np.isnan(rates.of_clusters(values, np.zeros(30, int))).all()
    held = []
    for _ in range(600):
        group = random.integers(0, 25, 60)
        low, high = rates.of_clusters(random.normal(size=25)[group] + random.normal(size=60) / 2, group)
        held.append(low <= 0 <= high)
    assert 0.91 < np.mean(held) < 0.98
    alone = [ttest_1samp(random.normal(size=25)[random.integers(0, 25, 60)], 0).pvalue > 0.05 for _ in range(300)]
    assert np.mean(alone) < 0.9  # what counts the images alone does not hold


def test_what_is_told_of_the_outlines():
    table = pd.DataFrame({"group": [f"g{n // 2}" for n in range(60)], "dx": ["nv"] * 50 + ["mel"] * 10})
    table = table.assign(**dict.fromkeys(scores.SCORES, 0.9), otsu_blue=0.6, otsu_saturation=0.5)
    val = table.assign(otsu_saturation=0.7)
    told = scores.report(val, table)
    assert told["test"]["images"] == 60
    assert told["test"]["lesions"] == 30
    assert list(told["by_class"]) == ["nv"]  # of melanoma there are five lesions
    assert told["better"].pop("than") == "otsu_saturation"
    assert told["better"] == pytest.approx({"value": 0.4, "low": 0.4, "high": 0.4})
    json.dumps(told, allow_nan=False)


def test_an_enlarged_outline_lies_where_the_small_one_does():
    small = np.zeros((32, 64), np.uint8)
    small[8:24, 16:48] = 255
    wide = inside(small, (96, 192))
    assert wide.sum() == pytest.approx(48 * 96, rel=0.03)
    assert wide[26:70, 50:142].all()


# ---- the stages


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A small project with outlines, after both stages."""
    folder = tmp_path_factory.mktemp("outlines")
    table = fakes.project(folder, lesions=90)
    photographs = disks(len(table), 5, (48, 64)).permute(0, 2, 3, 1).numpy()
    np.save(folder / "data/prepared/images.npy", photographs[..., :3])
    np.save(folder / "data/prepared/masks.npy", photographs[..., 3] // 255)
    small = {"size": [32, 64], "precision": "32-true", "batch_size": 8, "lr": 5e-3, "ema": 0.7, "epochs": 2}
    put_parameters(folder, {f"segment.{key}": value for key, value in small.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        segment.main()
        outline.main()
    return folder


@pytest.fixture
def run(project, monkeypatch):
    monkeypatch.chdir(project)
    return project


def test_a_start_from_a_model_that_may_have_seen_the_test_is_refused(run, tmp_path):
    save_model(tmp_path / "other", 1, {"split": "another"})
    put_parameters(run, {"segment.weights": str(tmp_path / "other/model.safetensors")})
    with pytest.raises(
        DermalineError, match=r"segment.weights: a model that was trained here may have learned from the photographs"
    ):
        segment.main()
    put_parameters(run, {"segment.weights": "bundled"})


def test_networks_learn_from_photographs_of_training_alone(run, monkeypatch):
    def examples(rows, size, device):
        split = pd.read_csv("data/split.csv")
        assert sorted(rows["image_id"]) == sorted(split.query("split == 'train'")["image_id"])
        raise Stopped

    monkeypatch.setattr(segment, "examples", examples)
    with pytest.raises(Stopped):
        segment.main()


def test_every_photograph_is_outlined_and_what_is_known_is_compared(run):
    index = pd.read_csv(run / "data/prepared/index.csv")
    split = pd.read_csv(run / "data/split.csv")
    found = np.load(run / "data/outlines.npy")
    assert found.shape == (len(index), 32, 64)
    assert (found.reshape(len(found), -1).max(axis=1) > 0).all()
    told = json.loads((run / "metrics/segmentation.json").read_text())
    assert told["test"]["images"] == (split.split == "test").sum()
    assert told["test"]["jaccard"]["low"] < told["test"]["jaccard"]["value"] < told["test"]["jaccard"]["high"]
    assert told["test"]["jaccard"]["value"] > 0.5
    with Image.open(run / "plots/outlines.png") as figure:
        assert min(figure.size) > 500


def test_a_training_photograph_is_outlined_by_the_network_that_has_not_seen_it(run):
    found, folder = np.load(run / "data/outlines.npy"), run / "models/segmentation"
    chosen, networks, _ = network.load(folder, "cpu")
    index = pd.read_csv(run / "data/prepared/index.csv").merge(pd.read_csv(run / "data/split.csv"))
    train_ = index[index.split == "train"]
    fold = deal(train_, chosen.folds, chosen.seed)
    images = torch.tensor(np.load(run / "data/prepared/images.npy")).permute(0, 3, 1, 2)
    fabric = setup_fabric("cpu", "32-true")
    for number, one in enumerate(networks):
        own = train_[fold == number].row.to_numpy()[:8]
        small = resize(images[own], list(chosen.size), antialias=True)
        assert np.abs(probabilities([one], small, fabric).astype(int) - found[own]).max() <= 1
        other = networks[1 - number]
        others = index[index.split != "train"].row.to_numpy()[:8]
        mean = probabilities(networks, resize(images[others], list(chosen.size), antialias=True), fabric).astype(int)
        assert np.abs(mean - found[others]).max() <= 1
        assert np.abs(probabilities([other], small, fabric).astype(int) - found[own]).max() > 20


def test_without_outlines_nothing_is_learned_and_that_is_said(run):
    masks = run / "data/prepared/masks.npy"
    masks.rename(run / "masks.npy")
    try:
        segment.main()
        outline.main()
    finally:
        (run / "masks.npy").rename(masks)
    assert json.loads((run / "models/segmentation/segmentation.json").read_text())["networks"] == 0
    assert json.loads((run / "metrics/segmentation.json").read_text()) == {}
    assert np.load(run / "data/outlines.npy").shape == (0, 32, 64)
    assert (run / "plots/outlines.png").stat().st_size > 0


def test_outlines_of_one_fold_alone_are_too_few_to_learn_from(run, capsys):
    masks = np.load(run / "data/prepared/masks.npy")
    kept = masks.copy()
    masks[1:] = 0
    np.save(run / "data/prepared/masks.npy", masks)
    try:
        segment.main()
        outline.main()
    finally:
        np.save(run / "data/prepared/masks.npy", kept)
    assert "too few to learn from" in capsys.readouterr().err
    assert json.loads((run / "metrics/segmentation.json").read_text()) == {}
