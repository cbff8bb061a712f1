"""Photographs wherever they lie: finding them in folders and zips, and decoding them on all cores, block by block."""

import hashlib
import sys
import zipfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple, Protocol

import numpy as np

from dermaline.base.errors import DermalineError
from dermaline.base.parameters import Size
from dermaline.blocks import blocks
from dermaline.data.decode import FORMATS, SUFFIXES, BadImageError, decode, what_fails_is_bad
from dermaline.pool import cores, processes
from dermaline.sources.archive import opened, read_entry
from dermaline.sources.folders import below, hidden

# Images that Pillow does not open, or (raw files of cameras, being TIFFs) of which it opens a thumbnail.
_CLOSED = (
    "heic heif hif jxl jxr dcm 3fr arw cr2 cr3 crw dng erf iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 srw x3f"
)
CLOSED = frozenset(f".{name}" for name in _CLOSED.split())
_IMAGES = SUFFIXES | CLOSED
BLOCK = 32  # photographs
PREFETCH_BLOCKS = 2 * cores()  # that are decoded or wait: this bounds the memory, however many photographs there are
LARGEST_FILE = 2**28  # bytes


class Photograph(NamedTuple):
    """One image file, or one entry of a zip."""

    path: Path
    entry: str | None = None
    called: str | None = None  # its image id, if that is not its name

    @property
    def place(self) -> PurePosixPath:
        return PurePosixPath(f"{self.path.absolute().as_posix()}/{_place_inside(self.entry or '')}")

    @property
    def image_id(self) -> str:
        return self.called or self.place.stem

    @property
    def is_closed(self) -> bool:
        """Whether its name says that it is none that is read here."""
        return self.place.suffix.lower() in CLOSED

    def __str__(self) -> str:
        return f"{self.path}: {self.entry}" if self.entry else str(self.path)

    def read(self) -> bytes:
        """The file's bytes; raises `BadImageError` if they can't be read, or used, or are more than `LARGEST_FILE`."""
        if self.is_closed:
            raise BadImageError(f"{self.place.suffix} files are not read; convert it to JPEG, PNG or TIFF")
        if not self.path.is_file():
            raise BadImageError("a link that leads nowhere" if self.path.is_symlink() else "no regular file")
        with what_fails_is_bad("can't be read"):
            size = _opened(self.path).getinfo(self.entry).file_size if self.entry else self.path.stat().st_size
            if size > LARGEST_FILE:
                raise BadImageError(f"{size / 1e6:.0f} MB, more than {LARGEST_FILE / 1e6:.0f}")
            return read_entry(_opened(self.path), self.entry) if self.entry else self.path.read_bytes()


class Readable(Protocol):
    """What can be decoded: a `Photograph`, or one that comes from elsewhere than a file."""

    @property
    def image_id(self) -> str: ...

    def read(self) -> bytes: ...


class Block(NamedTuple):
    """Some photographs, decoded; those that could not be are in `bad` alone."""

    image_ids: list[str]
    images: dict[Size, np.ndarray]  # for each size uint8 [N, height, width, 3]
    bad: dict[str, str]  # photograph -> why


def _opened(path: Path) -> zipfile.ZipFile:
    """The zip, opened once a process, and again when it was written anew."""
    return _opened_as(path.absolute(), path.stat().st_mtime_ns, path)


@cache
def _opened_as(place: Path, written: int, called: Path) -> zipfile.ZipFile:
    return opened(called, "mend it or name others")


def find(paths: Sequence[Path]) -> list[Photograph]:
    """The photographs of files (taken as they are), folders and zips (the files at any depth that are called images).

    Images that can't be read (`CLOSED`, and links that lead nowhere) are among them: decoding names them bad. A
    linked folder is entered once. A zip in a folder or a zip is not opened; that, and what else is passed over, is said
    on stderr. What is hidden (its name, or a folder's on the way, starts with a dot) and `__MACOSX` is not looked at.

    The image id is the file's name less its suffix. Files of one name with the same bytes are taken once; with other
    bytes their ids name folders too, as many as tell them apart.

    Raises:
        DermalineError: a path does not exist, a folder or a zip can't be read, or there is no image at all.
    """
    found = list(dict.fromkeys(one for path in paths for one in _within(path)))
    if not found:
        raise DermalineError(f"{', '.join(map(str, paths))}: no image there; name others")
    named: dict[str, list[Photograph]] = {}
    for one in found:
        if not one.is_closed:
            named.setdefault(one.image_id, []).append(one)
    left_out, called = set(), {}
    for several in (group for group in named.values() if len(group) > 1):
        once = _once(several)
        left_out |= set(several) - set(once)
        called |= _told_apart(once)
    if left_out:
        print(f"note: left out, being copies of files of the same name: {len(left_out)}", file=sys.stderr)
    if called:
        such = next(iter(called.values()))
        print(f"note: {len(called)} images are named as others; their ids name a folder, as {such}", file=sys.stderr)
    return [one._replace(called=called.get(one)) for one in found if one not in left_out]


