"""Test-time augmentation: which views there are, and that what should not matter does not."""

import pytest
import tiny
import torch
from torch import nn

from dermaline.base.errors import DermalineError
from dermaline.compute import setup_fabric
from dermaline.inference import views
from dermaline.inference.predict import probabilities
from dermaline.inference.views import VIEWS
from dermaline.models.network import Network
from dermaline.params.predict import Predict

CPU = setup_fabric("cpu", "32-true")


class Reader(nn.Module):
    """Logits from one pixel, and from the metadata where there are some."""

    def forward(self, pixels, metadata):
        seen = pixels[:, :, 0, 1] if metadata is None else metadata
        return torch.cat([seen, torch.zeros(len(seen), 4)], dim=1)


def pictures(count, height=4, width=4):
    """Every pixel of every channel is its own."""
    return (
        torch.randperm(256, generator=torch.Generator().manual_seed(0))[: count * 3 * height * width]
        .view(count, 3, height, width)
        .to(torch.uint8)
    )


@pytest.mark.parametrize(("tta", "count"), [("none", 1), ("flips", 4), ("d4", 8)])
def test_every_view_shows_something_else_at_the_same_place(tta, count):
    image = torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    seen = {float(view(image)[0, 0, 0, 1]) for view in VIEWS[tta]}
    assert len(seen) == len(VIEWS[tta]) == count


def test_d4_is_the_quarter_turns_of_the_image_and_of_its_mirror_image():
    image = pictures(1, 3, 5)
    turned = [torch.rot90(side, times, (2, 3)) for side in (image, image.flip(3)) for times in range(4)]
    views = [view(image) for view in VIEWS["d4"]]
    for one in turned:
        assert sum(one.shape == view.shape and torch.equal(one, view) for view in views) == 1


@pytest.mark.parametrize("tta", VIEWS)
def test_the_result_is_the_mean_of_the_views_probabilities(tta):
    images = pictures(3)
    pixels = images.float() / 255
    expected = torch.stack([Reader()(view(pixels), None).softmax(1) for view in VIEWS[tta]]).mean(0)
    found = probabilities(Reader(), images, CPU, views=VIEWS[tta])
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-7)


def test_each_image_meets_its_own_metadata_in_every_block():
    metadata = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    images = torch.zeros(300, 3, 4, 4, dtype=torch.uint8)
    found = probabilities(Reader(), images, CPU, metadata=metadata, views=VIEWS["d4"])
    assert torch.allclose(found, Reader()(None, metadata).softmax(1), atol=1e-6)
    assert probabilities(Reader(), images[:0], CPU, metadata=metadata[:0], views=VIEWS["d4"]).shape == (0, 7)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = Network(tiny.recipe(), pretrained=True).eval()
    with torch.no_grad():
        for parameter in network.head_parameters():
            parameter.mul_(100)  # as sure as a trained one
    return network


def test_d4_does_not_care_how_the_camera_was_held(network):
    images = tiny.photographs(6, 0, (32, 48))
    for same in (images.rot90(1, (2, 3)), images.rot90(2, (2, 3)), images.flip(2), images.transpose(2, 3).flip(3)):
        one, other = (probabilities(network, some, CPU, views=VIEWS["d4"]) for some in (images, same))
        assert torch.allclose(one, other, atol=1e-5)
        plain, turned = (probabilities(network, some, CPU) for some in (images, same))
        assert (plain - turned).abs().max() > 1e-3


def test_a_network_of_one_size_is_not_turned_on_its_side():
    def prediction(size, tta):
        recipe = tiny.recipe(backbone="vit_tiny_patch16_224", weights="none", size=size)
        network = Network(recipe, pretrained=False).eval()
        images = torch.zeros((1, 3, *size), dtype=torch.uint8)
        return probabilities(network, images, CPU, views=views.tta_views(tta, network, size))

    with pytest.raises(DermalineError, match=r"predict\.tta: d4 .*32 x 48.*vit_tiny_patch16_224.*set flips") as problem:
        prediction((32, 48), "d4")
    assert "\n" not in str(problem.value)
    assert prediction((32, 48), "flips").shape == prediction((32, 32), "d4").shape == (1, 7)


def looked_at(view, grid, scales, tta="none", size=(24, 32), whole=(90, 120)):
    """Where each view of each scale lies, as the numbers of its pixels, in photographs of that scale's size."""
    recipe = tiny.recipe(view=view, size=size, crop_from=whole)
    found = []
    for scale in views.scales(recipe, Predict(tta=tta, grid=grid, scales=scales), VIEWS[tta]):
        numbers = torch.arange(scale.size[0] * scale.size[1]).view(1, 1, *scale.size)
        found.append((scale.size, [view(numbers)[0, 0] for view in scale.views]))
    return found


def test_a_recipe_of_whole_views_is_shown_the_whole_photograph():
    ((size, seen),) = looked_at("whole", (3, 3), 3)
    assert size == (24, 32)
    assert [one.shape for one in seen] == [(24, 32)]


def test_a_recipe_of_crops_is_shown_windows_that_cover_the_photograph_at_its_own_scale():
    ((size, seen),) = looked_at("crop", (4, 5), 3)
    assert size == (90, 120)
    assert len(seen) == 20
    assert {tuple(one.shape) for one in seen} == {(24, 32)}
    assert len(torch.cat([one.flatten() for one in seen]).unique()) == 90 * 120
    (_, (alone,)) = looked_at("crop", (1, 1), 3)[0]
    assert alone[0, 0] == 33 * 120 + 44  # the middle


def test_a_recipe_of_mixed_views_is_shown_all_scales():
    found = looked_at("mixed", (3, 5), 3, "flips")
    assert [size for size, _ in found] == [(24, 32), (46, 62), (90, 120)]
    assert [len(seen) for _, seen in found] == [4, 6, 15]
    assert {tuple(one.shape) for _, seen in found for one in seen} == {(24, 32)}
    corners = {(int(one[0, 0]), int(one[-1, -1])) for one in found[0][1]}
    assert len(corners) == 4  # a window alone is seen from every side


def test_windows_and_flips_take_turns():
    ((_, seen),) = looked_at("crop", (1, 2), 3, "flips")
    assert len(seen) == 4
    places = [sorted(one.flatten().tolist())[0] for one in seen]
    assert places[0] == places[2] != places[1] == places[3]
    assert len({int(one[0, 0]) for one in seen}) == 4
