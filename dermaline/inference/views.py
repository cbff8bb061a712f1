"""The views of a photograph over which a prediction averages: windows at one scale or several, flipped and turned."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor

from dermaline.base.errors import DermalineError
from dermaline.base.parameters import Size
from dermaline.inference.predict import View
from dermaline.models.backbone import input_size
from dermaline.models.network import Network
from dermaline.params.predict import Predict
from dermaline.params.recipe import Recipe


class Scale(NamedTuple):
    """Photographs of one height and width, and the views of them: each of the network's input size."""

    size: Size
    views: Sequence[View]


def _flipped(*axes: int) -> View:
    return lambda images: images.flip(axes) if axes else images


def _turned(flipped: View) -> View:
    """With height and width exchanged first: a flip of that is a quarter turn, or a mirror image on a diagonal."""
    return lambda images: flipped(images.transpose(2, 3))


_FLIPS = tuple(_flipped(*axes) for axes in ((), (2,), (3,), (2, 3)))

# From float images [B, 3, height, width] to as many of the same size; the second half of d4 lies on its side.
VIEWS: dict[str, tuple[View, ...]] = {
    "none": _FLIPS[:1],
    "flips": _FLIPS,
    "d4": (*_FLIPS, *(_turned(flipped) for flipped in _FLIPS)),
}


def tta_views(tta: str, network: Network, size: tuple[int, int]) -> tuple[View, ...]:
    """The views of a test-time augmentation for a network and images of a height and width.

    Args:
        tta: `none`; `flips`, all four (a lesion has no up and no left); `d4`, the four flips of the image and of its
            transpose: all eight symmetries of the square.

    Raises:
        DermalineError: `d4` would turn images that are not square on their side, for a network of fixed input size.
    """
    height, width = size
    if tta == "d4" and height != width and network.takes_one_size:
        raise DermalineError(
            f"predict.tta: d4 turns images of {height} x {width} on their side, and {network.backbone} takes one size "
            "only; set flips, or make the recipe's size square"
        )
    return VIEWS[tta]


def scales(recipe: Recipe, options: Predict, tta: Sequence[View]) -> list[Scale]:
    """What a network of a recipe is shown of a photograph; the mean over scales of the mean over their views decides.

    A recipe's `view` says which scales: the whole photograph, its own scale (windows of the size of the input, cut
    from the photograph at `crop_from`), or `options.scales` from the one to the other. At its own scale,
    `options.grid` windows are spread evenly; in between, in proportion fewer; the whole is one.

    Windows and the views of `tta` take turns: there are as many views at a scale as there are of the more numerous.
    """
    size = input_size(recipe)
    whole = recipe.crop_from or size
    steps = max(options.scales - 1, 1)
    shares = {"whole": [0.0], "crop": [1.0], "mixed": [step / steps for step in range(options.scales)]}[recipe.view]
    return [_scale(share, size, whole, options.grid, tta) for share in shares]


def _scale(share: float, size: Size, whole: Size, grid: tuple[int, int], tta: Sequence[View]) -> Scale:
    """At `share` 0 the whole photograph, at 1 its own scale; in between as `training.augment` draws it."""
    height, width = (round(side * (of / side) ** share) for side, of in zip(size, whole, strict=True))
    rows, columns = (1 + round((number - 1) * share) for number in grid)
    corners = [(top, left) for top in _starts(height, size[0], rows) for left in _starts(width, size[1], columns)]
    number = max(len(corners), len(tta))
    views = [partial(_cut, corners[turn % len(corners)], size, tta[turn % len(tta)]) for turn in range(number)]
    return Scale((height, width), views)


def _starts(side: int, window: int, count: int) -> list[int]:
    """Where `count` windows start on a side, from edge to edge; a single one is in the middle."""
    rest = side - window
    return [round(rest * step / (count - 1)) for step in range(count)] if count > 1 else [rest // 2]


def _cut(corner: tuple[int, int], size: Size, flip: View, images: Tensor) -> Tensor:
    (top, left), (height, width) = corner, size
    return flip(images[:, :, top : top + height, left : left + width])
