"""What a training shows while it runs: the table that grows, the bar, and TensorBoard's event files."""

import math
import os
import pty
import re
import subprocess
import sys
import termios
import time
from pathlib import Path

import pandas as pd
import pytest
import tiny
from closure import ROOT
from parameters import put_parameters
from stage import environment, error_line, run_chain
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dermaline.compute import setup_fabric
from dermaline.training.checkpoint import ResumeCheckpoint
from dermaline.training.loop import Trainer

EPOCHS = 4
TABLE = "plots/training/lite0.csv"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with small generated images, prepared and split, whose recipe trains for four epochs."""
    folder = tmp_path_factory.mktemp("reports")
    small = {"data.synthetic.images": 210, "data.synthetic.size": [48, 64], "prepare.size": [48, 64]}
    phases = [tiny.phase("head", 1, 0, 3), tiny.phase("all", EPOCHS - 1, 0.5, 1)]
    put_parameters(folder, small | {"compute.tensorboard": True, "train.phases": phases, "train.size": [32, 48]})
    run_chain(folder, "download", "prepare", "split")
    return folder


def started(project: Path, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "stages.train", "lite0"]
    return subprocess.Popen(command, cwd=project, env=environment(project), **options)


def rows_seen(project: Path, training: subprocess.Popen, until: int) -> list[int]:
    """How many epochs the table had, each number once, until there were so many or the training ended."""
    seen = []
    while training.poll() is None and (not seen or seen[-1] < until):
        rows = len(pd.read_csv(project / TABLE)) if (project / TABLE).exists() else 0
        seen += [rows] if rows and rows not in seen else []
        time.sleep(0.02)
    return seen


def test_the_table_grows_by_a_row_an_epoch_and_a_resumed_training_keeps_its_rows(project):
    training = started(project, stdout=subprocess.DEVNULL)
    assert rows_seen(project, training, 2) == [1, 2]
    training.kill()
    training.wait()
    before = pd.read_csv(project / TABLE)
    (project / TABLE).unlink()  # as DVC does before it runs the stage again
    training = started(project, stdout=subprocess.DEVNULL)
    seen = rows_seen(project, training, EPOCHS)
    assert training.wait() == 0
    assert seen[0] == len(before)
    table = pd.read_csv(project / TABLE)
    assert table.epoch.tolist() == list(range(1, EPOCHS + 1))
    assert table.kept.sum() == 1
    pd.testing.assert_frame_equal(table.head(len(before)).drop(columns="kept"), before.drop(columns="kept"))
    (events,) = (project / "runs").iterdir()
    told = EventAccumulator(str(events)).Reload()
    assert set(told.Tags()["scalars"]) == set(table.columns) - {"epoch", "phase", "kept"}
    for name in told.Tags()["scalars"]:
        values = {event.step: event.value for event in told.Scalars(name)}
        assert [values[epoch] for epoch in table.epoch] == pytest.approx(table[name].tolist(), abs=1e-5)


@pytest.mark.slow
def test_on_a_terminal_a_bar_counts_the_images_of_the_whole_training(project):
    (project / "recipes/lite0.yaml").write_text("backbone: tf_efficientnet_lite0\nseed: 3\n")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    training = started(project, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    assert training.wait() == 0
    bar = re.findall(r"(\d+)/(\d+) \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ ?images/s, epoch (\d), (\w+)\]", shown.decode())
    images = 32 * (len(pd.read_csv(project / "data/split.csv").query("split == 'train'")) // 32) * EPOCHS
    assert {int(total) for _, total, *_ in bar} == {images}
    assert [int(done) for done, *_ in bar] == sorted(int(done) for done, *_ in bar)
    assert {(epoch, phase) for *_, epoch, phase in bar} >= {("2", "all"), (str(EPOCHS), "all")}
    assert shown.count(b"images/s\r\n") == EPOCHS  # a line an epoch, none of them broken by the bar


def test_the_rate_of_an_epoch_is_its_largest(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    recipe = tiny.recipe(warmup=0, schedule="cosine", lr=0.01)
    training = Trainer(
        recipe, tiny.examples(48, 0), tiny.examples(14, 1), setup_fabric("cpu", "32-true"), ResumeCheckpoint("rate")
    )
    training.run()
    head, first, second = (row["lr"] for row in training.history)
    assert (head, first) == pytest.approx((0.03, 0.01))
    assert second == pytest.approx(0.01 * (1 + math.cos(math.pi * 2 / 5)) / 2)  # step 3 of 6; step 0 is the warm-up


@pytest.mark.slow
def test_without_its_package_tensorboard_is_refused_in_one_line(project, tmp_path, monkeypatch):
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard/__init__.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    put_parameters(project, recipe={"seed": 5})
    command = [sys.executable, "-m", "stages.train", "lite0"]
    hidden = environment(project) | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(command, cwd=project, env=hidden, capture_output=True, text=True)
    assert "compute.tensorboard: tensorboard is not installed; pip install -r" in error_line(done)
