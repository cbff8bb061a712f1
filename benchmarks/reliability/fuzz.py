"""Mutated files for every reader of what people bring: whatever a file holds, it is read or refused by name.

Small valid files are flipped, cut, spliced and mixed with words of their formats, as Hypothesis draws it. Anything that
is raised but our own refusals, more than `SECONDS` for a file, and more than `MEMORY` count as lost; the file is kept
under `.scratch/fuzz`.
"""

import argparse
import contextlib
import hashlib
import io
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.reliability.cases.make import ROOT, encoded, metadata, picture, zipped
from benchmarks.reliability.cases.make import csv as csv_of
from benchmarks.reliability.rows import Row, row
from dermaline.base.errors import DermalineError
from dermaline.base.files import scratch
from dermaline.data.decode import FORMATS, BadImageError, decode, decode_mask, what_fails_is_bad
from dermaline.data.table import read_table
from dermaline.params import whole
from dermaline.params.recipe import read_recipe
from dermaline.sources import archive, tables
from dermaline.sources.folders import File, files
from dermaline.user_files import answers

SECONDS = 10
MEMORY = 2 * 2**30  # bytes, more than at the start
REFUSALS = (DermalineError, BadImageError)
CHUNK = 200  # examples, after which the clock is looked at
LONGEST = 2**16  # bytes that are read of an entry of a zip


class Target(NamedTuple):
    """One reader: what it reads, valid files to begin with, words of the format, and the reading itself."""

    what: str
    seeds: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...]
    read: Callable[[bytes, Path], object]  # the file, and a folder to put it in


def _table(content: bytes, folder: Path) -> None:
    path = folder / "metadata.csv"
    path.write_bytes(content)
    for reader in (lambda: read_table(path), lambda: tables.ham10000([File(str(path), len(content), path.read_bytes)])):
        with contextlib.suppress(DermalineError):
            reader()


def _score(content: bytes, folder: Path) -> None:
    path = folder / "table.csv"
    path.write_bytes(content)
    for reader in (answers.read_predictions, answers.read_truth):
        with contextlib.suppress(DermalineError):
            reader(path)


