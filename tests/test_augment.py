"""Augmentation: each image by itself, geometry without distortion, colours within range."""

import numpy as np
import pytest
import torch
from closure import ROOT
from scipy.ndimage import affine_transform

from dermaline.data.photographs import in_memory
from dermaline.params.recipe import Augment, read_recipe
from dermaline.training import augment as module
from dermaline.training.augment import draw, rectangles

CPU = torch.device("cpu")
NO_AUGMENT = read_recipe("lite0", ROOT).model_copy(update=dict.fromkeys(Augment.model_fields, 0) | {"flip": False})


def augment(images, size, options, generator):
    """All of some images of one size."""
    return module.augment([in_memory(images)], torch.arange(len(images)), size, options, generator, CPU)


def test_without_ranges_augmentation_only_resizes():
    images = torch.randint(0, 256, (3, 3, 24, 32), dtype=torch.uint8)
    same = augment(images, (24, 32), NO_AUGMENT, torch.Generator().manual_seed(0))
    assert same == pytest.approx(images.numpy() / 255, abs=1e-5)


def test_every_image_of_a_batch_is_augmented_by_itself():
    options = read_recipe("lite0", ROOT)
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


def test_erasing_fills_a_rectangle_of_the_wanted_share_of_images():
    options = NO_AUGMENT.model_copy(update={"random_erasing": 0.5})
    images = noise(400)
    changed = (augment(images, (24, 32), options, torch.Generator().manual_seed(0)) - images / 255).abs() > 1e-3
    area = changed.any(dim=1).float().mean(dim=(1, 2))
    assert 160 < (area > 0).sum() < 240
    assert area.max() <= 0.2 + 0.05  # whole pixels
    fill = augment(images, (24, 32), options, torch.Generator().manual_seed(0))[area.argmax()]
    assert fill[:, changed[area.argmax()].any(dim=0)].std(dim=1).max() < 1e-5


RANGES = {"flip": True, "rotation": 180.0, "scale": 0.5, "aspect_ratio": 0.3, "translate": 0.2}
RANGES |= {"brightness": 0.3, "contrast": 0.5, "saturation": 0.5, "colour_cast": 0.2, "random_erasing": 1.0}
GEOMETRY, COLOUR = tuple(RANGES)[:5], tuple(RANGES)[5:9]


@pytest.mark.parametrize("ranges", [*((name,) for name in GEOMETRY), GEOMETRY], ids="+".join)
def test_geometry_is_scipys_affine_transform_of_what_was_drawn(ranges):
    """Of noise, so every pixel is a mark: turned, mirrored, zoomed, stretched and shifted, reflected at the edge."""
    images = noise(6)
    options = NO_AUGMENT.model_copy(update={name: RANGES[name] for name in ranges})
    found = augment(images, (24, 32), options, torch.Generator().manual_seed(5)).double().numpy()
    drawn = {name: values.double().numpy() for name, values in draw(6, torch.Generator().manual_seed(5)).items()}
    sides = np.array([24, 32])  # rows, columns
    for number, image in enumerate(images.double().numpy() / 255):
        angle = np.radians(drawn["rotation"][number, 0] * options.rotation)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        longer = (1 + options.aspect_ratio) ** (drawn["aspect_ratio"][number, 0] / 2)
        mirror = np.sign(drawn["flip"][number, 0]) if options.flip else 1
        matrix = turn @ np.diag([1 / longer, longer * mirror]) / (1 + options.scale) ** drawn["scale"][number, 0]
        shift = drawn["translate"][number, ::-1] * options.translate * sides
        offset = (sides - 1) / 2 - matrix @ (sides - 1) / 2 + shift
        expected = [affine_transform(plane, matrix, offset, order=1, mode="reflect") for plane in image]
        assert found[number] == pytest.approx(np.array(expected), abs=1e-4)


@pytest.mark.parametrize("ranges", [*((name,) for name in COLOUR), COLOUR], ids="+".join)
def test_colours_are_those_of_the_formulas(ranges):
    images = noise(6)
    options = NO_AUGMENT.model_copy(update={name: RANGES[name] for name in ranges})
    found = augment(images, (24, 32), options, torch.Generator().manual_seed(5)).double().numpy()
    drawn = {name: values.double().numpy() for name, values in draw(6, torch.Generator().manual_seed(5)).items()}
    factors = {name: 1 + drawn[name][:, :, None, None] * getattr(options, name) for name in COLOUR}
    pixels = images.double().numpy() / 255
    luma = np.tensordot([0.299, 0.587, 0.114], pixels, (0, 1))[:, None]
    pixels = luma + factors["saturation"] * (pixels - luma)
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True)
    pixels = mean + factors["contrast"] * (pixels - mean)
    pixels = pixels * factors["brightness"] * factors["colour_cast"]
    assert found == pytest.approx(pixels.clip(0, 1), abs=1e-5)


@pytest.mark.parametrize("name", RANGES)
def test_each_option_alone_changes_images_each_in_its_own_way(name):
    images = noise(8)
    options = NO_AUGMENT.model_copy(update={name: RANGES[name]})
    found = augment(images, (24, 32), options, torch.Generator().manual_seed(0))
    change = (found - images / 255).abs().amax(dim=(1, 2, 3))
    assert change.max() > 0.05
    assert len({tuple(image.flatten().tolist()) for image in found}) == (2 if name == "flip" else 8)


def test_nothing_comes_in_from_outside_of_an_image():
    """A white one stays white, however it is turned and shifted."""
    options = NO_AUGMENT.model_copy(update={name: RANGES[name] for name in GEOMETRY})
    white = torch.full((32, 3, 24, 32), 255, dtype=torch.uint8)
    assert augment(white, (24, 32), options, torch.Generator().manual_seed(0)).min() > 1 - 1e-5


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


def test_of_a_pair_one_operation_of_shape_and_one_of_colour_is_left():
    """Each in seven cases of ten, and each of its group as often as the others."""
    options = NO_AUGMENT.model_copy(update={**RANGES, "random_erasing": 0, "operations": "pair"})
    drawn = module._paired(draw(4000, torch.Generator().manual_seed(2)), torch.Generator().manual_seed(3))
    for names in (GEOMETRY, COLOUR):
        used = torch.stack([(drawn[name] != 0).any(dim=1) for name in names])
        assert used.sum(dim=0).max() == 1
        assert used.any(dim=0).float().mean() == pytest.approx(0.7, abs=0.03)
        assert used.float().mean(dim=1).numpy() == pytest.approx(0.7 / len(names), abs=0.03)
    images = noise(400)
    change = (augment(images, (24, 32), options, torch.Generator().manual_seed(0)) - images / 255).abs()
    untouched = (change.amax(dim=(1, 2, 3)) < 1e-4).float().mean()
    assert untouched == pytest.approx(0.3 * (0.3 + 0.7 / 5 / 2), abs=0.05)  # a flip mirrors every second one
