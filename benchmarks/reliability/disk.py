"""A full disk and a read-only one under each stage: `python -m benchmarks.reliability disk`; Linux, as root.

A stage runs on a copy of the small repository on a tmpfs that is full, or is mounted read-only, with its outputs of an
earlier run. It must end with one line that names a file and status 1, and leave these whole.
"""

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.kill import digests, imported, run_forked, stage_list
from benchmarks.reliability.rows import Row, row
from benchmarks.reliability.small import Repository, place
from dermaline.base.errors import DermalineError

MEGABYTES = 96  # of the tmpfs
KINDS = {"full": "a full disk", "read-only": "a read-only one"}
HARM = "lost: no line or more than one, another status than 1, or an earlier output that is no more"


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability disk")
    parser.add_argument("--place", type=Path, help="keep the small repository there, for the next trial")
    given = parser.parse_args(options)
    if os.geteuid():
        raise DermalineError("disk: mounting needs root; run it in a container as root")
    imported()
    with place(given.place) as base:
        found = {kind: [fault(base, stage, kind) for stage in stage_list(base.folder)] for kind in KINDS}
    return [
        row(f"each stage on {KINDS[kind]} ({HARM})", len(told), sum(map(bool, told)), faults=list(filter(None, told)))
        for kind, told in found.items()
    ]


def fault(base: Repository, stage: str, kind: str) -> str:
    """What a stage did wrong on such a disk; empty if nothing."""
    with mounted() as folder:
        copy = base.copy(folder / "repository", cache=False).folder
        outs = stage_list(copy)[stage]
        before = {path: digests(copy / path) for path in outs}
        if kind == "full":
            fill(folder)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        status, said = run_forked(copy, stage)
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        after = {path: digests(copy / path) for path in outs}
        if kind != "full":
            subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        changed = [path for path in outs if not after[path] or (after[path] != before[path])]
        if status != 1 or len(lines) != 1 or "Traceback" in said or changed:
            return f"{stage}: status {status}, {changed}, {said[-400:]!r}"
        print(f"{kind}, {stage}: {lines[0]}", flush=True)
        return ""


@contextmanager
def mounted() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "trial", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
