"""Masks of other sizes, values and kinds; classes that are absent, or of too few lesions to be split."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.reliability.bad_input import Case
from benchmarks.reliability.cases.make import (
    CLASSES,
    Prepared,
    csv,
    edit,
    encoded,
    metadata,
    picture,
    raw,
    write,
    zipped,
)

LEFT = np.zeros((60, 80), np.uint8)
LEFT[:, :40] = 1  # half of it is lesion


def _mask(values: np.ndarray, kind: str = "PNG") -> bytes:
    return encoded(Image.fromarray(values), kind)


def _palette() -> bytes:
    image = Image.fromarray(LEFT, "P")
    image.putpalette([0, 0, 0, 9, 9, 9])
    return encoded(image, "PNG")


def _transparent() -> bytes:
    image = Image.new("RGBA", (80, 60), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (0, 0, 40, 60))
    return encoded(image, "PNG")


BAD: list[tuple[str, Callable[[], bytes], tuple[str, ...]]] = [
    ("an empty mask file", lambda: b"", ("not an image file",)),
    ("a text for a mask", lambda: b"no mask", ("not an image file",)),
    ("a truncated mask", lambda: _mask(np.random.default_rng(0).integers(0, 2, (60, 80), np.uint8))[:-300], ("trunc",)),
    ("a mask of 1 x 1", lambda: _mask(LEFT[:1, :1]), ("1x1 pixels",)),
    ("a mask of 400 megapixels", lambda: encoded(Image.new("1", (20_000, 20_000)), "PNG"), ("400 megapixels",)),
]
ODD: list[tuple[str, Callable[[], bytes], float]] = [  # and the share that is lesion
    ("values 0 and 1", lambda: _mask(LEFT), 0.5),
    ("values 0 and 255", lambda: _mask(LEFT * 255), 0.5),
    ("grey values", lambda: _mask(LEFT * 7), 0.5),
    ("16 bits", lambda: _mask(LEFT.astype(np.uint16) * 3), 0.5),
    ("16 bits, large values", lambda: _mask(LEFT.astype(np.uint16) * 40_000), 0.5),
    ("32-bit integers", lambda: _mask(LEFT.astype(np.int32) * 70_000, "TIFF"), 0.5),
    ("floats of 0 and a half", lambda: _mask(LEFT.astype(np.float32) / 2, "TIFF"), 0.5),
    ("a palette of nearly black", _palette, 0.5),
    ("transparent outside", _transparent, 0.5),
    ("colours", lambda: _mask(np.stack([LEFT * 200, LEFT * 0, LEFT * 0], axis=2)), 0.5),
    ("twice the image's size", lambda: _mask(LEFT.repeat(2, 0).repeat(2, 1)), 0.5),
    ("half of its size", lambda: _mask(LEFT[::2, ::2]), 0.5),
    ("no lesion at all", lambda: _mask(LEFT * 0), 0),
    ("all lesion", lambda: _mask(LEFT * 0 + 1), 1),
    ("a JPEG", lambda: _mask(LEFT * 255, "JPEG"), math.nan),  # which is grey along the edges
]
NAMES = {name: f"ISIC_{number:07}" for number, (name, *_) in enumerate([*BAD, *ODD])}
NONE = "ISIC_0009999"  # an image without a mask
IMAGE = encoded(picture(), "JPEG")
RUN = Prepared(
    lambda: dict.fromkeys([*NAMES.values(), NONE], IMAGE),
    lambda: {NAMES[name]: make() for name, make, *_ in [*BAD, *ODD]} | {"ISIC_0008888": b"of an image of elsewhere"},
)


def _share(name: str, wanted: float) -> Callable[[], bool]:
    return lambda: math.isnan(wanted) or abs(RUN.mean(name) - wanted) < 0.001


def _index(count: dict[str, int], **changes: object) -> Callable[[], Callable[[], object]]:
    """The stage split, of so many lesions of each class; and with parameters changed."""

    def make() -> Callable[[], object]:
        from stages import split

        dx = [name for name in CLASSES for _ in range(count.get(name, 0))]
        table = metadata(len(dx), dx=dx)
        table = table.assign(group=table["lesion_id"], row=range(len(dx)))
        write({"data/prepared/index.csv": csv(table)})
        edit("params.yaml", **changes)
        return split.main

    return make


def _split(name: str) -> Callable[[], bool]:
    """Whether a class stands on all three sides, or on none when it is not there."""

    def check() -> bool:
        both = pd.read_csv("data/prepared/index.csv").merge(pd.read_csv("data/split.csv"), on="image_id")
        sides = set(both["split"][both["dx"] == name])
        return sides in ({"train", "val", "test"}, set())

    return check


def _broken_index(content: bytes | None) -> Callable[[], Callable[[], object]]:
    def make() -> Callable[[], object]:
        from stages import split

        write({} if content is None else {"data/prepared/index.csv": content})
        return split.main

    return make


FULL = dict.fromkeys(CLASSES, 9)
GOOD = csv(metadata(9).assign(group=metadata(9)["lesion_id"]))
CASES = [
    *(Case(name, RUN.entry(NAMES[name]), (NAMES[name], "masks.zip: ", *words)) for name, _, words in BAD),
    *(Case(name, RUN.entry(NAMES[name]), check=_share(NAMES[name], share)) for name, _, share in ODD),
    Case("no mask of one image", RUN.entry(NONE), check=_share(NONE, 0)),
    Case(
        "masks.zip is no zip",
        raw({"metadata.csv": csv(metadata(1)), "images.zip": zipped({"ISIC_0000000.jpg": IMAGE}), "masks.zip": b"no"}),
        ("data/raw/masks.zip: ", "run the download stage again"),
    ),
    Case("an absent class", _index(FULL | {"df": 0}), check=_split("df")),
    Case("one class alone", _index({"nv": 30}), check=_split("nv")),
    Case("a class of three lesions", _index(FULL | {"df": 3}), check=_split("df")),
    Case(
        "a class of one lesion", _index(FULL | {"vasc": 1}), ("index.csv: only 1 lesion(s) of vasc; a split needs 3",)
    ),
    Case("a class of two lesions", _index(FULL | {"mel": 2}), ("index.csv: only 2 lesion(s) of mel; a split needs 3",)),
    Case("no image", _index({}), ("index.csv: ",)),
    Case(
        "more folds than lesions",
        _index(FULL, split__folds=10, split__fold=0),
        ("only 9 lesion(s) of akiec; 10 folds (split.folds) need 10",),
    ),
    Case("as many folds as lesions", _index(FULL, split__folds=9, split__fold=8), check=_split("df")),
    Case("the largest shares", _index(FULL, split__val=0.49, split__test=0.49), check=_split("df")),
    Case("an index that is not there", _broken_index(None), ("data/prepared/index.csv: ", "run")),
    Case("an empty index", _broken_index(b""), ("data/prepared/index.csv: ", "run the prepare stage again")),
    Case("an index cut in a row", _broken_index(GOOD[:-20]), ("data/prepared/index.csv: ", "is missing")),
    Case("an index without image_id", _broken_index(GOOD.replace(b"image_id", b"id", 1)), ("index.csv: ", "image_id")),
    Case("an index without groups", _broken_index(GOOD.replace(b"group", b"groups", 1)), ("index.csv: group is miss",)),
    Case("an index of another coding", _broken_index(GOOD.decode().encode("utf-16")), ("data/prepared/index.csv: ",)),
]