def _params(content: bytes, folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_bytes(content)
    whole.read(path)


def _recipe(content: bytes, folder: Path) -> None:
    (folder / "recipes").mkdir(exist_ok=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (folder / "recipes/some.yaml").write_bytes(content)
    read_recipe("some", folder)


def _archive(content: bytes, folder: Path) -> None:
    path = folder / "archive.zip"
    path.write_bytes(content)
    with contextlib.suppress(DermalineError), ExitStack() as zips:
        for _, file in files(path, zips):
            with contextlib.suppress(DermalineError):
                if file.size <= LONGEST:
                    file.read()
    archive._opened.cache_clear()  # a zip is opened once a process, and here each is another one
    source = archive.RawZip(path)
    for name in source.names:
        with contextlib.suppress(BadImageError), what_fails_is_bad():
            source.read(name)


def _image(content: bytes, folder: Path) -> None:
    for function in (decode, decode_mask):
        with contextlib.suppress(BadImageError):
            function(content, (48, 64), 4)


def _tables() -> list[bytes]:
    table = metadata(6, dx=["nv", "mel", "bkl", "nv", "df", "vasc"])
    return [csv_of(table), csv_of(table, sep="\t"), b"\xef\xbb\xbf" + csv_of(table, sep=";", quoting=1)]


def _scores() -> list[bytes]:
    own = b"image_id,predicted,akiec,bcc,bkl,df,mel,nv,vasc,melanoma_suspected\na.jpg,nv,0,0,0,0,0.1,0.9,0,false\n"
    isic = b"image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_1,1,0,0,0,0,0,0\nISIC_2,0,1,0,0,0,0,0\n"
    return [own + b"b,mel,0,0,0,0,1,0,0,true\n", isic, b"image_id\tdx\tlesion_id\tscore_weight\na\tnv\tL1\t1\n"]


def _zips() -> list[bytes]:
    content = {"a/ISIC_0000001.jpg": b"some bytes" * 9, "grün.txt": b"", "b.png": bytes(range(256))}
    return [zipped(content, method) for method in (0, 8, 12, 14)]


def _images() -> list[bytes]:
    found = []
    for kind in (name for name in FORMATS if name in Image.SAVE):
        for mode in ("RGB", "RGBA", "P", "L", "1", "F"):
            with contextlib.suppress(OSError, ValueError, KeyError), warnings.catch_warnings(action="ignore"):
                found.append(encoded(picture(20, 16).convert(mode), kind))
    return found


YAML_WORDS = (
    b": ",
    b"- ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"&a ",
    b"*a",
    b"? ",
    b"!!",
    b"!!binary ",
    b"!!timestamp ",
    b"!!int ",
)
YAML_WORDS += (
    b"!!set",
    b"!!omap",
    b"| \n",
    b"> \n",
    b"#",
    b"---\n",
    b"...\n",
    b"%YAML 1.1\n",
    b"<<: ",
    b"null",
    b"true",
)
YAML_WORDS += (b".inf", b".nan", b"1e999", b"0x", b"0o", b"2001-99-99", b"1:99:99", b"'", b'"', b"\\x", b"\t", b"\n")
TABLE_WORDS = (
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r",
    b'"',
    b'""',
    b"\0",
    b"\xef\xbb\xbf",
    b"NA",
    b"nan",
    b"inf",
    b"1e400",
    b"-1",
)
TABLE_WORDS += (b"image_id", b"lesion_id", b"dx", b"mel", b"nv", b"image", b"score_weight", b"predicted", b"\xff", b" ")
ZIP_WORDS = (
    b"PK\1\2",
    b"PK\3\4",
    b"PK\5\6",
    b"PK\6\6",
    b"PK\6\7",
    b"\1\0",
    b"\xff\xff",
    b"\xff\xff\xff\xff",
    b"../",
    b"/",
)
IMAGE_WORDS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xd8",
    b"\xff\xd9",
    b"IDAT",
    b"IHDR",
    b"\0\1",
)
TARGETS = {
    "tables": Target("HAM10000's table", _tables, TABLE_WORDS, _table),
    "score": Target("predictions and the truth", _scores, TABLE_WORDS, _score),
    "params": Target("params.yaml", lambda: [(ROOT / "params.yaml").read_bytes()], YAML_WORDS, _params),
    "recipes": Target(
        "recipes", lambda: [p.read_bytes() for p in sorted((ROOT / "recipes").glob("*"))], YAML_WORDS, _recipe
    ),
    "archives": Target("zips", _zips, ZIP_WORDS, _archive),
    "images": Target("images of every format that Pillow opens", _images, IMAGE_WORDS, _image),
}
Edit = tuple[str, float, float, bytes]
KINDS = ("flip", "cut", "copy", "word", "number", "end")


def edits(words: Sequence[bytes]) -> st.SearchStrategy[list[Edit]]:
    """Changes of a file: what kind, where (shares of its length), and what comes in."""
    where = st.one_of(st.floats(0, 1), st.floats(0, 0.05))  # headers have the most ways to be wrong
    new = st.one_of(st.sampled_from(words), st.binary(min_size=1, max_size=4))
    return st.lists(st.tuples(st.sampled_from(KINDS), where, st.floats(0, 1), new), min_size=1, max_size=6)


def edited(content: bytes, changes: Sequence[Edit]) -> bytes:
    """The file with all changes made, one after the other."""
    for kind, where, to, new in changes:
        at, other = int(where * len(content)), int(to * len(content))
        if kind == "flip":
            content = (
                content[:at] + bytes([content[at] ^ (new[0] or 1)]) + content[at + 1 :] if at < len(content) else new
            )
        elif kind == "cut":
            content = content[:at] + content[at + max(1, other // 8) :]
        elif kind == "copy":
            content = content[:at] + content[other : other + 64] + content[at:]
        elif kind == "word":
            content = content[:at] + new + content[at:]
        elif kind == "number":
            content = content[:at] + new + content[at + len(new) :]
        else:
            content = content[: max(1, at)]
    return content


class _Hang(BaseException):
    """No Exception, so that no reader makes a refusal of it."""


@contextmanager
def _watched() -> Iterator[None]:
    """Stops what runs for more than `SECONDS`, where a clock can interrupt it."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Hang

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def fault(target: Target, content: bytes, folder: Path) -> str | None:
    """What went wrong in reading a file; None: it was read or refused."""
    try:
        with _watched(), contextlib.redirect_stderr(io.StringIO()):
            target.read(content, folder)
    except REFUSALS as refusal:
        return None if len(str(refusal).splitlines()) == 1 else f"more than one line: {refusal!r}"
    except _Hang:
        return f"more than {SECONDS} seconds"
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return None


def examples(name: str, count: int, number: int = 0) -> dict[str, bytes]:
    """Faults of `count` files for a target, with the first file of each; `number` begins other ones."""
    target, found = TARGETS[name], {}
    seeds = _seeds(name)
    with tempfile.TemporaryDirectory() as folder:

        @seed(number)
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.sampled_from(range(len(seeds))), edits(target.words))
        def one(which: int, changes: list[Edit]) -> None:
            content = edited(seeds[which], changes)
            if wrong := fault(target, content, Path(folder)):
                found.setdefault(wrong, content)

        one()
    return found


@cache
def _seeds(name: str) -> Sequence[bytes]:
    return TARGETS[name].seeds()


def main(options: list[str]) -> list[Row]:
    """Fuzz the targets that are named, or all, for some minutes each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability fuzz")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[])
    parser.add_argument("--minutes", type=float, default=1)
    given_ = parser.parse_args(options)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    rows = []
    for name in given_.targets or TARGETS:
        examples(name, 10)  # what is imported and kept once
        used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limit[1]))
        tries, found, end = 0, {}, time.monotonic() + given_.minutes * 60
        while time.monotonic() < end:
            found |= examples(name, CHUNK, tries)
            tries += CHUNK
        resource.setrlimit(resource.RLIMIT_AS, limit)
        for wrong, content in found.items():
            path = scratch("fuzz", f"{name}-{hashlib.sha256(content).hexdigest()[:12]}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            print(f"{path}: {wrong[:300]}", file=sys.stderr)
        trial = (
            f"mutated files: {TARGETS[name].what}; lost: anything but a result or a refusal of ours, {SECONDS} s, 2 GB"
        )
        rows.append(row(trial, tries, len(found)))
    return rows
