"""Where DVC's users keep their repositories: `python -m benchmarks.reliability repositories`; Linux, as root.

In each place the commands of a day are typed: `make`, `dvc repro`, `dvc exp run`, a campaign and `record`. Each must
work, or end with one line that says what to do.
"""

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.rows import Row, row
from benchmarks.reliability.small import BIN, Repository, place, ran

COMMANDS = {
    "make": "make",
    "dvc repro": "dvc repro",
    "campaign": "python -m dermaline campaign campaigns/folds.yaml --data synthetic --minutes 0",
    "record": "python -m dermaline record one --data synthetic --made-by make --seconds 1",
    "dvc exp run": "dvc exp run -S split.seed=1 split",  # last: `record` wants one run's files
}
LINES = ("error: ", "ERROR: ", "fatal: ")
HARM = "lost: a traceback, no line, more than one, or a stage run that was done"


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability repositories")
    parser.add_argument("--place", type=Path, help="keep the small repository there, for the next trial")
    parser.add_argument("--only", choices=PLACES, nargs="+", default=list(PLACES), help="these alone")
    given = parser.parse_args(options)
    found = {}
    with place(given.place) as base, tempfile.TemporaryDirectory(dir=base.folder.parent) as name:
        for number, where in enumerate(given.only):
            folder = Path(name, str(number))
            folder.mkdir()
            with PLACES[where](base, folder) as (repository, changes):
                for what, command in COMMANDS.items():
                    found[where, what] = typed(repository, command, changes, what in ("make", "dvc repro"))
                    print(f"{where}, {what}: {found[where, what]}", flush=True)
        found["a folder", "two `dvc repro` at once"] = at_once(base, Path(name, "two"))
    told = {
        f"{where}, {what}": re.sub(r"/\S+/it\b", "PATH", said)  # where this machine has it
        for (where, what), said in found.items()
        if said != "works"
    }
    faults = sum(said.startswith("fault") for said in told.values())
    what = f"{', '.join(f'`{name}`' for name in COMMANDS)} in {', '.join(given.only)}; two `dvc repro` at once ({HARM})"
    return [row(what, len(found), faults, told=told)]


def typed(repository: Repository, command: str, changes: dict[str, str], done: bool) -> str:
    """`works`, the line that says why not, or the fault; `done`: nothing is to run."""
    repository.run("git -c safe.directory=* checkout -q -- .")
    status, said = repository.attempt(command, **changes)
    if "Traceback" in said or "Errno" in said:
        return f"fault: {said[-1500:]}"
    if status == 0:
        return f"fault: ran {ran(said)}" if done and ran(said) else "works"
    lines = [line for line in said.splitlines() if line.startswith(LINES)]
    return lines[0] if lines else f"fault: {said[-1500:]}"


Found = Iterator[tuple[Repository, dict[str, str]]]


def ready(repository: Repository, cache: Path | None = None) -> Repository:
    """With a .venv of its own, as `make` looks for one, and the outputs of another's cache."""
    for name in ("dvc", "python"):
        script = repository.folder / ".venv/bin" / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec "{BIN / name}" "$@"\n')
        script.chmod(0o755)
    (repository.folder / ".venv/installed").touch()
    if cache:
        repository.run(f"dvc cache dir --local {cache}")
        repository.run("dvc checkout -q")
    return repository


@contextmanager
def plain(base: Repository, folder: Path) -> Found:
    yield ready(base.copy(folder / "it")), {}


@contextmanager
def submodule(base: Repository, folder: Path) -> Found:
    outer = Repository(folder / "outer")
    outer.folder.mkdir()
    outer.run("git init -q")
    outer.run(f"git -c protocol.file.allow=always submodule --quiet add {base.folder} inner")
    yield ready(Repository(outer.folder / "inner"), base.folder / ".dvc/cache"), {}


@contextmanager
def worktree(base: Repository, folder: Path) -> Found:
    main = base.copy(folder / "main")
    main.run(f"git worktree add -q -b other {folder / 'linked'}")
    yield ready(Repository(folder / "linked"), base.folder / ".dvc/cache"), {}


