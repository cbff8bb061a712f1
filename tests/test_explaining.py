"""Maps of what speaks for a class, and the checks of them: against captum, against networks whose answer is known."""

import sys

import fakes
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from captum.attr import LayerGradCam
from hypothesis import given
from hypothesis import strategies as st
from parameters import put_parameters
from scipy.stats import spearmanr, ttest_1samp
from torch import nn

from dermaline.base.classes import CLASSES
from dermaline.compute import setup_fabric
from dermaline.data.photographs import resized
from dermaline.explaining import checks
from dermaline.explaining.grad_cam import NoMaps, explain, grad_cam
from dermaline.figures.explanations import Example, explanations
from dermaline.inference import views
from dermaline.inference.member import Member
from dermaline.models.network import Network
from dermaline.params.predict import Predict
from stages import explain as stage
from stages.explain import examples

RED, GREEN = (0, 1)


class Colours(nn.Module):
    """A network whose logits are known: of class 0 how much red there is, of class 1 how much green."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.attention = nn.Identity(), nn.Identity()

    def forward(self, images, metadata=None):
        return nn.functional.pad(20 * self.attention(nn.functional.avg_pool2d(images, 4)).mean((2, 3)), (0, 4))


@pytest.fixture
def squares():
    """Three photographs of 48 x 64 pixels on black: a red square left above, a green one right below."""
    images = torch.zeros(3, 3, 48, 64, dtype=torch.uint8)
    images[:, RED, 8:20, 8:20] = 255
    images[:, GREEN, 28:40, 40:52] = 255
    return images


def member(network, view="whole", tta="none"):
    recipe = tiny.recipe(size=(24, 32), crop_from=(48, 64), view=view)
    options = Predict(tta=tta, grid=(3, 3), scales=3)
    return Member(
        network, recipe, setup_fabric("cpu", "32-true"), views.scales(recipe, options, views.VIEWS[tta]), options
    )


@pytest.mark.parametrize("tta", ["none", "flips", "d4"])
@pytest.mark.parametrize("view", ["whole", "crop", "mixed"])
def test_the_map_is_of_the_class_it_names_and_lies_where_that_is(squares, view, tta):
    looked = member(Colours(), view, tta)
    for colour, (rows, columns) in ((RED, (slice(8, 20), slice(8, 20))), (GREEN, (slice(28, 40), slice(40, 52)))):
        found = explain(looked, squares, torch.full((3,), colour), None).clip(0)
        size = found.shape[1:]
        inside = torch.zeros(48, 64)
        inside[rows, columns] = 1
        there = nn.functional.interpolate(inside[None, None], size, mode="area")[0, 0] > 0
        spread = nn.functional.max_pool2d(there[None].float(), 9, 1, 4)[0] > 0  # as coarse as the maps are
        assert (found * spread).sum() / found.sum() > 0.9
        assert there[divmod(found[0].argmax().item(), size[1])]


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet18"])
def test_of_a_convolutional_network_it_is_captums(backbone):
    torch.manual_seed(0)
    network = Network(tiny.recipe(backbone=backbone, weights="none", drop_path=0), pretrained=False).eval()
    images, classes = torch.rand(4, 3, 64, 96), torch.tensor([0, 3, 4, 6])
    found = grad_cam(network, images, classes)
    other = LayerGradCam(network, network.attention).attribute(images, classes, relu_attributions=False)
    other = LayerGradCam.interpolate(other, (64, 96), "bilinear")[:, 0].detach()
    assert found.min() < 0 < found.max()
    assert torch.allclose(found, other, atol=1e-6)
    assert not torch.allclose(found, grad_cam(network, images, classes.flip(0)))


@pytest.mark.parametrize(
    ("backbone", "size", "grid"),
    [
        ("vit_tiny_patch16_224", (224, 224), (14, 14)),
        ("vit_wee_patch16_reg1_gap_256", (256, 256), (16, 16)),
        ("swin_tiny_patch4_window7_224", (224, 224), (7, 7)),
    ],
)
def test_of_a_transformer_it_is_made_by_hand_from_what_decides(backbone, size, grid):
    torch.manual_seed(0)
    recipe = tiny.recipe(backbone=backbone, weights="none", drop_path=0, size=size)
    network = Network(recipe, pretrained=False).eval()
    body, images = network.body, torch.rand(1, 3, *size)
    layer = body.blocks[-1].norm1 if backbone.startswith("vit_tiny") else body.norm
    seen = []
    hook = layer.register_forward_hook(lambda _, given, found: seen.append(found))
    score = network(images)[0, 3]
    hook.remove()
    (slope,) = torch.autograd.grad(score, seen)
    values, slopes = (tokens[0].flatten(0, -2)[-grid[0] * grid[1] :] for tokens in (seen[0].detach(), slope))
    heat = (values * slopes.mean(dim=0)).sum(dim=1).view(1, 1, *grid)
    expected = nn.functional.interpolate(heat, size, mode="bilinear")[:, 0]
    assert torch.allclose(grad_cam(network, images, torch.tensor([3])), expected, atol=1e-7)
    assert expected.std() > 0


@pytest.mark.parametrize(("backbone", "size"), [("mixer_s32_224", 224), ("crossvit_9_240", 240)])  # of two branches
def test_of_a_backbone_without_maps_it_is_said(backbone, size):
    network = Network(tiny.recipe(backbone=backbone, weights="none", size=(size, size)), pretrained=False).eval()
    with pytest.raises(NoMaps, match=f"{backbone}: its last layer gives no maps"):
        grad_cam(network, torch.rand(1, 3, size, size), torch.tensor([0]))


def test_a_network_is_left_as_it_was():
    network = Network(tiny.recipe(), pretrained=False).eval()
    images = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        before = network(images)
    grad_cam(network, images, torch.tensor([0, 1]))
    with torch.no_grad():
        assert torch.equal(network(images), before)
    assert all(value.grad is None for value in network.parameters())
    assert not network.attention._forward_hooks


def test_mass_and_maximum_inside_the_lesion_are_counted_by_hand():
    maps = np.full((4, 4, 5), -0.5, np.float32)
    masks = np.zeros((4, 4, 5), bool)
    masks[:, :2, :2] = True
    maps[0, 0, 0] = 2  # all inside
    maps[1, 3, 3] = 1  # all outside
    maps[2, 0, 0], maps[2, 3, 3] = 1, 3
    assert checks.inside(maps, masks) == pytest.approx([1, 0, 0.25, 0.2])
    assert checks.pointing(maps, masks) == pytest.approx([1, 0, 0, 0.2])


def test_a_map_is_compared_with_that_of_another_lesion():
    for group in ([0, 0, 1, 1, 1, 2], [3, 3, 3, 3, 1], [0, 1]):
        group = np.array(group)
        assert (group[checks.of_others(group)] != group).all()
    assert checks.of_others(np.array([5, 5])).tolist() == [1, 0]


@given(st.integers(0, 1000))
def test_the_rank_correlation_is_scipys(seed):
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 5, (2, 3, 4, 6)).astype(np.float32)
    expected = [spearmanr(one.ravel(), other.ravel()).statistic for one, other in zip(first, second, strict=True)]
    assert checks.rank_correlation(first, second) == pytest.approx(expected)


def test_of_a_map_that_is_the_same_everywhere_there_is_no_correlation():
    assert checks.rank_correlation(np.zeros((1, 3, 3), np.float32), np.ones((1, 3, 3), np.float32)) == [0]


def test_deleting_what_decides_loses_it_at_once(squares):
    """The probability is the share of the red that is left: of a map that marks it, it is gone in one step of eight."""
    red = np.zeros((3, 48, 64), np.float32)
    red[:, 8:20, 8:20] = 1

    def probability(images):
        return (images[:, RED] > 128).sum((1, 2)).numpy() / 144

    deleted, inserted = checks.deletion_and_insertion(squares, red, probability)
    assert (deleted < 0.1).all()
    assert (inserted > 0.85).all()
    worst, least = checks.deletion_and_insertion(squares, -red, probability)
    assert (worst > deleted + 0.5).all()
    assert (least < inserted - 0.5).all()


def photographs(where):
    """Images with a red square each, of which it is said where, and noise; and their masks."""
    images = torch.randint(0, 40, (len(where), 3, 48, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    masks = np.zeros((len(where), 48, 64), np.uint8)
    for image, mask, (row, column) in zip(images, masks, where, strict=True):
        image[RED, row : row + 12, column : column + 12] = 255
        mask[row : row + 12, column : column + 12] = 1
    return images, masks


def told_of(looked, without, where):
    images, masks = photographs(where)
    given = (images, torch.full((len(where),), RED), torch.zeros(len(where), 1), masks, np.arange(len(where)))
    return checks.summary(checks.measure(looked, [without], *given))


def failed(told):
    return {name for name, one in told.items() if not one["passed"]}


def test_a_network_that_knows_passes_and_one_that_only_knows_the_middle_does_not():
    looked, other = member(Colours()), Colours()
    other.attention = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))  # of which the classes are mixed up
    other.attention[0].weight.data = torch.roll(torch.eye(3), 1, 0).view(3, 3, 1, 1)
    corners = [(row, column) for row in (0, 12, 24, 36) for column in (0, 13, 26, 39, 52, 6)]
    assert list(told_of(looked, other, corners)) == list(checks.CHECKS)
    assert failed(told_of(looked, other, corners)) == set()
    assert failed(told_of(looked, looked.network, corners)) == {"random_weights"}
    middle = told_of(looked, other, [(18, 26)] * 24)  # where every map is as good as every other
    assert {"inside", "pointing"} <= failed(middle)
    assert middle["inside"]["own"] > 4 * middle["inside"]["area"]  # which alone would prove nothing


def test_an_example_has_the_map_of_each_of_its_diagnoses(squares, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/prepared").mkdir(parents=True)
    images = torch.stack([squares[0], squares[1].flip(2), squares[2].flip(1)])
    np.save(tmp_path / "data/prepared/images.npy", images.permute(0, 2, 3, 1))
    first, second = (CLASSES[colour] for colour in (RED, GREEN))
    rows = pd.DataFrame({"row": [2, 0, 1], "dx": [first, first, second], "predicted": [first, second, first]})
    rows = rows.assign(right=rows["dx"] == rows["predicted"], **dict.fromkeys(CLASSES, 1 / 7))
    looked = member(Colours(), view="mixed")
    shown = examples(looked, rows)
    assert list(shown) == [(first, True), (first, False), (second, False)]
    for one, row in zip(shown.values(), rows["row"], strict=True):
        assert set(one.maps) == {one.actual, one.predicted}
        assert (one.image == resized(images[[row]], (24, 32))[0].permute(1, 2, 0).numpy()).all()
        for dx, found in one.maps.items():
            expected = explain(looked, images[[row]], torch.tensor([CLASSES.index(dx)]), None)[0]
            assert found == pytest.approx(expected.numpy(), abs=1e-6)


def test_the_maps_are_of_images_of_the_test(tmp_path, monkeypatch):
    class Enough(Exception):
        """Once it is known which images are looked at."""

    def measured(sample, size, device):
        test = set(table.query("split == 'test'")["image_id"])
        assert len(sample) == 20
        assert set(sample["image_id"]) <= test
        raise Enough

    table = fakes.project(tmp_path, ("lite0",), lesions=80)
    put_parameters(tmp_path, {"explain.images": 20})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["explain", "lite0"])
    asked = []
    monkeypatch.setattr(stage, "load_member", lambda *how: asked.append(how) or member(Colours()))
    monkeypatch.setattr(stage, "examples", lambda looked, rows: {})
    monkeypatch.setattr(checks, "untaught", lambda *asked: [])
    monkeypatch.setattr(stage, "load_images", measured)
    with pytest.raises(Enough):
        stage.main()
    assert asked[0][2].tta == "none"


def test_of_right_and_wrong_those_of_the_median_probability_are_shown():
    sure = [0.5, 0.9, 0.7, 0.6, 0.8]
    rows = pd.DataFrame({"dx": "mel", "predicted": ["mel"] * 3 + ["nv"] * 2}).assign(**dict.fromkeys(CLASSES, 0.01))
    rows["nv"] = sure
    assert stage.pick(rows)["nv"].tolist() == [0.8, 0.7]  # wrong, right


def test_without_outlines_what_needs_one_is_not_measured():
    images, masks = photographs([(0, 0)] * 3)
    given = (images, torch.zeros(3, dtype=torch.int64), torch.zeros(3, 1), masks * 0, np.arange(3))
    table = checks.measure(member(Colours()), [Colours()], *given)
    assert table.columns[table.isna().all()].tolist() == [
        "area",
        "inside",
        "pointing",
        "inside_other",
        "pointing_other",
    ]
    assert table[["deletion", "insertion", "random_weights"]].notna().all(axis=None)


def measured(**changes):
    """A table of 30 lesions with two images each, in which everything passes but for the changes."""
    noise = np.random.default_rng(0).normal(0, 0.05, 60)
    better = {"inside": 0.2, "pointing": 0.5, "deletion": -0.1, "insertion": 0.1, "random_weights": 0.1} | changes
    columns = {name: value + noise for name, value in better.items()} | {"area": 0.3, "group": np.arange(60) // 2}
    return pd.DataFrame(columns | {f"{name}_other": 0.0 for name in list(checks.CHECKS)[:-1]})


def test_a_check_passes_when_all_of_its_interval_does():
    told = checks.summary(measured())
    assert list(told) == list(checks.CHECKS)
    ends = ttest_1samp(measured().groupby("group")["inside"].mean(), 0).confidence_interval()
    assert (told["inside"]["low"], told["inside"]["high"]) == pytest.approx((ends.low, ends.high))
    assert told["deletion"]["value"] == -told["deletion"]["own"]
    assert all(one["passed"] and one["low"] < one["value"] < one["high"] for one in told.values())
    for name, value in (("inside", 0), ("deletion", 0.1), ("random_weights", 0.5), ("insertion", np.nan)):
        told = checks.summary(measured(**{name: value}))
        assert {check for check in checks.CHECKS if not told.get(check, {"passed": False})["passed"]} == {name}


def test_a_lesion_counts_once_and_of_few_nothing_is_said():
    table = measured().assign(group=[0] * 31 + [*range(1, 30)], inside=[1.0] * 31 + [0.0] * 29)
    assert checks.summary(table)["inside"]["value"] == pytest.approx(1 / 30)
    assert checks.summary(measured().head(38)) == {}


def test_a_figure_says_what_has_failed():
    image, mask = np.full((24, 32, 3), 200, np.uint8), np.zeros((24, 32), bool)
    maps, shares = {"mel": np.ones((24, 32), np.float32), "nv": np.zeros((24, 32), np.float32)}, {"mel": 0.6, "nv": 0.3}
    one = Example(image, mask, "mel", "mel", shares, maps)
    for told, said in (({}, "no check was made"), (checks.summary(measured()), "all checks passed")):
        assert said in explanations({("mel", True): one}, "a", told).get_suptitle()
    told = checks.summary(measured(inside=-0.1))
    drawn = explanations({("mel", False): one._replace(predicted="nv")}, "a", told)
    assert "NOT to be trusted: inside failed" in drawn.get_suptitle()
    assert "FAILED" in drawn.get_supxlabel()
    words = drawn.findobj(lambda it: getattr(it, "get_text", str)() in (drawn.get_suptitle(), drawn.get_supxlabel()))
    assert [it.get_window_extent().x0 >= 0 and it.get_window_extent().x1 <= drawn.bbox.x1 for it in words] == [True] * 2
    assert explanations({}, "a", {}).axes
