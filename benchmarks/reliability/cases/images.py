"""Image files: damaged, of other kinds, too large, too small; and unusual ones that are photographs all the same."""

import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

from benchmarks.reliability.bad_input import Case
from benchmarks.reliability.cases.make import (
    Prepared,
    csv,
    encoded,
    metadata,
    picture,
    png_of,
    raw,
    replaced,
    zipped,
)

JPEG, PNG, TIFF = encoded(picture(), "JPEG"), encoded(picture(), "PNG"), encoded(picture(), "TIFF")
WEBP, GIF, BMP = encoded(picture(), "WEBP"), encoded(picture(), "GIF"), encoded(picture(), "BMP")
DEEP = np.linspace(0, 60000, 60 * 80).reshape(60, 80)
NO_IMAGE, LARGE, DECODED = (
    ("not an image file",),
    ("megapixels, more than prepare.max_megapixels",),
    ("can't be decoded",),
)


def _frames(kind: str, **options: object) -> bytes:
    return encoded(picture(), kind, save_all=True, append_images=[picture(seed=1), picture(seed=2)], **options)


def _jpeg_header(height: int, width: int) -> bytes:
    """A JPEG whose header says another size than its data have."""
    start = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:start] + struct.pack(">HH", height, width) + JPEG[start + 4 :]


def _text_bomb() -> bytes:
    """A PNG with a compressed text of 100 MB."""
    data = b"Comment\0\0" + zlib.compress(bytes(100 * 2**20), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zipfile.crc32(b"zTXt" + data))
    return PNG[:33] + chunk + PNG[33:]


def _large(width: int, height: int) -> bytes:
    return encoded(Image.new("1", (width, height)), "PNG")


