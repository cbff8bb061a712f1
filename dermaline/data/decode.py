"""From the bytes of an image file to pixels of the wanted size: the one way in for every image."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

Image.preinit()  # the common formats come first
Image.init()
# What Pillow opens that is no photograph: movies, drawings (one runs a program to be drawn), containers of data, and
# icons, whose header does not say how large the image inside is.
_OTHERS = {"BUFR", "CUR", "EPS", "FLI", "GRIB", "HDF5", "ICNS", "ICO", "IPTC", "MPEG", "WMF"}
FORMATS: tuple[str, ...] = tuple(name for name in Image.ID if name not in _OTHERS)  # Pillow's names, in its order
SUFFIXES: frozenset[str] = frozenset(end for end, name in Image.registered_extensions().items() if name in FORMATS)
SMALLEST = 8  # pixels on a side
Image.MAX_IMAGE_PIXELS = None  # the limit is a parameter here, checked before any pixel is decoded


class BadImageError(Exception):
    """Why an image can't be used, in a few words."""


def decode(
    content: bytes, size: tuple[int, int], max_megapixels: float, formats: Sequence[str] = FORMATS
) -> np.ndarray:
    """Decode a photograph and resize it, antialiased, to `size`.

    A portrait where `size` is a landscape, or the other way, is turned by 90 degrees (a lesion has no upper side); what
    then has another aspect ratio is cropped at the centre. What is transparent becomes white, as on paper, whatever
    colour the file has there.

    Args:
        content: the file; of several pictures in it the first counts.
        size: height and width in pixels.
        max_megapixels: a larger image is refused from its header, before it can fill the memory.
        formats: of which it may be, by Pillow's names.

    Returns:
        uint8 array [height, width, 3], RGB.

    Raises:
        BadImageError: not an image, truncated, too large, too small, or grey of more than 8 bits (which Pillow would
            clip; of 16 bits a colour it keeps the upper 8).
    """
    with what_fails_is_bad():
        image = _opened(content, max_megapixels, formats)
        if image.mode.startswith(("I", "F")):
            raise BadImageError(f"pixels of mode {image.mode}, more than 8 bits a channel; convert it")
        # A JPEG is decoded at 1/2, 1/4 or 1/8 if that is enough.
        image.draft("RGB", (max(size), min(size)) if image.width > image.height else (min(size), max(size)))
        image = _opaque(_turned(image, size), "white").convert("RGB")
        return np.asarray(ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC))


def decode_mask(content: bytes, size: tuple[int, int], max_megapixels: float) -> np.ndarray:
    """Decode a lesion mask to uint8 [height, width] of 0 and 1; turned, cropped and raises as `decode`.

    The file may be of any mode; what is neither black nor transparent is lesion.
    """
    with what_fails_is_bad():
        mask = _opaque(_turned(_opened(content, max_megapixels), size), "black")
        inside = Image.fromarray(np.asarray(mask if mask.mode.startswith(("I", "F")) else mask.convert("L")) > 0)
        return np.asarray(ImageOps.fit(inside, (size[1], size[0]), Image.Resampling.NEAREST), dtype=np.uint8)


@contextmanager
def what_fails_is_bad(what: str = "can't be decoded") -> Iterator[None]:
    """Make whatever fails within a `BadImageError`: every format, and every kind of zip, has its own ways to fail.

    But a lack of memory is no fault of an image.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Pillow can still read
            yield
    except (BadImageError, MemoryError):
        raise
    except Exception as problem:
        why = " ".join(str(problem).split()) or type(problem).__name__
        raise BadImageError(f"{what} ({why})") from None


def _opened(content: bytes, max_megapixels: float, formats: Sequence[str] = FORMATS) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
    except Image.UnidentifiedImageError:
        raise BadImageError("not an image file") from None
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise BadImageError(f"{megapixels:.0f} megapixels, more than prepare.max_megapixels = {max_megapixels:g}")
    if min(image.size) < SMALLEST:
        raise BadImageError(f"{image.width}x{image.height} pixels, too few to show anything")
    return image


def _turned(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """As its EXIF says, and then on its side if it is a portrait and `size`, height and width, is not, or reversed."""
    image = ImageOps.exif_transpose(image)
    height, width = size
    across = (image.width - image.height) * (width - height) < 0
    return image.transpose(Image.Transpose.ROTATE_90) if across else image


def _opaque(image: Image.Image, ground: str) -> Image.Image:
    """The image upon a ground of one colour, if any of it may be transparent."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image)
