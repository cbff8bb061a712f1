"""What cases are made of: pictures, zips, tables, and HAM10000 in small."""

import io
import json
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import chdir
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from ruamel.yaml import YAML

from dermaline.base.errors import DermalineError

ROOT = Path(__file__).resolve().parents[3]
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def picture(width: int = 80, height: int = 60, seed: int = 0) -> Image.Image:
    """A texture of colours, another one for each seed."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def write(files: dict[str, bytes | str]) -> None:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def image_ids(count: int) -> list[str]:
    return [f"ISIC_{number:07}" for number in range(count)]


def metadata(count: int = 4, **columns: Any) -> pd.DataFrame:  # noqa: ANN401
    """HAM10000's table of `count` images, a lesion each, with some columns otherwise."""
    rows = {name: [""] * count for name in COLUMNS} | {"image_id": image_ids(count), "dx": ["nv"] * count}
    rows |= {"lesion_id": [f"HAM_{number:07}" for number in range(count)], "age": ["45.0"] * count} | columns
    return pd.DataFrame(rows)


def csv(table: pd.DataFrame, **options: Any) -> bytes:  # noqa: ANN401
    return table.to_csv(index=False, lineterminator="\n", **options).encode()


def edit(path: str, **changes: Any) -> None:  # noqa: ANN401
    """Change the dotted keys (with two underscores for a dot) of a YAML file."""
    tree = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parts, last = key.split("__")
        holder = tree
        for part in parts:
            holder = holder[part]
        holder[last] = value
    with Path(path).open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tree, file)


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content, old
    return content.replace(old, new, 1)


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and is not."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(data)) + kind + data + _crc(kind + data) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zipfile.crc32(data))


def local(files: dict[str, bytes | str]) -> Callable[[], Callable[[], object]]:
    """The stage download, of a folder of these files."""

    def make() -> Callable[[], object]:
        from stages import download

        write({f"given/{name}": content for name, content in files.items()})
        edit("params.yaml", data__source="local", data__path="given")
        return download.main

    return make


def raw(files: dict[str, bytes | str], **changes: Any) -> Callable[[], Callable[[], object]]:  # noqa: ANN401
    """The stage prepare, of a raw folder of these files."""

    def make() -> Callable[[], object]:
        from stages import prepare

        write({f"data/raw/{name}": content for name, content in files.items()})
        edit("params.yaml", prepare__size=[48, 64], **changes)
        return prepare.main

    return make


class Prepared:
    """What the stage prepare made of many files at once, where bad ones are dropped: a run of it takes seconds."""

    def __init__(self, images: Callable[[], dict[str, bytes]], masks: Callable[[], dict[str, bytes]]) -> None:
        self._files = images, masks

    @cached_property
    def _run(self) -> tuple[dict[str, str], dict[str, float]]:
        images, masks = (files() for files in self._files)
        names = list(images)
        table = metadata(len(names), image_id=names)
        packed = {f"{name}.png": content for name, content in images.items()}
        outlines = {f"{name}.png": content for name, content in masks.items()}
        raw_files = {"metadata.csv": csv(table), "images.zip": zipped(packed)}
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            shutil.copy(ROOT / "params.yaml", folder)
            raw(raw_files | ({"masks.zip": zipped(outlines)} if masks else {}), prepare__bad_images="drop")()()
            report = json.loads(Path("data/prepared/report.json").read_text(encoding="utf-8"))
            kept = pd.read_csv("data/prepared/index.csv")["image_id"]
            path = Path("data/prepared/masks.npy" if masks else "data/prepared/images.npy")
            means = np.load(path).reshape(len(kept), -1).mean(axis=1)
        return report["dropped"], dict(zip(kept, means.tolist(), strict=True))

    def entry(self, name: str) -> Callable[[], Callable[[], object]]:
        """To be called for one of the files: raises what the report says of it if it was dropped."""

        def look() -> None:
            dropped, means = self._run
            if name in dropped:
                raise DermalineError(f"{name}: {dropped[name]}")
            assert name in means, f"{name} is neither dropped nor there"

        return lambda: look

    def mean(self, name: str) -> float:
        """The mean of what was packed of it: of a mask, if there are masks."""
        return self._run[1][name]
