"""A small repository of the pipeline with real Git and DVC, for the trials."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from dermaline.base.errors import DermalineError

COPIED = (
    *(
        "dermaline",
        "stages",
        "recipes",
        "campaigns",
        "requirements.txt",
        "requirements.lock",
        "dvc.yaml",
        "params.yaml",
    ),
    *("Makefile", ".dvcignore", ".gitignore", ".gitattributes", "tests/requirements.txt"),
)
SMALL = {
    "data.synthetic.images": 140,
    "data.synthetic.size": [48, 64],
    "prepare.size": [48, 64],
    "train.size": [32, 48],
    "train.phases.1.epochs": 2,
    "train.precision": "32-true",
    "evaluate.bootstrap": 20,
    "explain.images": 20,
    "segment.size": [32, 64],
    "segment.precision": "32-true",
    "ood.size": [48, 64],
    "ood.drawn": 5,
    "export.images": 10,
    "plot.dpi": 50,
}
BIN = Path(sys.executable).parent
CHAIN = """
import importlib, os, runpy, sys
stages = [stage.split(":") for stage in sys.argv[1:]]
for name, *_ in stages:
    importlib.import_module(f"stages.{name}")
for name, *words in stages:
    if child := os.fork():
        if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            sys.exit(status)
    else:
        del sys.modules[f"stages.{name}"]
        sys.argv[1:], ended = words, 0
        try:
            runpy.run_module(f"stages.{name}", run_name="__main__")
        except SystemExit as problem:
            ended = problem.code
        if isinstance(ended, str):
            print(ended, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if isinstance(ended, str) else ended)  # libraries would end threads that only the parent has
"""  # stages (`prepare`, `train:lite0`), each a process, as DVC has them; but what they import is imported once


class Repository:
    """A checkout in which commands are run as a user would, one computing thread each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
        self.environment = os.environ | own | {"GIT_CONFIG_GLOBAL": os.devnull}

    def start(self, command: str, **options: object) -> subprocess.Popen[str]:
        """Begin a command in a process group of its own; its two streams are one."""
        told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        return subprocess.Popen(command.split(), cwd=self.folder, **({"env": self.environment} | told | options))

    def attempt(self, command: str, **changes: str) -> tuple[int, str]:
        """Run a command: its exit status, and what it said."""
        running = self.start(command, env=self.environment | changes)
        said, _ = running.communicate()
        return running.returncode, said

    def run(self, command: str) -> str:
        status, said = self.attempt(command)
        if status:
            raise DermalineError(f"{self.folder}: {command}: exit status {status}: {said[-2000:]}")
        return said

    def set(self, **values: object) -> None:
        """Set dotted keys of params.yaml."""
        path = self.folder / "params.yaml"
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in values.items():
            *parts, last = [int(part) if part.isdigit() else part for part in key.split(".")]
            holder = tree
            for part in parts:
                holder = holder[part]
            holder[last] = value
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")

    def commit(self, message: str) -> None:
        self.run("git add -A")
        self.run(f"git -c user.name=t -c user.email=t@t commit -q -m {message}")

    def copy(self, folder: Path, *, cache: bool = True) -> "Repository":
        """The same repository, with or without DVC's cache, in another folder."""
        shutil.rmtree(folder, ignore_errors=True)
        left_out = None if cache else shutil.ignore_patterns(".dvc", ".git")
        shutil.copytree(self.folder, folder, symlinks=True, ignore=left_out)
        return Repository(folder)


def make(folder: Path, *, run: bool = True) -> Repository:
    """This checkout's pipeline on few small images, committed; after `dvc repro` unless told otherwise."""
    made = Repository(folder)
    folder.mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if Path(name).is_dir() else shutil.copyfile
        (folder / name).parent.mkdir(exist_ok=True)
        copy(name, folder / name)
    made.set(**SMALL)
    made.run("git init -q")
    made.run("dvc init -q")
    made.run("dvc config core.autostage true")
    if run:
        made.run("dvc repro")
    made.commit("first")
    return made


@contextmanager
def place(kept: Path | None = None) -> Iterator[Repository]:
    """A small repository after its first run: in a folder that is removed, or is kept for the next trial."""
    with tempfile.TemporaryDirectory() as name:
        folder = (kept or Path(name)).absolute()
        base = folder / "base"
        yield Repository(base) if base.exists() else make(base)


def ran(said: str) -> list[str]:
    """The stages that DVC says it ran, in order."""
    return re.findall(r"Running stage '([^']+)'", said)
