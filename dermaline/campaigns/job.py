"""One training of a campaign, by the stage scripts as DVC runs them: what a worker of the cluster does."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dermaline.base.files import locked, write_json
from dermaline.base.stopping import end_with_parent
from dermaline.campaigns.plan import TrainingJob
from dermaline.data.index import PREPARED, SPLIT
from dermaline.params.recipe import recipe_path


class Ended(NamedTuple):
    """The error line of a job, if it failed, and the warnings of its stages; out of time is no error."""

    error: str | None
    warnings: list[str]


class _StoppedError(Exception):
    """A stage failed, with its error line, or ran out of time, with none."""


def run_job(jobs: Sequence[TrainingJob], root: Path, deadline: float) -> Ended:
    """Train a model and predict with it, once for each test-time augmentation; what is done is not done again.

    Args:
        jobs: of one training; they differ in their predictions alone.
        root: the project's folder, on a disk that all workers share.
        deadline: on the clock of `time.time`: nothing starts after it, and what runs then is stopped.
    """
    if not root.is_dir():
        return Ended(f"{socket.gethostname()}: {root} is not there; start workers where the project's folder is", [])
    os.chdir(root)
    folder, recipe, warnings = jobs[0].folder, jobs[0].recipe, []
    (folder / PREPARED.parent).mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):  # the scheduler gives a job to a second worker when it loses the first
            if not (folder / PREPARED).exists():
                (folder / PREPARED).unlink(missing_ok=True)  # a link to where the project once was
                (folder / PREPARED).symlink_to(PREPARED.absolute())
            for job in jobs:
                write_json(folder / "params.yaml", job.settings.model_dump(mode="json"), exact=True)  # JSON is YAML
                write_json(recipe_path(recipe, folder), job.training.model_dump(mode="json"), exact=True)
                for stage in _stages_left(job):
                    warnings += _run_stage(folder, stage, deadline)
                if not job.predictions.exists():
                    (folder / f"data/predictions/{recipe}.csv").replace(job.predictions)
    except _StoppedError as stopped:
        return Ended(str(stopped) or None, warnings)
    return Ended(None, warnings)


def _stages_left(job: TrainingJob) -> list[list[str]]:
    if job.predictions.exists():
        return []
    stages = [] if (job.folder / SPLIT).exists() else [["split"]]
    stages += [] if (job.folder / f"models/{job.recipe}").exists() else [["train", job.recipe]]
    return [*stages, ["predict", job.recipe]]


def _run_stage(folder: Path, stage: list[str], deadline: float) -> list[str]:
    """Run one stage script in `folder`: its warnings.

    Raises:
        _StoppedError: it failed, or there was no time.
    """
    root = Path.cwd()
    environment = os.environ | {"PYTHONPATH": str(root), "DVC_ROOT": str(root)}
    left = deadline - time.time()
    if left <= 0:
        raise _StoppedError
    path, command = folder / f"{stage[0]}.log", [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]]
    options = {
        "cwd": folder,
        "env": environment,
        "timeout": left,
        "check": True,
        "preexec_fn": partial(end_with_parent, signal.SIGKILL),
    }
    try:
        with path.open("w") as log:
            subprocess.run(command, stdout=log, stderr=log, **options)
    except subprocess.TimeoutExpired:
        raise _StoppedError from None
    except subprocess.CalledProcessError as problem:
        last = path.read_text().strip().splitlines() or ["nothing was said"]
        raise _StoppedError(f"{path}: exit status {problem.returncode}: {last[-1]}") from None
    return [f"{path}: {line}" for line in path.read_text().splitlines() if line.startswith("warning:")]