def _once(photographs: Sequence[Photograph]) -> list[Photograph]:
    """Of those with the same bytes the first; one that can't be read is like no other."""
    first: dict[str, Photograph] = {}
    for one in photographs:
        try:
            first.setdefault(hashlib.sha256(one.read()).hexdigest(), one)
        except BadImageError:
            first.setdefault(str(one.place), one)
    return list(first.values())


def _told_apart(photographs: Sequence[Photograph]) -> dict[Photograph, str]:
    """Ids for photographs of one name: the least end of their paths that differs, with suffix only if it must."""
    if len(photographs) == 1:
        return {}
    places = [one.place.with_suffix("") for one in photographs]
    if len(set(places)) < len(places):
        places = [one.place for one in photographs]
    parts = max(len(place.parts) for place in places)
    ends = ([str(PurePosixPath(*place.parts[-depth:])) for place in places] for depth in range(2, parts + 1))
    return dict(zip(photographs, next(ids for ids in ends if len(set(ids)) == len(ids)), strict=True))


def less_suffix(name: str) -> str:
    """A name without its suffix, if that is an image's."""
    place = PurePosixPath(name)
    return str(place.with_suffix("")) if _is_image(place) else name


def _within(path: Path) -> list[Photograph]:
    """The photographs of one path, in order of their names; says on stderr what of it is passed over."""
    if not path.exists():
        raise DermalineError(f"{path}: no such file or folder; name images, folders or zips of images")
    if path.is_dir():
        inside = {one.relative_to(path): Photograph(one) for one in below(path)}
    elif path.suffix.lower() == ".zip":
        inside = {_place_inside(name): Photograph(path, name) for name in _entries(path)}
    else:
        return [Photograph(path)]
    seen = {place: one for place, one in inside.items() if not any(map(hidden, place.parts))}
    kinds = Counter(place.suffix.lower() or "no suffix" for place in seen if not _is_image(place))
    if kinds.pop(".zip", 0):
        print(f"note: zips in {path} are not opened; name them to have their images too", file=sys.stderr)
    if kinds:
        passed = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common())
        print(f"note: passed over in {path}, being no images: {passed}", file=sys.stderr)
    return [one for place, one in seen.items() if _is_image(place)]


def _place_inside(entry: str) -> PurePosixPath:
    """Where an entry of a zip lies in it: some programs of Windows write backslashes."""
    return PurePosixPath(entry.replace("\\", "/"))


def _entries(path: Path) -> list[str]:
    return sorted(name for name in _opened(path).namelist() if not name.endswith(("/", "\\")))


def _is_image(place: PurePath) -> bool:
    return place.suffix.lower() in _IMAGES


def decoded(photographs: Sequence[Photograph], sizes: Sequence[Size], max_megapixels: float) -> Iterator[Block]:
    """Decode photographs as `data.decode.decode` does, at each of `sizes`, in order, `BLOCK` at a time."""
    work = partial(block_of, sizes=sizes, max_megapixels=max_megapixels)
    if len(photographs) <= BLOCK:  # what one process would do alone, this one does: another takes a second to start
        yield work(photographs)
        return
    waiting = deque()
    with processes() as pool:
        for part in blocks(len(photographs), BLOCK):
            waiting.append(pool.submit(work, photographs[part]))
            if len(waiting) == PREFETCH_BLOCKS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def block_of(
    photographs: Sequence[Readable], sizes: Sequence[Size], max_megapixels: float, formats: Sequence[str] = FORMATS
) -> Block:
    """Decode photographs in this process, at each of `sizes`; see `data.decode.decode`."""
    image_ids, rows, bad = [], [], {}
    for photograph in photographs:
        try:
            content = photograph.read()
            rows.append([decode(content, size, max_megapixels, formats) for size in sizes])
            image_ids.append(photograph.image_id)
        except BadImageError as problem:
            bad[str(photograph)] = str(problem)
    images = {size: np.stack([row[column] for row in rows]) for column, size in enumerate(sizes)} if rows else {}
    return Block(image_ids, images, bad)
