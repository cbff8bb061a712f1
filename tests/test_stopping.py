"""Stopped by a signal: one line, the status that shells give it, and nothing half; killed: no one writes on."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from closure import ROOT
from stage import environment

from dermaline.base.files import locked
from dermaline.training.checkpoint import ResumeCheckpoint, forget_finished

WORKS = """
import sys, time
from pathlib import Path
from dermaline.base import errors, files

def main():
    with files.replacing(Path("out")) as partial:
        partial.write_text("half")
        print("begun", flush=True)
        time.sleep(60)

errors.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_line_and_leaves_nothing_half(tmp_path, number):
    (tmp_path / "out").write_text("old")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen([sys.executable, "-c", WORKS], cwd=tmp_path, env=environment(tmp_path), **pipes)
    assert running.stdout.readline() == "begun\n"
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (128 + number, "stopped; run it again to go on\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "old")]


CATCHES = """
import os, signal
from dermaline.base import errors, stopping

def interrupted():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException as stop:
        caught.append(stop)

def main():
    print("begun", flush=True)
    interrupted()
    {after}

caught = []
{before}
errors.run(main)
"""


@pytest.mark.parametrize(
    ("before", "after", "begun"),
    [
        ("stopping.end_in_one_line(); interrupted()", "pass", ""),  # an import
        ("", 'raise RuntimeError("of the library")', "begun\n"),
        ("", "pass", "begun\n"),
    ],
)
def test_a_stop_that_a_library_catches_ends_the_process_all_the_same(tmp_path, before, after, begun):
    program = CATCHES.format(before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, begun)
    assert done.stderr == "stopped; run it again to go on\n"


WORKERS = """
import os, signal, threading, time
from multiprocessing import util
from dermaline.base import errors
from dermaline.pool import mapped

def starts(program, arguments, descriptors):
    begun.append(start(program, arguments, descriptors))
    if len(begun) == 3:  # Python's own process that watches semaphores, the first worker, and now the second
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)  # until the thread has heard it
    return begun[-1]

def main():
    threading.Thread(target=threading.Event().wait, daemon=True).start()  # hears what the main thread does not
    list(mapped(chr, range(9), workers=2))

if __name__ == "__main__":
    begun, start = [], util.spawnv_passfds
    util.spawnv_passfds = starts
    errors.run(main)
"""


def test_ctrl_c_at_the_start_of_a_worker_is_one_line(tmp_path):
    (tmp_path / "work.py").write_text(WORKERS)
    done = subprocess.run([sys.executable, "work.py"], env=environment(tmp_path), cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"stopped; run it again to go on\n")


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.3, 0.8, 1.5, 2.5])
def test_ctrl_c_while_a_stage_imports_its_libraries_is_one_line(tmp_path, after):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    command = [sys.executable, "-m", "stages.train", "lite0"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), **pipes)
    time.sleep(after)
    os.killpg(running.pid, signal.SIGINT)
    said = running.communicate(timeout=30)[1]
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own way")
def test_a_stage_ends_with_the_dvc_that_was_killed(tmp_path):
    """Or it would write its outputs beside those of the next `dvc repro`."""
    (tmp_path / "stages").symlink_to(Path(__file__).parents[1] / "stages")
    (tmp_path / "dermaline").symlink_to(Path(__file__).parents[1] / "dermaline")
    child = "import sys, time; sys.argv[0] = '-m'; import stages; print('begun', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    variables = environment(tmp_path) | {"DVC_STAGE": "x"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "start_new_session": True}
    running = subprocess.Popen([sys.executable, "-c", parent], env=variables, **pipes)
    assert running.stdout.readline() == "begun\n"
    running.kill()
    begun = time.monotonic()
    assert running.stdout.read() == ""  # until the last that holds the pipe has ended
    assert time.monotonic() - begun < 10


def test_a_checkpoint_that_a_killed_run_left_half_written_goes_and_that_of_a_live_one_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    scratch = ResumeCheckpoint("one")
    scratch.save({"epoch": 1})
    (scratch.folder / "checkpoint.1.partial").write_bytes(b"half")
    live = scratch.folder / "checkpoint.2.partial"
    with live.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        scratch.save({"epoch": 2})
        assert sorted(path.name for path in scratch.folder.iterdir()) == ["checkpoint.2.partial", "checkpoint.pt"]
    assert torch.load(scratch.path) == {"epoch": 2}
    scratch.remove()
    assert list(tmp_path.glob(".scratch/*")) == []


def test_who_is_stopped_waits_only_for_the_work_that_has_begun(tmp_path):
    program = """
import time
from dermaline.pool import processes
if __name__ == "__main__":
    with processes(1) as pool:
        print(pool.submit(int, "3").result(), flush=True)
        for _ in range(100):
            pool.submit(time.sleep, 1)
        raise SystemExit(5)
"""
    began = time.monotonic()
    (tmp_path / "work.py").write_text(program)
    done = subprocess.run([sys.executable, "work.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 5
    assert time.monotonic() - began < 60


def test_a_folder_is_worked_in_by_one_process_at_a_time(tmp_path):
    def work(number: int) -> None:
        with locked(tmp_path / "shared"):
            for _ in range(3):
                order.append(number)
                time.sleep(0.02)

    order: list[int] = []
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert order[::3] == order[1::3] == order[2::3]


def test_a_finished_training_is_forgotten_when_what_it_made_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    models = [tmp_path / name for name in ("one", "other")]
    for model in models:
        model.write_text(model.name)
        scratch = ResumeCheckpoint(f"of {model.name}")
        scratch.save({"epoch": 1})
        scratch.finish(model)
    ResumeCheckpoint("under way").save({"epoch": 1})
    forget_finished(models[0])
    assert sorted(path.name for path in tmp_path.glob(".scratch/*")) == ["of other", "under way"]


def test_a_python_without_the_packages_is_one_line_that_says_what_to_type(tmp_path):
    """As `.venv/bin/dvc repro` of an editor or of cron starts it, which have not activated .venv."""
    for command in (["-m", "stages.split"], ["-m", "dermaline", "predict", "x"]):
        bare = [sys.executable, "-S", *command]  # without site-packages
        done = subprocess.run(bare, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        assert done.returncode == 1
        assert re.fullmatch(r"error: \S+ has no \w+; run `source .venv/bin/activate` first, or `make`\n", done.stderr)
