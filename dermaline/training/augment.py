"""Augmentation of a whole batch at once, with random numbers of its own for every image.

Geometry is one resampling (the view, rotation, flip, scale, aspect ratio and translation make one affine map,
`dermaline.training.sampling`), colour one matrix product; both run on whatever device the network is on. The random
numbers are drawn on the CPU, so a seed means the same thing on every device.
"""

import math
from collections.abc import Sequence

import torch

from dermaline.base.parameters import Size
from dermaline.data.photographs import Photographs
from dermaline.params.recipe import Augment, AugmentWhole, Train
from dermaline.training.sampling import sample

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
DRAWS = {  # each operation and how many numbers it needs
    **{"flip": 1, "rotation": 1, "scale": 1, "aspect_ratio": 1, "translate": 2},
    **{"brightness": 1, "contrast": 1, "saturation": 1, "colour_cast": 3},
}
SHAPE, COLOUR = tuple(DRAWS)[:5], tuple(DRAWS)[5:]
PAIR_CHANCE = 0.7  # of each of the two
ERASED = (0.02, 0.2)  # share of the image
LONGEST = 3  # ratio of the sides of what is erased

Draws = dict[str, torch.Tensor]


def augment(
    images: Sequence[Photographs],
    chosen: torch.Tensor,
    size: Size,
    options: Train | AugmentWhole,
    generator: torch.Generator,
    device: torch.device,
) -> torch.Tensor:
    """Augment and resample a batch.

    Args:
        images: the training images, largest first, see `data.batches.training_images`. What they have beyond three
            channels (an outline) goes along in shape, and keeps its values.
        chosen: int64 [B], which of them.
        size: height and width of the result. Without zoom (`scale`) a view of `whole` shows the whole image; of `crop`
            a window with the pixels of the largest images, anywhere in them; of `mixed` a window whose share of each
            side lies, by a power drawn evenly from 0 to 1, between these two.
        options: the view and the ranges, see `params.yaml`.
        generator: a CPU generator, the only source of randomness.
        device: where the result is to be.

    Returns:
        float32 [B, C, height, width] in 0..1. What a rotation brings in from outside is mirrored, never black.
    """
    drawn = draw(len(chosen), generator)
    if options.operations == "pair":
        drawn = _paired(drawn, generator)
    share, place = _window(len(chosen), size, images[0].size, options, generator)
    geometry = _affine(images[0].size, share, place, drawn, options)
    pixels, beside = sample(images, chosen, geometry, size, device).tensor_split([3], dim=1)
    pixels = _recolour(pixels, *(part.to(device) for part in _colour(drawn, options)))
    pixels = _erase(pixels, options.random_erasing, generator) if options.random_erasing else pixels
    return torch.cat([pixels, beside], dim=1) if beside.shape[1] else pixels


def rectangles(
    area: torch.Tensor, ratio: torch.Tensor, size: Sequence[int], generator: torch.Generator
) -> torch.Tensor:
    """One rectangle an image, bool [B, 1, H, W], its centre anywhere; the image's edges cut it off.

    Args:
        area: [B], shares of the image.
        ratio: [B], of height to width, relative to the image's own.
        size: height and width of the image.
        generator: where the centres come from.
    """
    inside = []
    for side, scale, view in zip(size, (ratio.sqrt(), ratio.rsqrt()), ((1, 1, -1, 1), (1, 1, 1, -1)), strict=True):
        half = (area.sqrt() * scale / 2).view(-1, 1, 1, 1)
        centre = torch.rand(len(area), generator=generator).view(-1, 1, 1, 1)
        place = ((torch.arange(side) + 0.5) / side).view(view)
        inside.append((place - centre).abs() < half)
    return inside[0] & inside[1]


def draw(count: int, generator: torch.Generator) -> Draws:
    """Numbers [B, n] in -1..1 for every operation, the first that `augment` takes from its generator."""
    return {name: torch.rand(count, width, generator=generator) * 2 - 1 for name, width in DRAWS.items()}


