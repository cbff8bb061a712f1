"""The files of folders and of the zips in them, one by one; nothing is unpacked."""

import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dermaline.base.errors import DermalineError
from dermaline.sources.archive import UNPACK, opened, read_entry


@dataclass(frozen=True)
class File:
    """One file of a folder or a zip; `place` says where, for a person."""

    place: str
    size: int
    content: Callable[[], bytes]

    def read(self) -> bytes:
        """The bytes; raises DermalineError when they are damaged, out of reach or packed as Python can't read."""
        try:
            return self.content()
        except RuntimeError as problem:  # NotImplementedError is one
            raise DermalineError(f"{self.place}: cannot be read in its zip ({problem}); {UNPACK}") from None
        except MemoryError:
            raise
        except Exception as problem:  # each compression has its own
            raise DermalineError(f"{self.place}: cannot be read ({problem}); delete it and get it again") from None


def files(source: Path, zips: ExitStack) -> Iterator[tuple[str, File]]:
    """All files of the folder, zip or file `source`, in a stable order, those inside its zips included.

    Args:
        zips: holds the zips open, for as long as files are read.

    Returns:
        Each file with its path below `source`, a zip's name being one part of it.

    Raises:
        DermalineError: a folder can't be read; a zip is damaged, packed as Python can't read, or has an entry that
            points outside.
    """
    if not source.is_dir():
        yield from _from_path(source, source.name, zips)
        return
    for path in below(source):
        if path.exists():  # not a dangling link
            yield from _from_path(path, path.relative_to(source).as_posix(), zips)


def below(folder: Path) -> list[Path]:
    """All files in a folder and in those in it that are not `hidden`, sorted; a link to a folder is followed.

    Unless it leads to one that was seen, so that loops end.

    Raises:
        DermalineError: a folder can't be read.
    """
    seen, found = set(), []

    def stop(problem: OSError) -> None:
        raise DermalineError(f"{problem.filename}: can't be read ({problem.strerror}); mend it or name others")

    for place, folders, names in os.walk(folder, followlinks=True, onerror=stop):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not hidden(name))
        found += [Path(place, name) for name in names]
    return sorted(found)


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is not for a person to see; `__MACOSX` is of a Mac's zips."""
    return name.startswith(".") or name == "__MACOSX"


def _from_path(path: Path, name: str, zips: ExitStack) -> Iterator[tuple[str, File]]:
    if path.suffix.lower() != ".zip":
        yield name, File(str(path), path.stat().st_size, path.read_bytes)
    elif not path.name.startswith("."):
        for inside, file in _from_zip(path, zips):
            yield f"{name}/{inside}", file


def _from_zip(path: Path, zips: ExitStack) -> Iterator[tuple[str, File]]:
    archive = zips.enter_context(opened(path, "delete it and get it again"))
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        if name.startswith("/") or re.match(r"[a-zA-Z]:", name) or ".." in name.split("/"):
            raise DermalineError(f"{path}: the entry '{entry.filename}' points outside; do not use this zip")
        if not entry.filename.endswith("/"):  # `is_dir` wants a name that is not empty
            yield name, File(f"{path}: {entry.filename}", entry.file_size, partial(_read, archive, entry))


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise RuntimeError("a link")
    return read_entry(archive, entry)
