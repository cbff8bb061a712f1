"""Augmentation: each image by itself, geometry without distortion, colours within range."""

import pytest
import torch
from closure import ROOT

from dermaline import params
from dermaline.params import Augment
from dermaline.training.augment import augment, rectangles

NO_AUGMENT = Augment.model_validate(dict.fromkeys(Augment.model_fields, 0) | {"flip": False})


def test_without_ranges_augmentation_only_resizes():
    images = torch.randint(0, 256, (3, 3, 24, 32), dtype=torch.uint8)
    same = augment(images, (24, 32), NO_AUGMENT, torch.Generator().manual_seed(0))
    assert same == pytest.approx(images.numpy() / 255, abs=1e-5)


def test_every_image_of_a_batch_is_augmented_by_itself():
    options = params.load("recipes.lite0", ROOT / "params.yaml")
    images = torch.randint(0, 256, (1, 3, 24, 32), dtype=torch.uint8).expand(8, -1, -1, -1)
    found = augment(images, (24, 32), options, torch.Generator().manual_seed(0))
    assert len({tuple(image.flatten().tolist()) for image in found}) == 8
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found, augment(images, (24, 32), options, torch.Generator().manual_seed(0)))


def test_a_half_turn_turns_the_picture_without_distortion():
    turned = NO_AUGMENT.model_copy(update={"rotation": 90.0})
    ring = torch.zeros((1, 3, 60, 80), dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(60) - 29.5, torch.arange(80) - 39.5, indexing="ij")
    ring[:, :, (y.square() + x.square()) < 15**2] = 255  # a disc stays a disc at every angle, if angles are right
    found = augment(ring, (60, 80), turned, torch.Generator().manual_seed(3))
    assert (found - ring / 255).abs().mean() < 0.01


def noise(count: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, 24, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)).expand(
        count, -1, -1, -1
    )


def test_only_so_many_operations_are_drawn_for_each_image():
    """Brightness and contrast keep the order of the pixels' values, rotation does not: count by what changed."""
    options = NO_AUGMENT.model_copy(update={"brightness": 0.5, "saturation": 0.5, "operations": 1})
    grey = torch.full((200, 3, 4, 4), 100, dtype=torch.uint8)
    grey[:, 0] = 140  # saturation moves the channels apart, brightness keeps their ratio
    found = augment(grey, (4, 4), options, torch.Generator().manual_seed(0))[:, :, 0, 0]
    same_ratio = (found[:, 0] / found[:, 1] - 1.4).abs() < 1e-4
    luma = found @ torch.tensor([0.299, 0.587, 0.114])
    same_luma = (luma - (140 * 0.299 + 100 * 0.701) / 255).abs() < 1e-4
    assert (same_ratio ^ same_luma).all()
    assert 60 < same_ratio.sum() < 140
    every = augment(grey, (4, 4), options.model_copy(update={"operations": 2}), torch.Generator().manual_seed(0))
    assert not torch.allclose(every[:, :, 0, 0], found)


def test_erasing_fills_a_rectangle_of_the_wanted_share_of_images():
    options = NO_AUGMENT.model_copy(update={"erasing": 0.5})
    images = noise(400)
    changed = (augment(images, (24, 32), options, torch.Generator().manual_seed(0)) - images / 255).abs() > 1e-3
    area = changed.any(dim=1).float().mean(dim=(1, 2))
    assert 160 < (area > 0).sum() < 240
    assert area.max() <= 0.2 + 0.05  # whole pixels
    fill = augment(images, (24, 32), options, torch.Generator().manual_seed(0))[area.argmax()]
    assert fill[:, changed[area.argmax()].any(dim=0)].std(dim=1).max() < 1e-5


def test_sharpness_blurs_and_sharpens_about_the_image():
    options = NO_AUGMENT.model_copy(update={"sharpness": 1.0})
    found = augment(noise(), (24, 32), options, torch.Generator().manual_seed(0)).std(dim=(1, 2, 3))
    plain = (noise() / 255).std(dim=(1, 2, 3))
    assert (found < 0.8 * plain).any()
    assert (found > 1.1 * plain).any()


def test_a_rectangle_has_the_wanted_area_and_ratio():
    area, ratio = torch.full((500,), 0.04), torch.full((500,), 4.0)
    found = rectangles(area, ratio, (200, 200), torch.Generator().manual_seed(0))[:, 0]
    heights, widths = found.any(dim=2).sum(dim=1), found.any(dim=1).sum(dim=1)
    inside = (heights >= 80) & (widths >= 20)  # not cut off by an edge
    assert inside.sum() > 200
    assert heights[inside].float().mean() == pytest.approx(80, abs=1)
    assert widths[inside].float().mean() == pytest.approx(20, abs=1)


def test_what_is_turned_keeps_its_shape_in_a_square_input_too():
    """A disc photographed at 3:4 and squeezed into a square is an ellipse, and the same one at every angle."""
    turned = NO_AUGMENT.model_copy(update={"rotation": 180.0})
    disc = torch.zeros((8, 3, 60, 80), dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(60) - 29.5, torch.arange(80) - 39.5, indexing="ij")
    disc[:, :, (y.square() + x.square()) < 20**2] = 255
    plain = augment(disc, (60, 60), NO_AUGMENT, torch.Generator().manual_seed(3))
    assert (augment(disc, (60, 60), turned, torch.Generator().manual_seed(3)) - plain).abs().mean() < 0.02
    assert plain[0, 0].amax(dim=0).sum() < 0.8 * plain[0, 0].amax(dim=1).sum()
