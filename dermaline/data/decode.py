"""From the bytes of an image file to pixels of the wanted size: the one way in for every image."""

import io
import struct

import numpy as np
from PIL import ExifTags, Image, ImageOps

DAMAGED = (OSError, ValueError, TypeError, SyntaxError, struct.error)  # what Pillow raises on damaged files
Image.MAX_IMAGE_PIXELS = None  # the limit is a parameter here, checked before any pixel is decoded


class BadImageError(Exception):
    """Why an image can't be used, in a few words."""


def decode(content: bytes, size: tuple[int, int], max_megapixels: float) -> np.ndarray:
    """Decode a photograph and resize it, antialiased, to `size`; another aspect ratio is cropped at the centre.

    Args:
        content: the file, JPEG, PNG or whatever Pillow reads.
        size: height and width in pixels.
        max_megapixels: a larger image is refused from its header, before it can fill the memory.

    Returns:
        uint8 array [height, width, 3], RGB.

    Raises:
        BadImageError: not an image, truncated, too large, or of more than 8 bits a channel (Pillow would clip them).
    """
    image = _opened(content, max_megapixels)
    if image.mode.startswith(("I", "F")):
        raise BadImageError(f"pixels of mode {image.mode}, more than 8 bits a channel; convert it")
    try:
        lies = image.getexif().get(ExifTags.Base.Orientation, 1) > 4  # on its side, and is turned below
        image.draft("RGB", size if lies else size[::-1])  # a JPEG is decoded at 1/2, 1/4 or 1/8 if that is enough
        image = ImageOps.exif_transpose(image).convert("RGB")
        return np.asarray(ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC))
    except DAMAGED as problem:
        raise BadImageError(str(problem)) from None


def decode_mask(content: bytes, size: tuple[int, int], max_megapixels: float) -> np.ndarray:
    """Decode a lesion mask (any mode; non-zero is lesion) to uint8 [height, width] of 0 and 1; raises as `decode`."""
    mask = _opened(content, max_megapixels)
    try:
        inside = Image.fromarray(np.asarray(mask.convert("L")) > 0)
    except DAMAGED as problem:
        raise BadImageError(str(problem)) from None
    return np.asarray(ImageOps.fit(inside, (size[1], size[0]), Image.Resampling.NEAREST), dtype=np.uint8)


def _opened(content: bytes, max_megapixels: float) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
    except DAMAGED:
        raise BadImageError("not an image file") from None
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise BadImageError(f"{megapixels:.0f} megapixels, more than prepare.max_megapixels = {max_megapixels:g}")
    return image