BAD: list[tuple[str, Callable[[], bytes], tuple[str, ...]]] = [
    ("an empty file", lambda: b"", NO_IMAGE),
    ("a text", lambda: b"a text", NO_IMAGE),
    ("a page of a server", lambda: b"<!DOCTYPE html><html><body>404</body></html>", NO_IMAGE),
    ("an SVG drawing", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="60"/>', NO_IMAGE),
    ("a PDF", lambda: encoded(picture(), "PDF"), NO_IMAGE),
    ("a PostScript drawing", lambda: encoded(picture(), "EPS"), NO_IMAGE),
    ("an icon", lambda: encoded(picture(), "ICO"), NO_IMAGE),
    ("a zip", lambda: zipped({"a.jpg": JPEG}), NO_IMAGE),
    ("a HEIC file", lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), NO_IMAGE),
    ("a DICOM file", lambda: bytes(128) + b"DICM" + bytes(200), NO_IMAGE),
    ("zeros", lambda: bytes(5000), NO_IMAGE),
    ("a truncated JPEG", lambda: JPEG[: len(JPEG) // 2], ("truncated",)),
    ("a JPEG's header alone", lambda: JPEG[:100], DECODED),
    ("a JPEG of 65,500 x 65,500 in its header", lambda: _jpeg_header(65_500, 65_500), LARGE),
    ("a JPEG of no height", lambda: _jpeg_header(0, 80), ()),
    ("a truncated PNG", lambda: PNG[:-500], ("truncated",)),
    ("a PNG with a wrong checksum", lambda: replaced(PNG, PNG[60:61], bytes([PNG[60] ^ 255])), ()),
    ("a PNG without pixels", lambda: png_of(80, 60), DECODED),
    ("a PNG of no width", lambda: png_of(0, 60), ()),
    ("a PNG of 20,000 x 20,000", lambda: _large(20_000, 20_000), LARGE),
    ("a PNG of 12,000 x 9,000 that packs small", lambda: _large(12_000, 9_000), LARGE),
    ("a PNG of two thousand million pixels a side", lambda: png_of(2**31 - 1, 2**31 - 1), LARGE),
    ("a PNG with a compressed text of 100 MB", _text_bomb, DECODED),
    ("a truncated TIFF", lambda: TIFF[:5000] + TIFF[-200:], DECODED),
    (
        "a TIFF of 32-bit integers",
        lambda: encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        ("8 bits a channel",),
    ),
    ("a TIFF of floats", lambda: encoded(Image.fromarray(DEEP.astype(np.float32)), "TIFF"), ("8 bits a channel",)),
    ("a PNG of 16 bits a channel", lambda: encoded(Image.fromarray(DEEP.astype(np.uint16)), "PNG"), ("8 bits a chan",)),
    ("a truncated WebP", lambda: WEBP[: len(WEBP) // 2], DECODED),
    ("a truncated GIF", lambda: GIF[: len(GIF) // 3], DECODED),
    ("a truncated bitmap", lambda: BMP[: len(BMP) // 2], ("truncated",)),
    ("a damaged AVIF", lambda: encoded(picture(), "AVIF").replace(b"av01", b"aw01"), DECODED),
    ("a truncated JPEG 2000", lambda: encoded(picture(), "JPEG2000")[:300], DECODED),
    ("1 x 1 pixels", lambda: encoded(picture(1, 1), "PNG"), ("1x1 pixels",)),
    ("30,000 x 2 pixels", lambda: encoded(Image.new("RGB", (30_000, 2)), "PNG"), ("30000x2 pixels",)),
]
ODD: list[tuple[str, Callable[[], bytes]]] = [
    ("an animated GIF", lambda: _frames("GIF")),
    ("an animated PNG", lambda: _frames("PNG")),
    ("an animated WebP", lambda: _frames("WEBP")),
    ("a TIFF of several pages", lambda: _frames("TIFF")),
    ("two pictures in one JPEG (MPO)", lambda: _frames("MPO")),
    ("a palette", lambda: encoded(picture().quantize(100), "PNG")),
    ("a palette with a transparent colour", lambda: encoded(picture().quantize(100), "PNG", transparency=3)),
    ("black and white", lambda: encoded(picture().convert("1"), "PNG")),
    ("grey with transparency", lambda: encoded(picture().convert("LA"), "PNG")),
    ("a JPEG for print (CMYK)", lambda: encoded(picture().convert("CMYK"), "JPEG")),
    ("a TIFF in Lab", lambda: encoded(ImageCms.profileToProfile(*_to_lab()), "TIFF")),
    ("a bitmap of 32 bits a pixel", lambda: encoded(picture().convert("RGBA"), "BMP")),
    ("a broken colour profile", lambda: encoded(picture(), "JPEG", icc_profile=b"no profile" * 9)),
    ("broken EXIF", lambda: encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0" + bytes(range(90)))),
    ("a text behind the JPEG", lambda: JPEG + b"<script>" * 500),
    ("a progressive JPEG", lambda: encoded(picture(), "JPEG", progressive=True)),
    ("a JPEG whose header is taller than its data, which ends properly", lambda: _jpeg_header(90, 80)),
    ("a portrait", lambda: encoded(picture(60, 80), "JPEG")),
    ("a narrow strip", lambda: encoded(picture(2000, 20), "PNG")),
]


def _to_lab() -> tuple:
    return picture(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), 0, "LAB"


NAMES = {name: f"ISIC_{number:07}" for number, (name, *_) in enumerate([*BAD, *ODD])}
RUN = Prepared(lambda: {NAMES[name]: make() for name, make, *_ in [*BAD, *ODD]}, dict)


def _stop() -> bytes:
    return zipped({"ISIC_0000000.jpg": JPEG, "ISIC_0000001.jpg": JPEG[:500]})


CASES = [
    *(Case(name, RUN.entry(NAMES[name]), (NAMES[name], "images.zip: ", *words)) for name, _, words in BAD),
    *(Case(name, RUN.entry(NAMES[name])) for name, _ in ODD),
    Case(
        "a truncated JPEG where bad images stop",
        lambda: raw({"metadata.csv": csv(metadata(2)), "images.zip": _stop()})(),
        ("data/raw/images.zip: ISIC_0000001: ", "can't be decoded", "set prepare.bad_images to drop"),
    ),
    Case(
        "an image that is not there",
        lambda: raw({"metadata.csv": csv(metadata(2)), "images.zip": zipped({"ISIC_0000000.jpg": JPEG})})(),
        ("data/raw/images.zip: ISIC_0000001: not in images.zip",),
    ),
]
