"""Running a stage script as DVC does, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

from closure import ROOT


def run_stage(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m stages.NAME` in `folder`, which holds its own params.yaml and data."""
    command = [sys.executable, "-m", f"stages.{name}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DVC_ROOT": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one line a failed stage ends with; anything longer, such as a traceback, fails the test."""
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]
