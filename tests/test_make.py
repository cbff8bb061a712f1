"""`make` wherever the project lies: in a folder with a space in its name, in a git repository or not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT

PIPELINE = """
stages:
  one:
    cmd: python -c "open('which.txt', 'w').write(__import__('sys').argv[0] + __import__('shutil').which('dvc'))"
    outs: [which.txt]
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """The Makefile with a pipeline of one small stage, and an environment that is there already."""
    folder = tmp_path / "my project (größe)"
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("dvc", "python"):
        script = folder / ".venv/bin" / name
        script.write_text(f'#!/bin/sh\nexec "{Path(sys.executable).with_name(name)}" "$@"\n')
        script.chmod(0o755)
    requirements = [f"{folder}requirements.txt" for folder in ("", "stages/", "tests/")]
    for name in ("Makefile", "requirements.lock", *requirements, ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / ".venv/installed").touch()
    return folder


def make(project: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    done = subprocess.run(["make"], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_make_runs_the_pipeline_with_its_own_environment_with_git_and_without(project):
    assert "Running stage 'one'" in make(project)
    assert (project / "which.txt").read_text() == f"-c{project}/.venv/bin/dvc"
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    assert "didn't change" in make(project)
    config = subprocess.run(["git", "status", "--porcelain", "--ignored", ".dvc"], cwd=project, capture_output=True)
    assert b"!! .dvc/config.local" in config.stdout  # what DVC was told stays here
    listed = subprocess.run([project / ".venv/bin/dvc", "exp", "list"], cwd=project, capture_output=True)
    assert b"Only supported for Git" not in listed.stderr
