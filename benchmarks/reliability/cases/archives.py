"""Archives: unsafe, damaged, locked or huge ones, and names in other codings; nothing of them is ever unpacked."""

import io
import re
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability.bad_input import Case
from benchmarks.reliability.cases.make import csv, encoded, image_ids, local, metadata, picture, raw, zipped

IDS = image_ids(4)
IMAGES = {f"images/{name}.jpg": f"jpeg {name} jpeg".encode() for name in IDS}  # which the download never looks into
WHOLE = IMAGES | {"HAM10000_metadata.csv": csv(metadata())}
TABLE = csv(metadata(2))
JPEG = encoded(picture(), "JPEG")
OUTSIDE = ("given/archive.zip: the entry ", "points outside; do not use this zip")
ENDS = ("given/archive.zip", "not a whole zip", "get it again")
LOCKED = ("given/archive.zip: ", "unpack it and name the folder")


def _marked(content: bytes, method: int | None = None, flags: int = 0, version: int | None = None) -> bytes:
    """The zip with its entries marked as compressed by `method`, with flags, in both of its headers."""
    found = bytearray(content)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(re.escape(signature), content):
            start = match.start() + at
            found[start] |= flags & 255
            found[start + 1] |= flags >> 8
            if version is not None:
                found[start - 2] = version
            if method is not None:
                found[start + 2 : start + 4] = method.to_bytes(2, "little")
    return bytes(found)


def _with_link(name: str, target: str, files: dict[str, bytes]) -> bytes:
    """A zip of files and a symbolic link, as Info-ZIP stores one."""
    file = io.BytesIO(zipped(files))
    with zipfile.ZipFile(file, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, target)
    return file.getvalue()


def _twice(other: bytes) -> bytes:
    """A zip that has one image twice under one name."""
    file = io.BytesIO(zipped(WHOLE))
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("images/ISIC_0000000.jpg", other)
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in WHOLE.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _named(raw_name: bytes, utf8: bool) -> bytes:
    """A zip with an entry whose name is these bytes, said to be UTF-8 or not."""
    content = zipped(WHOLE | {"x" * len(raw_name): b"notes"}).replace(b"x" * len(raw_name), raw_name)
    return _marked(content, flags=0x800) if utf8 else content


def _stub(content: bytes) -> bytes:
    """A zip behind other bytes, as a self-extracting one is."""
    return b"MZ" + bytes(5000) + content


