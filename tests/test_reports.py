"""What a training shows while it runs: the table that grows, the bar, and TensorBoard's event files."""

import contextlib
import math
import os
import pty
import re
import subprocess
import sys
import termios
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
from dermaline.training.reports import EpochReports

EPOCHS = 4


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


def test_the_table_grows_by_a_row_an_epoch_and_a_resumed_training_keeps_its_rows(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    path, events = tmp_path / "lite0.csv", tmp_path / "events"

    def rows_seen(until: int) -> list[int]:
        """Train until the table has so many rows; how many it had each time that it was written."""
        write, seen = EpochReports(path, events), []

        def report(history: pd.DataFrame) -> None:
            write(history)
            seen.append(len(pd.read_csv(path)))
            if seen[-1] == until:
                raise KeyboardInterrupt

        fabric, recipe = setup_fabric("cpu", "32-true"), tiny.recipe()
        training = Trainer(
            recipe, tiny.examples(48, 0), tiny.examples(14, 1), fabric, ResumeCheckpoint("table"), report
        )
        with contextlib.suppress(KeyboardInterrupt):
            training.run()
        return seen

    assert rows_seen(2) == [1, 2]
    before = pd.read_csv(path)
    path.unlink()  # as DVC does before it runs the stage again
    assert rows_seen(9) == [2, 3]
    table = pd.read_csv(path)
    assert table.epoch.tolist() == [1, 2, 3]
    assert table.kept.sum() == 1
    pd.testing.assert_frame_equal(table.head(2).drop(columns="kept"), before.drop(columns="kept"))
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
