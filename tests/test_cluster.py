"""A campaign on a Dask scheduler with two workers, each a process of its own, one of which is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from closure import ROOT
from parameters import put_parameters
from stage import run_stage
from tiny import phase

from dermaline.campaigns import cluster, plan

CAMPAIGN = {
    "split": "test",
    "seeds": [0, 1],
    "set": {"recipe.size": [32, 32], "recipe.precision": "32-true", "recipe.phases": [phase("head", 12, 0, 1)]},
    "rows": [{"name": "plain", "recipes": ["lite0"]}],
}
pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "dermaline", "campaign", "two.yaml", "--data", "synthetic"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    small = {"data.synthetic.images": 140, "data.synthetic.size": [48, 64], "prepare.size": [48, 64]}
    put_parameters(folder, small | {"evaluate.bootstrap": 20, "evaluate.calibration": "none"})
    (folder / "two.yaml").write_text(json.dumps(CAMPAIGN))
    for name in ("stages", "dermaline"):
        (folder / name).symlink_to(ROOT / name)
    for stage in ("download", "prepare"):
        assert run_stage(folder, stage).returncode == 0
    return folder


@pytest.fixture
def start(project) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts processes in the project's folder, each a group of its own; all end with the test."""
    processes = []

    def started(*words: str) -> subprocess.Popen:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        options = {"cwd": project, "env": environment, "start_new_session": True, "text": True}
        processes.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options))
        return processes[-1]

    yield started
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def dask(what: str, *words: str) -> list[str]:
    return [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *words]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def tables(project: Path) -> list[Path]:
    return sorted((project / ".scratch/campaign").glob("lite0-*/plots/training/lite0.csv"))


def predictions(project: Path) -> dict[str, bytes]:
    return {
        path.parent.name: path.read_bytes() for path in (project / ".scratch/campaign").glob("lite0-*/flips-1x1-3.csv")
    }


def test_every_training_is_done_once_and_a_killed_workers_goes_on_on_the_other(project, start):
    file = project / "scheduler.json"
    start(*dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)))
    wait_for(lambda: file.exists() and file.stat().st_size > 0)
    address = json.loads(file.read_text())["address"]
    one = ("--nthreads", "1", "--resources", "CPU=1", "--host", "127.0.0.1")
    workers = [start(*dask("worker", address, *one)) for _ in range(2)]
    campaign = start(*COMMAND, "--scheduler", address)
    wait_for(lambda: len(tables(project)) == 2)  # both have an epoch that is safe
    os.killpg(workers[0].pid, signal.SIGKILL)  # with its nanny and the stage that it runs
    said, errors = campaign.communicate(timeout=120)
    assert campaign.returncode == 0, errors
    assert "1 of 1 rows are done" in said
    logs = [(path.parents[2] / "train.log").read_text() for path in tables(project)]
    assert sorted(log.count("resumed after epoch") for log in logs) == [0, 1]
    disturbed = predictions(project)
    assert len(disturbed) == 2
    shutil.rmtree(project / ".scratch")
    alone = subprocess.run([*COMMAND, "--jobs", "2"], cwd=project, capture_output=True, text=True, timeout=120)
    assert alone.returncode == 0, alone.stderr
    assert all(line.startswith("note: lite0: ") for line in alone.stderr.splitlines())
    assert predictions(project) == disturbed


def test_a_stopped_campaign_leaves_no_training_behind(project, start):
    shutil.rmtree(project / ".scratch", ignore_errors=True)
    longer = CAMPAIGN["set"] | {"recipe.phases": [phase("head", 1000, 0, 1)], "recipe.patience": 1000}
    (project / "long.yaml").write_text(json.dumps(CAMPAIGN | {"set": longer}))
    campaign = start(*[word.replace("two", "long") for word in COMMAND])
    wait_for(lambda: len(tables(project)) == 1)
    os.kill(campaign.pid, signal.SIGINT)  # to it alone, not to its workers
    _, errors = campaign.communicate(timeout=60)
    assert errors.strip().splitlines()[-1] == "stopped; run it again to go on"
    (table,) = tables(project)
    rows = table.read_text()
    time.sleep(2)
    assert table.read_text() == rows


def test_that_no_worker_has_what_a_training_needs_is_said(project, start):
    shutil.rmtree(project / ".scratch", ignore_errors=True)
    file = project / "bare.json"
    start(*dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)))
    wait_for(lambda: file.exists() and file.stat().st_size > 0)
    address = json.loads(file.read_text())["address"]
    start(*dask("worker", address, "--nthreads", "1", "--host", "127.0.0.1"))
    campaign = start(*COMMAND, "--scheduler", address, "--needs", "GPU=1")
    lines = iter(campaign.stderr.readline, "")
    assert any(f"no worker of {address} has GPU=1: it waits" in line for line in lines)


def test_without_such_a_worker_it_ends_when_its_time_is_over(project, start, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr(cluster, "STOP_SECONDS", 1)
    file = project / "idle.json"
    start(*dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)))
    wait_for(lambda: file.exists() and file.stat().st_size > 0)
    given = plan.read(Path("two.yaml"))
    trainings = [plan.jobs(given, given.rows[0], run) for run in plan.runs(given)]
    address, begun = json.loads(file.read_text())["address"], time.monotonic()
    assert cluster.run_all(trainings, ("GPU", 1), 1, address, minutes=0.02) == []
    assert time.monotonic() - begun < 20


def test_a_scheduler_that_is_not_there_is_said_in_one_line(project):
    done = subprocess.run([*COMMAND, "--scheduler", "tcp://127.0.0.1:9"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: --scheduler tcp://127.0.0.1:9: can't be reached")