ZIP, PACKED = zipped(WHOLE), zipped(WHOLE, zipfile.ZIP_DEFLATED)
END = ZIP.rindex(b"PK\x05\x06")
LARGE = zipped(WHOLE | {"images/ISIC_0000000.jpg": bytes(65 * 2**20)}, zipfile.ZIP_DEFLATED)
BAD: list[tuple[str, Callable[[], bytes], tuple[str, ...]]] = [
    ("an absolute name", lambda: zipped(WHOLE | {"/etc/x.jpg": b""}), OUTSIDE),
    ("a name that climbs out", lambda: zipped(WHOLE | {"a/../../x.jpg": b""}), OUTSIDE),
    ("a name that climbs out with backslashes", lambda: zipped(WHOLE | {"..\\x.jpg": b""}), OUTSIDE),
    ("a name with a drive", lambda: zipped(WHOLE | {"C:\\x.jpg": b""}), OUTSIDE),
    (
        "an image that is a link",
        lambda: _with_link("images/ISIC_0000000.jpg", "/etc/passwd", dict(list(WHOLE.items())[1:])),
        ("given/archive.zip: images/ISIC_0000000.jpg: ", "a link", "unpack it and name the folder"),
    ),
    (
        "a table that is a link",
        lambda: _with_link("HAM10000_metadata.csv", "other.csv", IMAGES),
        ("given/archive.zip: HAM10000_metadata.csv: ", "a link"),
    ),
    ("an image twice with other bytes", lambda: _twice(b"others"), ("ISIC_0000000: ", "differ; remove the wrong one")),
    ("a locked zip", lambda: _marked(ZIP, flags=1), (*LOCKED, "encrypted")),
    ("packed as Windows packs (Deflate64)", lambda: _marked(ZIP, method=9), LOCKED),
    ("packed with Zstandard", lambda: _marked(ZIP, method=93), LOCKED),
    ("packed by a number that is none", lambda: _marked(ZIP, method=4711), LOCKED),
    ("patched data", lambda: _marked(ZIP, flags=0x20), LOCKED),
    ("a later version of zip", lambda: _marked(ZIP, version=200), LOCKED),
    (
        "a zip inside the zip alone",
        lambda: zipped({"in.zip": ZIP}),
        ("no table", "unpack a zip that lies inside a zip"),
    ),
    (
        "a wrong checksum",
        lambda: ZIP.replace(b"jpeg ISIC_0000002", b"jpeg ISIC_000000X", 1),
        ("ISIC_0000002.jpg: can", "CRC"),
    ),
    ("damaged data", lambda: _damaged(), ("given/archive.zip: HAM10000_metadata.csv: cannot be read",)),
    ("an empty file for a zip", lambda: b"", ENDS),
    ("a text for a zip", lambda: b"Not found", ENDS),
    ("a zip cut in half", lambda: ZIP[: len(ZIP) // 2], ENDS),
    ("a zip without its end", lambda: ZIP[:END], ENDS),
    ("a zip whose list is damaged", lambda: ZIP.replace(b"PK\x01\x02", b"PK\x09\x09", 1), ENDS),
    (
        "a zip whose list is elsewhere",
        lambda: ZIP[: END + 16] + b"\xff\xff\xff\x7f" + ZIP[END + 20 :],
        ("given/archive.zip: ", "cannot be read", "get it again"),
    ),
    (
        "another name in the list than beside the data",
        lambda: ZIP.replace(IDS[1].encode(), b"ISIC_9999999", 1),
        ("cannot be r",),
    ),
    ("a name that is no UTF-8 and says it is", lambda: _named(b"gr\xf6\xdfe.txt", utf8=True), ENDS),
    ("an empty zip", lambda: zipped({}), ("given: no table",)),
    ("folders alone", lambda: zipped({f"{name}.jpg/": b"" for name in IDS}), ("given: no table",)),
    ("an image of 65 MB that packs small", lambda: LARGE, ("ISIC_0000000.jpg: ", "more than any file of HAM10000")),
]
ODD: list[tuple[str, Callable[[], bytes]]] = [
    (
        "100,000 members beside the data",
        lambda: zipped(WHOLE | {f"other/{number}.txt": b"" for number in range(100_000)}),
    ),
    ("an image twice with the same bytes", lambda: _twice(IMAGES["images/ISIC_0000000.jpg"])),
    ("a name in Latin-1", lambda: _named(b"gr\xf6\xdfe.txt", utf8=False)),
    ("a name in Shift JIS", lambda: _named("写真.txt".encode("shift_jis"), utf8=False)),
    ("a name in UTF-8", lambda: zipped(WHOLE | {"größe/写真.txt": b""})),
    ("an entry without a name", lambda: _named(b"\0name", utf8=False)),
    ("a name with a line break", lambda: zipped(WHOLE | {"a\nb.txt": b""})),
    ("a comment", lambda: ZIP[:-2] + b"\x05\x00hello"),
    ("bytes before the zip", lambda: _stub(ZIP)),
    ("deflated", lambda: PACKED),
    ("a link beside the data", lambda: _with_link("latest", "images", WHOLE)),
    ("a zip inside the zip beside the data", lambda: zipped(WHOLE | {"in.zip": b"whatever"})),
    ("a Mac's hidden files", lambda: zipped(WHOLE | {f"__MACOSX/images/._{name}.jpg": b"x" for name in IDS})),
]


def _damaged() -> bytes:
    """A deflated zip whose last entry's data are no deflated data."""
    start = PACKED.rindex(b"HAM10000_metadata.csv", 0, PACKED.index(b"PK\x01\x02")) + len("HAM10000_metadata.csv")
    return PACKED[:start] + b"\xff" * 20 + PACKED[start + 20 :]


def _complete() -> bool:
    """Whether the raw folder has the four images."""
    with zipfile.ZipFile("data/raw/images.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()} == {
            Path(name).name: content for name, content in IMAGES.items()
        }


def _prepared(name: str, content: Callable[[], bytes], words: tuple[str, ...]) -> Case:
    return Case(
        name, lambda: raw({"metadata.csv": TABLE, "images.zip": content()})(), ("data/raw/images.zip: ", *words)
    )


TWO = zipped({f"{name}.jpg": JPEG for name in IDS[:2]}, zipfile.ZIP_DEFLATED)
AGAIN = "run the download stage again"
CASES = [
    *(Case(name, lambda make=make: local({"archive.zip": make()})(), words) for name, make, words in BAD),
    *(Case(name, lambda make=make: local({"archive.zip": make()})(), check=_complete) for name, make in ODD),
    Case("a tar for a folder", local({"archive.tar.gz": _tar()}), ("given: no table", "any other archive")),
    Case("a tar that is called a zip", local({"archive.zip": _tar()}), ENDS),
    _prepared("images.zip is no zip", lambda: b"no zip", (AGAIN,)),
    _prepared("images.zip is cut", lambda: TWO[: len(TWO) // 2], (AGAIN,)),
    _prepared("images.zip is of a later version", lambda: _marked(TWO, version=200), (AGAIN,)),
    _prepared("images.zip is locked", lambda: _marked(TWO, flags=1), ("ISIC_0000000: ", "encrypted", "bad_images")),
    _prepared("images.zip is packed otherwise", lambda: _marked(TWO, method=9), ("ISIC_0000000: ", "bad_images")),
    _prepared("images.zip has damaged data", lambda: TWO[:60] + b"\xff" * 30 + TWO[90:], ("ISIC_0000000: ", "bad_ima")),
    _prepared(
        "images.zip has a wrong checksum",
        lambda: zipped({"ISIC_0000000.jpg": b"abcde", "ISIC_0000001.jpg": JPEG}).replace(b"abcde", b"abcdf"),
        ("ISIC_0000000: ", "CRC", "bad_images"),
    ),
]
