"""Decoding: every format, damaged in many ways, transparent, and upright where the others lie on their side."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from dermaline.data.decode import FORMATS, BadImageError, decode, decode_mask

SIZE = (48, 64)
WRITTEN = [name for name in FORMATS if name in Image.SAVE and name != "SPIDER"]  # which has floats for pixels
MODES = ("RGB", "P", "L", "1")  # some formats have the last alone


def picture(width: int = 80, height: int = 60) -> Image.Image:
    """A fixed texture of colours, without a symmetry."""
    small = np.random.default_rng(3).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def in_some_mode(kind: str) -> bytes:
    for mode in MODES:
        try:
            return encoded(picture(40, 30).convert(mode), kind)
        except (OSError, ValueError):
            continue
    raise AssertionError(kind)


@pytest.mark.filterwarnings("ignore:IM image format is deprecated")
@pytest.mark.parametrize("kind", WRITTEN)
def test_a_damaged_file_of_any_format_is_a_bad_image_and_nothing_else(kind):
    whole = in_some_mode(kind)
    assert decode(whole, SIZE, 50).shape == (*SIZE, 3)
    random, said = np.random.default_rng(1), []
    for number in range(100):
        file = bytearray(whole)
        end = min(len(file), 300 if number % 2 else 2**30)  # headers have the most ways to be wrong
        for place in random.integers(end, size=number % 3 + 1):
            file[place] ^= 1 << random.integers(8)
        if number % 5 == 0:
            del file[random.integers(end) :]
        for function in (decode, decode_mask):
            try:
                function(bytes(file), SIZE, 50)
            except BadImageError as problem:
                said.append(str(problem))
    assert said
    assert all(len(line.splitlines()) == 1 for line in said)


def test_an_empty_file_is_no_image():
    with pytest.raises(BadImageError, match="not an image file"):
        decode(b"", SIZE, 50)


def test_a_picture_that_a_program_would_have_to_draw_is_no_image():
    with pytest.raises(BadImageError, match="not an image file"):
        decode(encoded(picture(), "EPS"), SIZE, 50)


def test_a_warning_of_pillow_about_what_it_can_read_is_not_shown(recwarn):
    warnings.simplefilter("always")
    file = encoded(picture(), "TIFF").replace(struct.pack("<HHI", 259, 3, 1), struct.pack("<HHI", 259, 3, 2))
    Image.open(io.BytesIO(file)).load()
    assert "too many entries" in str(recwarn.pop(UserWarning).message)
    assert (decode(file, (60, 80), 50) == np.asarray(picture())).all()
    assert not recwarn.list


def cut_out(hidden: str) -> Image.Image:
    """A disc of the picture; outside, fully transparent pixels of some colour, and between them half transparent."""
    image = Image.new("RGB", (80, 60), hidden)
    y, x = np.mgrid[:60, :80]
    alpha = np.clip(25 - np.hypot(y - 30, x - 40), 0, 1)
    image.paste(picture(), mask=Image.fromarray(((alpha > 0) * 255).astype(np.uint8)))
    image.putalpha(Image.fromarray((alpha * 255).astype(np.uint8)))
    return image


HIDDEN = {
    "PNG": lambda hidden: encoded(cut_out(hidden), "PNG"),
    "grey": lambda hidden: encoded(cut_out(hidden).convert("LA"), "PNG"),
    "WebP": lambda hidden: encoded(cut_out(hidden), "WEBP", lossless=True, exact=True),
    "TIFF": lambda hidden: encoded(cut_out(hidden), "TIFF"),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_what_lies_under_transparent_pixels_does_not_count(kind):
    green, white = (decode(HIDDEN[kind](hidden), SIZE, 50) for hidden in ("green", "white"))
    assert (green == white).all()
    assert (green[0, 0] == 255).all()
    shown = np.asarray(picture().convert("L" if kind == "grey" else "RGB").convert("RGB").resize((64, 48)))
    assert np.abs(green[18:30, 26:38].astype(int) - shown[18:30, 26:38]).max() < 12  # two ways to resize


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_has_transparent_pixels_too(kind):
    image = picture().quantize(100)
    image.paste(100, (0, 0, 80, 20))
    found = []
    for hidden in ((0, 128, 0), (255, 255, 255)):
        image.putpalette([*image.getpalette()[:300], *hidden])
        found.append(decode(encoded(image, kind, transparency=100), SIZE, 50))
    assert (found[0] == found[1]).all()
    assert (found[0][:10] == 255).all()
    assert (found[0][30:] < 255).any()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_colour_that_stands_for_transparent_is_so(mode):
    image = picture().convert(mode)
    image.paste((7, 8, 9) if mode == "RGB" else 7, (0, 0, 80, 20))
    found = decode(encoded(image, "PNG", transparency=(7, 8, 9) if mode == "RGB" else 7), SIZE, 50)
    assert (found[:10] == 255).all()


def test_an_opaque_image_is_the_same_with_transparency():
    opaque = picture()
    opaque.putalpha(255)
    assert (decode(encoded(opaque, "PNG"), SIZE, 50) == decode(encoded(picture(), "PNG"), SIZE, 50)).all()


def test_a_transparent_pixel_of_a_mask_is_no_lesion():
    image = Image.new("RGBA", (64, 48), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (0, 0, 32, 48))
    assert decode_mask(encoded(image, "PNG"), SIZE, 50).tolist() == [[1] * 32 + [0] * 32] * 48


def test_a_landscape_is_decoded_as_pillow_fits_it():
    content = encoded(picture(600, 450), "JPEG")
    image = Image.open(io.BytesIO(content))
    image.draft("RGB", (256, 192))
    assert image.size == (300, 225)
    assert (
        decode(content, (192, 256), 50) == np.asarray(ImageOps.fit(image, (256, 192), Image.Resampling.BICUBIC))
    ).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [SIZE, SIZE[::-1]], ids=["landscape", "portrait"])
def test_a_photograph_on_its_side_is_turned_and_nothing_is_cut_away(kind, size):
    height, width = size
    wanted = picture(width * 4, height * 4)
    on_its_side = wanted.transpose(Image.Transpose.ROTATE_90)
    found = decode(encoded(on_its_side, kind), size, 50).astype(int)
    turned = [np.asarray(wanted.rotate(angle).resize((width, height))).astype(int) for angle in (0, 180)]
    assert min(np.abs(found - one).mean() for one in turned) < 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_mask_is_turned_as_its_image(orientation):
    """A portrait is white on black, and its mask the same."""
    image = Image.new("L", (48, 64))
    image.paste(255, (0, 0, 20, 30))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(image, "PNG", exif=exif)
    mask = decode_mask(content, SIZE, 50)
    assert mask.sum() == 600
    assert ((decode(content, SIZE, 50)[..., 0] > 127) == mask).all()


def test_a_square_is_not_turned():
    assert (decode(encoded(picture(64, 64), "PNG"), (64, 64), 50) == np.asarray(picture(64, 64))).all()
    tall = decode(encoded(picture(64, 64), "PNG"), SIZE, 50)
    assert (tall == np.asarray(picture(64, 64))[8:56]).all()
