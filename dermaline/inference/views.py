"""The views of an image over which test-time augmentation averages."""

from dermaline.base.errors import DermalineError
from dermaline.inference.predict import View
from dermaline.models.network import Network


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
    if tta == "d4" and height != width and network.body.pretrained_cfg.get("fixed_input_size"):
        raise DermalineError(
            f"predict.tta: d4 turns images of {height} x {width} on their side, and {network.backbone} takes one size "
            "only; set flips, or make the recipe's size square"
        )
    return VIEWS[tta]
