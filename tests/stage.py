"""Running a stage script as DVC does, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from closure import ROOT

from benchmarks.reliability.small import CHAIN
from dermaline.data import pack
from dermaline.params import whole
from dermaline.sources.synthetic import images


def environment(folder: Path) -> dict[str, str]:
    """That of a stage of this code in `folder`."""
    return os.environ | {"PYTHONPATH": str(ROOT), "DVC_ROOT": str(folder)}


def run_stage(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m stages.NAME` in `folder`, which holds its own params.yaml and data."""
    command = [sys.executable, "-m", f"stages.{name}", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)


def run_chain(folder: Path, *stages: str, **changes: str) -> None:
    """Run stages (`prepare`, `train:lite0`) one after another, each in a process of its own; see `CHAIN`."""
    command, variables = [sys.executable, "-c", CHAIN, *stages], environment(folder) | changes
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def generated(folder: Path, *stages: ModuleType) -> None:
    """Generated photographs, and what these stages make of them, in this process: others take seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(pack, "CHUNK", 10**6)  # one task, so no pool
        images.fetch(whole.read().data, Path("data/raw"), workers=1)
        for stage in stages:
            stage.main()


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one line a failed stage ends with; anything longer, such as a traceback, fails the test."""
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]
