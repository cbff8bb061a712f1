"""The layouts in which HAM10000 comes (Kaggle's and Dataverse's, folders or zips), and the way to a raw folder.

A file is known by its own name, wherever it lies: `ISIC_0027419.jpg`, `ISIC_0027419_segmentation.png`,
`HAM10000_metadata` (`.csv` or `.tab`). Anything else is ignored, and so is all that lies under an `ISIC2018` name: the
test images of that challenge are named like those of HAM10000.
"""

import io
import os
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd
from tqdm import tqdm

from dermaline.errors import DermalineError
from dermaline.files import require_space
from dermaline.sources.archive import COLUMNS, RawWriter, kept, writing

OFFICIAL = (10_015, 7_470)  # images and lesions of the whole data set
LARGEST = 64 * 2**20  # bytes; one file is held in memory at a time, and none of HAM10000 comes near
_ZIP_OVERHEAD = 256  # bytes a file, generously
_IMAGE = re.compile(r"(isic_\d+)\.jpe?g")
_MASK = re.compile(r"(isic_\d+)_segmentation\.png")
_TABLE = re.compile(r"ham10000_metadata(\.csv|\.tab|\.tsv|\.txt)?")


@dataclass(frozen=True)
class File:
    """One file of a folder or a zip; `place` says where, for a person."""

    place: str
    size: int
    content: Callable[[], bytes]

    def read(self) -> bytes:
        """The bytes; raises DermalineError when they are damaged or out of reach."""
        try:
            return self.content()
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as problem:
            raise DermalineError(f"{self.place}: cannot be read ({problem}); delete it and get it again") from None


@dataclass(frozen=True)
class Layout:
    """What was recognised: every copy of each image and mask by image id, and every table."""

    images: dict[str, list[File]] = field(default_factory=lambda: defaultdict(list))
    masks: dict[str, list[File]] = field(default_factory=lambda: defaultdict(list))
    tables: list[File] = field(default_factory=list)

    def add(self, name: str, file: File) -> None:
        """Take `file` if its path `name` is one of HAM10000's."""
        parts = PurePosixPath(name.lower()).parts
        if any(part.startswith((".", "__macosx", "isic2018")) for part in parts):
            return
        if match := _IMAGE.fullmatch(parts[-1]):
            self.images[match[1].upper()].append(file)
        elif match := _MASK.fullmatch(parts[-1]):
            self.masks[match[1].upper()].append(file)
        elif _TABLE.fullmatch(parts[-1]):
            self.tables.append(file)
        else:
            return
        if file.size > LARGEST:
            raise DermalineError(f"{file.place}: {file.size} bytes, more than any file of HAM10000; remove it")


def write(sources: list[Path], folder: Path, *, official: bool) -> None:
    """Turn `sources` (folders, zips or files) into the raw folder `folder`, whole or not at all.

    Args:
        official: demand the counts of the whole data set.

    Raises:
        DermalineError: something is missing, unknown, doubled with different bytes, damaged or unsafe.
    """
    with ExitStack() as zips:
        where = ", ".join(str(source) for source in sources)
        found = _recognise(sources, where, zips)
        table = _table(found.tables)
        ids, lesions = list(table["image_id"]), table["lesion_id"].nunique()
        _same_images(set(ids), set(found.images), where)
        if official and (len(ids), lesions) != OFFICIAL:
            expected = f"{OFFICIAL[0]} images of {OFFICIAL[1]} lesions"
            raise DermalineError(f"{where}: {len(ids)} images of {lesions} lesions, expected {expected}; get it again")
        masks = {image_id: found.masks[image_id] for image_id in ids if image_id in found.masks}
        copies = [found.images[image_id] for image_id in ids] + list(masks.values())
        require_space(folder, sum(files[0].size + _ZIP_OVERHEAD for files in copies))
        with writing(folder) as raw:
            _fill(raw, table, found.images, masks)
    print(f"{folder}: {len(ids)} images, {lesions} lesions, {len(masks)} masks")


def _recognise(sources: list[Path], where: str, zips: ExitStack) -> Layout:
    found = Layout()
    for source in sources:
        for name, file in _files(source, zips):
            found.add(name, file)
    if not (found.tables and found.images):
        lacks = "images ISIC_*.jpg" if found.tables else "table HAM10000_metadata (.csv or .tab)"
        raise DermalineError(f"{where}: no {lacks}; check the path, and unpack a zip that lies inside a zip")
    return found


