"""The raw folder that every source writes and `prepare` reads: `images.zip`, `metadata.csv`, perhaps `masks.zip`.

A few large files rather than ten thousand small ones: DVC hashes, links and checks out each file by itself.
"""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import cache
from pathlib import Path

import pandas as pd

from dermaline.base.columns import COLUMNS, PATIENT, SOURCE
from dermaline.base.errors import DermalineError
from dermaline.base.files import replacing

UNPACK = "unpack it and name the folder"  # Python reads neither every compression (Deflate64, say) nor a locked zip
_DATE = (1980, 1, 1, 0, 0, 0)  # a fixed date, so that the same content makes the same bytes


def kept(table: pd.DataFrame) -> list[str]:
    """HAM10000's seven columns, and of `SOURCE` and `PATIENT` what the table has."""
    return [*COLUMNS, *(name for name in (SOURCE, PATIENT) if name in table)]


def opened(path: Path, advice: str) -> zipfile.ZipFile:
    """Open a zip that may be anything.

    Raises:
        DermalineError: it can't be read, is damaged in whatever way (then with `advice`), or Python can't read it.
    """
    try:
        return zipfile.ZipFile(path)
    except NotImplementedError as problem:
        raise DermalineError(f"{path}: a zip that Python cannot read ({problem}); {UNPACK}, or {advice}") from None
    except MemoryError:
        raise
    except Exception as problem:  # of a damaged list: BadZipFile, UnicodeDecodeError, struct.error, ...
        raise DermalineError(f"{path}: not a whole zip ({problem or type(problem).__name__}); {advice}") from None


def read_entry(archive: zipfile.ZipFile, entry: str | zipfile.ZipInfo) -> bytes:
    """The bytes of an entry; raises many things if it is damaged.

    Of those packed with LZMA a few damaged bytes can ask for gigabytes: that is BadZipFile and no lack of memory.
    """
    try:
        return archive.read(entry)
    except MemoryError:
        info = archive.getinfo(entry) if isinstance(entry, str) else entry
        if info.compress_type != zipfile.ZIP_LZMA:
            raise
        raise zipfile.BadZipFile("it asks for more memory than there is") from None


class RawWriter:
    """Fills one raw folder; made by `writing`."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self._folder = folder
        self._files = files
        self._zips: dict[str, zipfile.ZipFile] = {}

    def add_image(self, image_id: str, content: bytes) -> None:
        """Store one image file's bytes as `IMAGE_ID.jpg`, a PNG's as `IMAGE_ID.png`."""
        suffix = ".png" if content.startswith(b"\x89PNG") else ".jpg"
        self._add("images.zip", image_id + suffix, content)

    def add_mask(self, image_id: str, png: bytes) -> None:
        """Store one PNG mask's bytes (non-zero inside the lesion) as `IMAGE_ID.png`."""
        self._add("masks.zip", f"{image_id}.png", png)

    def write_table(self, table: pd.DataFrame) -> None:
        """Store the metadata: the columns that are `kept`, one row an image, missing values empty."""
        table.loc[:, kept(table)].to_csv(self._folder / "metadata.csv", index=False, lineterminator="\n")

    def _add(self, archive: str, name: str, content: bytes) -> None:
        if archive not in self._zips:
            opened = zipfile.ZipFile(self._folder / archive, "w", zipfile.ZIP_STORED)
            self._zips[archive] = self._files.enter_context(opened)
        entry = zipfile.ZipInfo(name, _DATE)
        entry.create_system = 3  # Unix: the same bytes on Windows too
        self._zips[archive].writestr(entry, content)


@contextmanager
def writing(folder: Path) -> Iterator[RawWriter]:
    """Make the raw folder whole or not at all: it appears at `folder` when the block ends well."""
    with replacing(folder) as partial:
        partial.mkdir(parents=True)
        with ExitStack() as files:
            yield RawWriter(partial, files)


class RawZip:
    """Reads the files of `images.zip` or `masks.zip` by image id. Safe to send to other processes, not to threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise DermalineError(f"{path}: not found; run the download stage first")
        with opened(path, "run the download stage again") as archive:
            names = archive.namelist()
        self.names: dict[str, str] = {Path(name).stem: name for name in names}

    def only(self, image_ids: list[str]) -> "RawZip":
        """The same file with no names but these: what a process is sent does not grow with the data."""
        part = copy(self)
        part.names = {image_id: self.names[image_id] for image_id in image_ids if image_id in self.names}
        return part

    def read(self, image_id: str) -> bytes:
        """The bytes of one image's file; raises KeyError if there is none, and many things if it is damaged."""
        known = self.path.stat()
        return read_entry(_opened(self.path.absolute(), known.st_ino, known.st_mtime_ns), self.names[image_id])


@cache
def _opened(path: Path, *_version: int) -> zipfile.ZipFile:
    """The zip, opened once a process: its directory of ten thousand files is not read again for every task."""
    return zipfile.ZipFile(path)
