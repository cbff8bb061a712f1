"""Maps of what speaks for a class, and the checks of them: against captum, against networks whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from captum.attr import LayerGradCam
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr, ttest_1samp
from torch import nn

from dermaline.compute import setup_fabric
from dermaline.explaining import checks
from dermaline.explaining.grad_cam import explain, grad_cam
from dermaline.inference import views
from dermaline.inference.member import Member
from dermaline.models.network import Network
from dermaline.params.predict import Predict

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


def member(network, **changes):
    recipe = tiny.recipe(**{"size": (24, 32), "crop_from": (48, 64)} | changes)
    fabric = setup_fabric("cpu", "32-true")
    options = Predict(tta=changes.pop("tta", "none"), grid=(3, 3), scales=3)
    return Member(network, fabric, views.scales(recipe, options, views.VIEWS["flips"]), "flips")


@pytest.mark.parametrize("view", ["whole", "crop", "mixed"])
def test_the_map_is_of_the_class_it_names_and_lies_where_that_is(squares, view):
    looked = member(Colours(), view=view)
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


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_of_a_transformer_it_keeps_the_place(backbone):
    """Where the last layer gives nothing but at one place, the map must mark that place."""
    torch.manual_seed(0)
    recipe = tiny.recipe(backbone=backbone, weights="none", drop_path=0, size=(224, 224))
    network = Network(recipe, pretrained=False).eval()
    images = torch.rand(1, 3, 224, 224)
    whole = grad_cam(network, images, torch.tensor([2]))
    assert whole.shape == (1, 224, 224)
    assert whole.max() > 0
    layer = {"vit": lambda body: body.blocks[-1].norm1, "swin": lambda body: body.norm}[backbone.split("_")[0]]
    place = (1, 4)  # row and column of a patch, of 14 or 7

    def mark(_, given, found):
        """All that the layer gives is nothing, but at one place."""
        kept = torch.zeros_like(found)
        if found.ndim == 4:
            kept[:, place[0], place[1]] = found[:, place[0], place[1]]
        else:
            kept[:, 1 + place[0] * 14 + place[1]] = found[:, 1 + place[0] * 14 + place[1]]
        return kept

    hook = layer(network.body).register_forward_hook(mark)
    for chosen in range(7):
        found = grad_cam(network, images, torch.tensor([chosen]))
        if found.max() > 0:
            break
    hook.remove()
    side = 224 // (14 if backbone.startswith("vit") else 7)
    row, column = divmod(found[0].argmax().item(), 224)
    assert (row // side, column // side) == place


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
    maps = np.zeros((4, 4, 5), np.float32)
    masks = np.zeros((4, 4, 5), bool)
    masks[:, :2, :2] = True
    maps[0, 0, 0] = 2  # all inside
    maps[1, 3, 3] = 1  # all outside
    maps[2, 0, 0], maps[2, 3, 3] = 1, 3
    assert checks.inside(maps, masks) == pytest.approx([0.8, -0.2, 0.05, 0])
    assert checks.pointing(maps, masks) == pytest.approx([0.8, -0.2, -0.2, 0])


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


def test_what_is_measured_of_a_network_that_knows_and_of_one_compared_with_itself(squares):
    """The red decides and is the lesion: all is passed; a network that is its own random one fails that check alone."""
    images = squares.repeat(8, 1, 1, 1)
    images[:, 2] = torch.randint(0, 40, images[:, 2].shape, generator=torch.Generator().manual_seed(0))
    classes, masks = torch.full((24,), RED), (squares[0, RED] > 0).numpy().astype(np.uint8)[None].repeat(24, axis=0)
    looked, groups = member(Colours(), view="whole"), {"group": np.arange(24)}
    other = Colours()
    other.attention = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))  # of which the classes are mixed up
    other.attention[0].weight.data = torch.roll(torch.eye(3), 1, 0).view(3, 3, 1, 1)
    for untaught, failed in ((other, set()), (looked.network, {"random_weights"})):
        table = checks.measure(looked, untaught, images, classes, torch.zeros(24, 1), masks, seed=0)
        told = checks.summary(table.assign(**groups))
        assert {name for name, one in told.items() if not one["passed"]} == failed
    masks[:, :24] = 0
    blank = checks.measure(looked, other, images, classes, torch.zeros(24, 1), masks, seed=0)
    assert blank[["inside", "pointing"]].isna().all(axis=None)


def measured(**changes):
    columns = {"inside": 0.2, "pointing": 0.5, "random_weights": 0.1, "deletion": 0.1, "insertion": 0.1} | changes
    noise = np.random.default_rng(0).normal(0, 0.05, 60)
    return pd.DataFrame({name: value + noise for name, value in columns.items()} | {"group": np.arange(60) // 2})


def test_a_check_passes_when_all_of_its_interval_does():
    told = checks.summary(measured())
    assert list(told) == list(checks.CHECKS)
    ends = ttest_1samp(measured().groupby("group")["inside"].mean(), 0).confidence_interval()
    assert (told["inside"]["low"], told["inside"]["high"]) == pytest.approx((ends.low, ends.high))
    assert all(one["passed"] and one["low"] < one["value"] < one["high"] for one in told.values())
    for name, value in (("inside", 0), ("deletion", -0.1), ("random_weights", 0.5), ("insertion", np.nan)):
        told = checks.summary(measured(**{name: value}))
        assert {check for check in checks.CHECKS if not told.get(check, {"passed": False})["passed"]} == {name}


def test_a_lesion_counts_once_and_of_few_nothing_is_said():
    table = measured().assign(group=[0] * 31 + [*range(1, 30)], inside=[1.0] * 31 + [0.0] * 29)
    assert checks.summary(table)["inside"]["value"] == pytest.approx(1 / 30)
    assert checks.summary(measured().head(18)) == {}