def _paired(drawn: Draws, generator: torch.Generator) -> Draws:
    """Of each image one operation of shape and one of colour, the others at 0 (Yao et al. 2021: low cost)."""
    kept = {}
    for names in (SHAPE, COLOUR):
        count = len(drawn[names[0]])
        which = torch.randint(len(names), (count, 1), generator=generator)
        used = torch.rand(count, 1, generator=generator) < PAIR_CHANCE
        kept |= {name: drawn[name] * ((which == number) & used) for number, name in enumerate(names)}
    return kept


def _window(
    count: int, size: Size, whole: Size, options: Train | AugmentWhole, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """The share [B, 2] of each side (width, height) that a view shows, and where in -1..1 its centre is, [B, 2]."""
    if options.view == "whole":
        return torch.ones(count, 2), torch.zeros(count, 2)
    own = torch.tensor([size[1] / whole[1], size[0] / whole[0]])
    power = torch.rand(count, 1, generator=generator) if options.view == "mixed" else torch.ones(count, 1)
    share = own**power
    return share, (torch.rand(count, 2, generator=generator) * 2 - 1) * (1 - share)


def _affine(whole: Size, share: torch.Tensor, place: torch.Tensor, drawn: Draws, options: Augment) -> torch.Tensor:
    """Maps [B, 2, 3] from the result to the image, both in -1..1; the image's height and width keep angles right."""
    aspect = whole[1] / whole[0]
    angle = drawn["rotation"][:, 0] * math.radians(options.rotation)
    scale = torch.exp(-drawn["scale"][:, 0] * math.log1p(options.scale))
    stretch = torch.exp(drawn["aspect_ratio"][:, 0] * math.log1p(options.aspect_ratio) / 2)
    shift = drawn["translate"] * 2 * options.translate * share + place
    wide, high = share.unbind(dim=1)
    mirror = torch.where(drawn["flip"][:, 0] < 0, -1, 1) if options.flip else 1
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    x = torch.stack([cos * stretch * mirror * wide, -sin / stretch / aspect * high, shift[:, 0]], dim=1)
    y = torch.stack([sin * stretch * aspect * mirror * wide, cos / stretch * high, shift[:, 1]], dim=1)
    return torch.stack([x, y], dim=1)


def _colour(drawn: Draws, options: Augment) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Saturation as matrices [B, 3, 3], contrast [B, 1, 1], and brightness with colour cast as gains [B, 3, 1]."""
    saturation, contrast, brightness, cast = (
        1 + (drawn[name] * getattr(options, name))[:, :, None]
        for name in ("saturation", "contrast", "brightness", "colour_cast")
    )
    matrix = saturation * torch.eye(3) + (1 - saturation) * torch.tensor(LUMA).expand(3, 3)
    return matrix, contrast, brightness * cast


def _recolour(pixels: torch.Tensor, matrix: torch.Tensor, contrast: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    flat = pixels.flatten(2)
    grey = (matrix @ flat.mean(dim=2, keepdim=True)).mean(dim=1, keepdim=True)  # contrast turns about the image's mean
    recoloured = torch.baddbmm(gain * (1 - contrast) * grey, gain * contrast * matrix, flat)
    return recoloured.clamp_(0, 1).view_as(pixels)


def _erase(pixels: torch.Tensor, chance: float, generator: torch.Generator) -> torch.Tensor:
    """Fill a rectangle with the image's mean colour (Zhong et al. 2020, without their noise)."""
    count = len(pixels)
    low, high = ERASED
    area = low + (high - low) * torch.rand(count, generator=generator)
    area = area * (torch.rand(count, generator=generator) < chance)
    ratio = torch.exp((torch.rand(count, generator=generator) * 2 - 1) * math.log(LONGEST))
    erased = rectangles(area, ratio, pixels.shape[2:], generator).to(pixels.device)
    return torch.where(erased, pixels.mean(dim=(2, 3), keepdim=True), pixels)