@contextmanager
def shallow(base: Repository, folder: Path) -> Found:
    base.run(f"git clone -q --depth 1 file://{base.folder} {folder / 'it'}")
    clone = Repository(folder / "it")
    clone.run("git checkout -q --detach")
    yield ready(clone, base.folder / ".dvc/cache"), {}


@contextmanager
def nameless(base: Repository, folder: Path) -> Found:
    """Git knows no name, and can make none up."""
    yield ready(base.copy(folder / "it")), {"HOME": str(folder), "EMAIL": "", "GIT_CONFIG_NOSYSTEM": "1"}


@contextmanager
def not_activated(base: Repository, folder: Path) -> Found:
    """As an editor or cron starts a program: by its path."""
    found = ready(base.copy(folder / "it"))
    found.environment = found.environment | {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    start = found.start
    found.start = lambda command, **options: start(  # type: ignore[method-assign]
        f".venv/bin/{command}" if command.startswith(("dvc ", "python ")) else command, **options
    )
    yield found, {}


@contextmanager
def another_owner(base: Repository, folder: Path) -> Found:
    found = ready(base.copy(folder / "it"))
    for path in (found.folder, *found.folder.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    yield found, {}


@contextmanager
def other_disk(base: Repository, folder: Path, kind: str) -> Found:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as cache:
        shutil.copytree(base.folder / ".dvc/cache", cache, dirs_exist_ok=True)
        found = base.copy(folder / "it", cache=True)
        found.run(f"dvc config --local cache.type {kind}")
        shutil.rmtree(found.folder / ".dvc/cache")
        yield ready(found, Path(cache)), {}


@contextmanager
def hardlinks(base: Repository, folder: Path) -> Found:
    found = ready(base.copy(folder / "it"))
    found.run("dvc config --local cache.type hardlink,copy")
    found.run("dvc checkout -q --relink")
    yield found, {}


@contextmanager
def reflinks(base: Repository, folder: Path) -> Found:
    image, mounted = folder / "disk", folder / "mounted"
    mounted.mkdir()
    for command in (
        f"truncate -s 400M {image}",
        f"mkfs.xfs -q -m reflink=1 {image}",
        f"mount -o loop {image} {mounted}",
    ):
        subprocess.run(command.split(), check=True)
    try:
        found = ready(base.copy(mounted / "it"))
        found.run("dvc config --local cache.type reflink")
        found.run("dvc checkout -q --relink")
        yield found, {}
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)


@contextmanager
def inside_another(base: Repository, folder: Path) -> Found:
    outer = Repository(folder)
    outer.run("git init -q")
    yield ready(base.copy(folder / "it")), {}


@contextmanager
def folder_of_another(base: Repository, folder: Path) -> Found:
    """Kept by the Git of a folder above, with a .dvc of its own."""
    found = base.copy(folder / "it")
    shutil.rmtree(found.folder / ".git")
    outer = Repository(folder)
    outer.run("git init -q")
    outer.commit("first")
    yield ready(found), {}


PLACES: dict[str, Callable[[Repository, Path], object]] = {
    "a folder": plain,
    "a submodule": submodule,
    "a linked worktree": worktree,
    "a shallow clone, HEAD detached": shallow,
    "no Git user": nameless,
    "not activated": not_activated,
    "a folder of another owner": another_owner,
    "a cache on another disk": lambda base, folder: other_disk(base, folder, "hardlink,symlink"),
    "hardlinks": hardlinks,
    "reflinks": reflinks,
    "a repository inside another": inside_another,
    "a folder of another repository": folder_of_another,
}
if not shutil.which("mkfs.xfs"):
    del PLACES["reflinks"]


def at_once(base: Repository, folder: Path) -> str:
    """Two `dvc repro` in one folder: one does it, the other says in one line that it is busy, or does nothing."""
    found = base.copy(folder / "it")
    shutil.rmtree(found.folder / ".dvc/cache/runs")
    both = [found.start("dvc repro --single-item --force evaluate") for _ in range(2)]
    said = [one.communicate()[0] for one in both]
    ended = [one.returncode for one in both]
    if all(ended) or any("Traceback" in one for one in said) or found.run("git status --porcelain"):
        return f"fault: {said}"
    lines = [line for one in said for line in one.splitlines() if line.startswith(LINES)]
    return lines[0] if lines else "works"
