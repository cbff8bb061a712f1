"""Cutting views out of photographs: a window of one scale or another, in one resampling."""

import numpy as np
import pytest
import torch
from closure import ROOT
from scipy.ndimage import affine_transform
from torchvision.transforms.v2.functional import resize

from dermaline.data.photographs import Photographs, in_memory
from dermaline.params.recipe import Augment, read_recipe
from dermaline.training import sampling
from dermaline.training.augment import augment, draw

CPU = torch.device("cpu")
PLAIN = read_recipe("lite0", ROOT).model_copy(update=dict.fromkeys(Augment.model_fields, 0) | {"flip": False})
SIZE, WHOLE = (24, 32), (90, 120)


def noise(count: int, size=WHOLE) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def views(images, options, seed=0, count=1):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(count, dtype=torch.int64)
    return augment([in_memory(image) for image in images], chosen, SIZE, options, generator, CPU)


def test_a_crop_is_a_window_of_the_photographs_own_pixels():
    """Of the size of the input, between whole pixels like any other place: so of a slope, the slope itself."""
    y, x = torch.meshgrid(torch.arange(90), torch.arange(120), indexing="ij")
    slopes = torch.stack([y, x, y + x]).to(torch.uint8)[None]
    crop = PLAIN.model_copy(update={"view": "crop", "crop_from": WHOLE})
    found = views([slopes], crop, count=200) * 255
    down, across = found[:, 0, 1:] - found[:, 0, :-1], found[:, 1, :, 1:] - found[:, 1, :, :-1]
    assert down.numpy() == pytest.approx(1, abs=1e-3)
    assert across.numpy() == pytest.approx(1, abs=1e-3)
    tops, lefts = found[:, 0, 0, 0], found[:, 1, 0, 0]
    assert tops.min() >= 0
    assert tops.max() <= 90 - 24
    assert (tops.max() - tops.min()) > 55  # anywhere, from edge to edge
    assert (lefts.max() - lefts.min()) > 75


def test_a_mixed_view_shows_of_all_shares_between_the_whole_and_its_own_scale():
    y = torch.arange(90)[:, None].expand(90, 120).to(torch.uint8)
    slope = torch.stack([y, y, y])[None]
    levels = [slope, resize(slope, [64, 85], antialias=True), resize(slope, [45, 60], antialias=True)]
    mixed = PLAIN.model_copy(update={"view": "mixed", "crop_from": WHOLE})
    found = views(levels, mixed, count=400)[:, 0, :, 16] * 255
    steps = (found[:, 20] - found[:, 4]) / 16  # rows of the photograph to a row of the view
    power = steps.log() / np.log(24 / 90) + 1
    assert power.min() > -0.03
    assert power.max() < 1.03
    assert np.histogram(power.numpy(), bins=4, range=(0, 1))[0] == pytest.approx(100, abs=40)


@pytest.mark.parametrize("view", ["whole", "crop"])
def test_a_window_is_cut_as_from_the_whole_photograph(view, monkeypatch):
    """Turned, zoomed and shifted over every edge: the part that is read mirrors what the photograph would."""
    ranges = {"flip": True, "rotation": 180.0, "scale": 0.5, "aspect_ratio": 0.3, "translate": 0.5}
    options = PLAIN.model_copy(update=ranges | {"view": view, "crop_from": WHOLE})
    read = []
    windows = sampling._windows
    monkeypatch.setattr(sampling, "_windows", lambda *given: read.append(windows(*given)) or read[-1])
    for seed in range(40):
        image = noise(1)
        found = views([image], options, seed)
        monkeypatch.setattr(sampling, "MARGIN", 1000)  # reads everything
        assert found.numpy() == pytest.approx(views([image], options, seed).numpy(), abs=1e-3)
        monkeypatch.setattr(sampling, "MARGIN", 2)
    parts = [pixels.shape[2] * pixels.shape[3] / (90 * 120) for pixels, _ in read[::2]]
    assert max(parts) == 1 if view == "whole" else np.mean(parts) < 0.45


def test_each_view_is_of_its_own_photograph_and_scale():
    """Photographs in any order, of levels that can be told apart: a coarse view is of a small level."""
    sizes = [WHOLE, (64, 85), (45, 60)]
    rows = torch.tensor([2, 0, 1])
    shades = torch.tensor([0, 60, 120], dtype=torch.uint8).view(3, 1, 1, 1)
    levels = [Photographs((shades + 20 * n).expand(3, 3, *size), rows) for n, size in enumerate(sizes)]
    zoom = torch.tensor([24 / 90, 0.45, 0.9])  # own scale, between, nearly the whole
    geometry = torch.eye(2, 3)[None] * zoom.view(3, 1, 1)
    found = sampling.sample(levels, torch.tensor([0, 1, 2]), geometry, SIZE, CPU) * 255
    assert found.amax(dim=(1, 2, 3)).tolist() == pytest.approx([120, 20, 100], abs=1e-3)
    assert found.amin(dim=(1, 2, 3)).tolist() == pytest.approx([120, 20, 100], abs=1e-3)


def test_a_turned_crop_is_scipys_affine_transform():
    crop = PLAIN.model_copy(update={"view": "crop", "crop_from": WHOLE, "rotation": 90.0})
    image = noise(1)
    for seed in range(5):
        found = views([image], crop, seed)[0, 0].double().numpy()
        drawn = torch.Generator().manual_seed(seed)
        angle = np.radians(90 * draw(1, drawn)["rotation"].item())
        place = (torch.rand(1, 2, generator=drawn) * 2 - 1)[0].numpy() * (1 - np.array([32 / 120, 24 / 90]))
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centre = (np.array([90, 120]) - 1) / 2 + place[::-1] * np.array([90, 120]) / 2
        offset = centre - turn @ (np.array(SIZE) - 1) / 2
        plane = image[0, 0].double().numpy() / 255
        expected = affine_transform(plane, turn, offset, output_shape=SIZE, order=1, mode="reflect")
        assert found == pytest.approx(expected, abs=1e-3)
