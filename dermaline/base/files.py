"""Files: written so that a reader never sees half of one, and the scratch folder of what outlives a stopped run."""

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dermaline.base.errors import FULL, DermalineError

DIGITS = 6
FULL_DISK = 1 << 20  # bytes free, below which an error of writing is put down to the disk
LARGEST_JSON = 10**7  # bytes; ours have some thousands


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes `path`'s place in one step.

    The block may make a file or a folder there. A symbolic link stays one: what it leads to is replaced. On an error
    nothing is left behind, and what a killed run left is removed by the next one. What takes the place is on the disk
    before it does: a loss of power leaves the old or the new.

    Raises:
        DermalineError: the disk is full.
    """
    path = _led_to(Path(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (path.with_name(f".{path.name}.{end}") for end in ("partial", "old"))
    _settle(path, partial, old)
    try:
        with room(path):
            yield partial
            sync(partial)
        if partial.is_dir() and path.exists():  # a folder takes the place of nothing else than an empty one
            path.replace(old)
        partial.replace(path)
        _flush(path.parent)
    finally:
        _settle(path, partial, old)


def _settle(path: Path, partial: Path, old: Path) -> None:
    """Leave nothing but `path`: what was stopped within the two steps of replacing a folder takes the first back."""
    _remove(partial)
    if old.exists() and not path.exists():
        old.replace(path)
    _remove(old)


@contextmanager
def room(path: Path) -> Iterator[None]:
    """Say in one line that the disk of `path` is full, however the library says it that writes there.

    Raises:
        DermalineError: there was an error, and the disk is full.
    """
    try:
        yield
    except DermalineError:
        raise
    except Exception as problem:
        if getattr(problem, "errno", None) in FULL or shutil.disk_usage(path.parent).free < FULL_DISK:
            raise DermalineError(f"{path}: no space left on the disk; make room, then run it again") from problem
        raise


def sync(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    for inside in path.rglob("*") if path.is_dir() else ():
        _flush(inside)
    _flush(path)


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # a file system that knows no such thing
            raise
    finally:
        os.close(opened)


def _led_to(path: Path) -> Path:
    """Where a link leads, at any number of steps; but a file that may not be written, as DVC's cache, is let be."""
    if not path.is_symlink():
        return path
    end = Path(os.path.realpath(path))  # `resolve` raises on a link to itself
    return path if end.is_file() and not end.stat().st_mode & stat.S_IWUSR else end


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def keep_only(folder: Path, names: Iterable[str]) -> None:
    """Remove what else lies in `folder`: what DVC hashes whole must not hold what is no stage's output any more."""
    for path in set(folder.glob("*")) - {folder / name for name in names}:
        _remove(path)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends on every system, so that hashes agree."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any, *, exact: bool = False) -> None:
    """Write `content` as JSON with floats rounded to six digits, or (settings, say) as they are.

    Raises:
        ValueError: a number is not finite (DVC would call a NaN changed for ever).
    """
    write_text(path, json.dumps(content if exact else rounded(content), indent=2, allow_nan=False) + "\n")


def rounded(content: Any) -> Any:
    """`content` with every float in it, at any depth, rounded to six digits."""
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [rounded(value) for value in content]
    if isinstance(content, float) and math.isfinite(content):
        return round(float(content), DIGITS)
    return content


def read_text(path: Path) -> str:
    """The UTF-8 text of a small file, which may be somebody else's.

    Raises:
        OSError: it can't be read, or is a device or a pipe, which may have no end.
        ValueError: it is no UTF-8, or larger than `LARGEST_JSON`.
    """
    _require_regular(path)
    with path.open("rb") as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise ValueError(f"more than {LARGEST_JSON / 1e6:g} MB")
    return content.decode("utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises as `read_text`, and ValueError for what is no JSON or nested too deeply."""
    try:
        return json.loads(read_text(path))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _require_regular(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise OSError(f"{path.name} is no regular file")


def digest(path: Path) -> str:
    """Names the content of a file, in 16 hexadecimal digits (BLAKE2b).

    Raises:
        DermalineError: it is a folder, a device or a pipe.
    """
    require_file(path)
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def from_root(path: Path | str) -> Path:
    """A file or folder that is named from the project's root.

    It is this checkout's, which in DVC's temporary experiments has what Git tracks, or else the main one's.
    """
    return Path(path) if Path(path).exists() else _main_checkout() / path


def _main_checkout() -> Path:
    return Path(os.environ.get("DVC_ROOT") or ".")


def scratch(*names: str) -> Path:
    """A path in the main checkout's scratch folder, for what a stopped run should find again.

    DVC deletes a stage's outputs before it runs, so it can't lie there.
    """
    return _main_checkout().joinpath(".scratch", *names)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process works in a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def require_file(path: Path) -> None:
    """Stop, before the work that is to fill it, if `path` is a folder or a device; raises a `DermalineError`."""
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise DermalineError(f"{path}: is {what}; give the name of a file")


def require_space(folder: Path, needed: int) -> None:
    """Stop unless the disk of `folder`, which need not exist yet, has `needed` bytes free.

    Raises:
        DermalineError: it names the folder, what is needed and what is free, in MB.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DermalineError(f"{folder}: {needed / 1e6:,.1f} MB needed, {free / 1e6:,.1f} MB free; make room")