def _fill(raw: RawWriter, table: pd.DataFrame, images: dict[str, list[File]], masks: dict[str, list[File]]) -> None:
    raw.write_table(table)
    for image_id in tqdm(table["image_id"], desc="images", unit=""):
        raw.add_image(image_id, _one(image_id, images[image_id]))
    for image_id in tqdm(masks, desc="masks", unit="", disable=not masks):
        raw.add_mask(image_id, _one(image_id, masks[image_id]))


def _one(image_id: str, copies: list[File]) -> bytes:
    """The bytes that all copies share (Kaggle's archive holds some folders twice)."""
    first, *others = copies
    content = first.read()
    for other in others:
        if other.size != first.size or other.read() != content:
            raise DermalineError(f"{image_id}: {first.place} and {other.place} differ; remove the wrong one")
    return content


def _files(source: Path, zips: ExitStack) -> Iterator[tuple[str, File]]:
    """All files under `source`, in a stable order, those inside its zips included; nothing is unpacked."""
    if not source.is_dir():
        yield from _from_path(source, source.name, zips)
        return
    for root, folders, names in os.walk(source, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if path.exists():  # not a dangling link
                yield from _from_path(path, path.relative_to(source).as_posix(), zips)


def _from_path(path: Path, name: str, zips: ExitStack) -> Iterator[tuple[str, File]]:
    if path.suffix.lower() != ".zip":
        yield name, File(str(path), path.stat().st_size, path.read_bytes)
    elif not path.name.startswith("."):
        for inside, file in _from_zip(path, zips):
            yield f"{name}/{inside}", file


def _from_zip(path: Path, zips: ExitStack) -> Iterator[tuple[str, File]]:
    try:
        archive = zips.enter_context(zipfile.ZipFile(path))
    except (OSError, zipfile.BadZipFile) as problem:
        raise DermalineError(f"{path}: not a whole zip ({problem}); delete it and get it again") from None
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        if name.startswith("/") or re.match(r"[a-zA-Z]:", name) or ".." in name.split("/"):
            raise DermalineError(f"{path}: the entry '{entry.filename}' points outside; do not use this zip")
        if not entry.is_dir():
            yield name, File(f"{path}: {entry.filename}", entry.file_size, partial(archive.read, entry))


def _table(files: list[File]) -> pd.DataFrame:
    """The columns that are kept, sorted by image id; several tables must say the same."""
    tables = [_parse(file) for file in files]
    for file, table in zip(files[1:], tables[1:], strict=True):
        if not table[list(COLUMNS)].equals(tables[0][list(COLUMNS)]):
            raise DermalineError(f"{files[0].place} and {file.place} differ; remove the wrong one")
    return max(tables, key=lambda table: table.shape[1])


def _parse(file: File) -> pd.DataFrame:
    """Read either form: Kaggle's has commas; Dataverse's has tabs, quotes and an eighth column, `dataset`."""
    content = file.read()
    separator = "\t" if b"\t" in content.split(b"\n", 1)[0] else ","
    try:
        table = pd.read_csv(
            io.BytesIO(content), sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False
        )
        missing = [name for name in COLUMNS if name not in table.columns]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        table = table.loc[:, kept(table)]
        for name in ("lesion_id", "image_id", "dx"):
            if (table[name] == "").any():
                raise ValueError(f"a row without {name}")
        table["age"] = pd.to_numeric(table["age"].replace("", None)).astype(float)  # so that 80 and 80.0 are one
        doubled = table["image_id"][table["image_id"].duplicated()]
        if len(doubled):
            raise ValueError(f"{doubled.iloc[0]} has more than one row")
    except ValueError as problem:
        line = " ".join(str(problem).split())
        raise DermalineError(f"{file.place}: not a table of HAM10000 ({line}); get it again") from None
    return table.sort_values("image_id", ignore_index=True)


def _same_images(listed: set[str], found: set[str], where: str) -> None:
    for ids, what in ((listed - found, "in the table but not there"), (found - listed, "there but not in the table")):
        if ids:
            raise DermalineError(f"{where}: {min(ids)} is {what}, {len(ids)} such images in all; complete the data")
