"""Photographs wherever they lie: finding them in folders and zips, and decoding them on all cores, block by block."""

import sys
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dermaline.blocks import blocks
from dermaline.data.decode import BadImageError, decode
from dermaline.errors import DermalineError
from dermaline.params import Size
from dermaline.pool import MOST, processes

SUFFIXES = (".jpg", ".jpeg", ".png")
BLOCK = 32  # photographs
AHEAD = MOST  # blocks that are decoded or wait: this bounds the memory, however many photographs there are
LARGEST_FILE = 2**28  # bytes
# What a damaged, encrypted or oddly packed entry of a zip raises, beside what the disk does.
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)


class Photograph(NamedTuple):
    """One image file, or one entry of a zip."""

    path: Path
    entry: str | None = None

    @property
    def image_id(self) -> str:
        return PurePosixPath(self.entry).stem if self.entry else self.path.stem

    def __str__(self) -> str:
        return f"{self.path}: {self.entry}" if self.entry else str(self.path)

    def read(self) -> bytes:
        """The file's bytes; raises `BadImageError` when they can't be read or are more than `LARGEST_FILE`."""
        try:
            size = _opened(self.path).getinfo(self.entry).file_size if self.entry else self.path.stat().st_size
            if size > LARGEST_FILE:
                raise BadImageError(f"{size / 1e6:.0f} MB, more than {LARGEST_FILE / 1e6:.0f}")
            return _opened(self.path).read(self.entry) if self.entry else self.path.read_bytes()
        except UNREADABLE as problem:
            raise BadImageError(f"can't be read ({problem})") from None


class Block(NamedTuple):
    """Some photographs, decoded; those that could not be are in `bad` alone."""

    image_ids: list[str]
    images: dict[Size, np.ndarray]  # for each size uint8 [N, height, width, 3]
    bad: dict[str, str]  # photograph -> why


@cache
def _opened(path: Path) -> zipfile.ZipFile:
    """The zip, opened once a process."""
    return zipfile.ZipFile(path)


def find(paths: Sequence[Path]) -> list[Photograph]:
    """The photographs of files (taken as they are), folders and zips (their JPEG and PNG files at any depth).

    A zip in a folder is not opened, which is said. What is hidden (its name, or a folder's on the way, starts with a
    dot) and `__MACOSX` is passed over.

    Raises:
        DermalineError: a path does not exist, a zip is none, two photographs have one image id (a file's name less its
            suffix), or there is none at all.
    """
    found: dict[str, Photograph] = {}
    for photograph in (one for path in paths for one in _within(path)):
        other = found.setdefault(photograph.image_id, photograph)
        if other is not photograph:
            what = f"{other} and {photograph} have one image id, '{photograph.image_id}'"
            raise DermalineError(f"{what}; rename one or predict them in two runs")
    if not found:
        raise DermalineError(f"{', '.join(map(str, paths))}: no JPEG or PNG image there; name others")
    return list(found.values())


def _within(path: Path) -> list[Photograph]:
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        if any(one.suffix.lower() == ".zip" for one in files):
            print(f"note: zips in {path} are not opened; name them to have their images too", file=sys.stderr)
        return [Photograph(one) for one in files if _wanted(one.relative_to(path))]
    if not path.is_file():
        raise DermalineError(f"{path}: no such file or folder; name images, folders or zips of images")
    if path.suffix.lower() != ".zip":
        return [Photograph(path)]
    try:
        return [Photograph(path, name) for name in sorted(_opened(path).namelist()) if _wanted(PurePosixPath(name))]
    except (OSError, zipfile.BadZipFile) as problem:
        raise DermalineError(f"{path}: not a whole zip ({problem}); mend it or name others") from None


def _wanted(path: PurePosixPath | Path) -> bool:
    """Whether a path, relative to where the search began, is that of an image."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def decoded(photographs: Sequence[Photograph], sizes: Sequence[Size], max_megapixels: float) -> Iterator[Block]:
    """Decode photographs as `data.decode.decode` does, at each of `sizes`, in order, `BLOCK` at a time."""
    work = partial(_decode, sizes=sizes, max_megapixels=max_megapixels)
    waiting = deque()
    with processes() as pool:
        for part in blocks(len(photographs), BLOCK):
            waiting.append(pool.submit(work, photographs[part]))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _decode(photographs: Sequence[Photograph], sizes: Sequence[Size], max_megapixels: float) -> Block:
    image_ids, rows, bad = [], [], {}
    for photograph in photographs:
        try:
            content = photograph.read()
            rows.append([decode(content, size, max_megapixels) for size in sizes])
            image_ids.append(photograph.image_id)
        except BadImageError as problem:
            bad[str(photograph)] = str(problem)
    images = {size: np.stack([row[column] for row in rows]) for column, size in enumerate(sizes)} if rows else {}
    return Block(image_ids, images, bad)
