"""One training by several processes: as one process would have trained it, and written once."""

import json
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch
from parameters import put_parameters
from stage import environment, run_chain
from torch import nn

from dermaline.base.errors import DermalineError
from dermaline.compute import setup_fabric
from dermaline.training.loop import PhaseState, Trainer

PLAIN = {  # nothing random, and no batch norm, whose statistics are each process's own on a CPU
    **{"backbone": "convnext_atto", "weights": "none", "size": [32, 48], "drop_path": 0, "dropout": 0, "flip": False},
    **dict.fromkeys(
        ("rotation", "scale", "aspect_ratio", "translate", "brightness", "contrast", "saturation", "colour_cast"), 0
    ),
    **{"precision": "32-true", "batch_size": 16, "lr": 1e-3, "grad_accum_steps": 2},
    "phases": [tiny.phase("head", 1, 0, 1), tiny.phase("all", 2, 1, 1)],
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
STARTS = {"one": (1, [sys.executable]), "fabric": (2, [sys.executable]), "torchrun": (1, TORCHRUN)}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with small generated images, prepared and split, and the plain recipe in its params.yaml."""
    folder = tmp_path_factory.mktemp("processes")
    small = {"data.synthetic.images": 210, "data.synthetic.size": [48, 64], "prepare.size": [48, 64]}
    put_parameters(folder, small, recipe=PLAIN)
    run_chain(folder, "download", "prepare", "split")
    return folder


def started(project, start: str) -> subprocess.Popen:
    """A training, started in one of the ways, in a process group of its own."""
    devices, command = STARTS[start]
    put_parameters(project, {"compute.device": "cpu", "compute.devices": devices})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen([*command, "-m", "stages.train", "lite0"], cwd=project, env=environment(project), **pipes)


def train(project, start: str) -> tuple[pd.DataFrame, str]:
    """The history of a training that was started in one of the ways, and what it printed."""
    training = started(project, start)
    said, _ = training.communicate(timeout=300)
    assert training.returncode == 0, said[-3000:]
    return pd.read_csv(project / "plots/training/lite0.csv"), said


@pytest.fixture(scope="module")
def alone(project):
    return train(project, "one")[0]


def as_alone(together: pd.DataFrame, alone: pd.DataFrame) -> None:
    assert list(together.phase) == list(alone.phase)
    for column in ("train_loss", "val_loss"):  # not what is ranked: one swap by rounding is a step
        assert together[column].to_list() == pytest.approx(alone[column].to_list(), abs=2e-4), column
    assert together.train_loss.iloc[-1] < together.train_loss.iloc[0]


@pytest.fixture
def nothing_kept(project, alone):
    """No checkpoint of a training that ended: the next one would go on from it, until a stage has read its model."""
    shutil.rmtree(project / ".scratch")


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_kept")
def test_two_processes_have_the_loss_curve_of_one(project, alone):
    together, said = train(project, "torchrun")
    as_alone(together, alone)
    assert said.count("epoch 1 ") == 1
    facts = json.loads((project / "models/lite0/recipe.json").read_text())
    assert facts["device"].startswith("2 x CPU")
    (kept,) = (project / ".scratch").glob("*")  # until the stage predict reads the model
    assert sorted(path.name for path in kept.iterdir()) == ["checkpoint.pt", "finished"]


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_kept")
def test_killed_and_started_again_they_go_on_from_the_last_epoch_to_the_same_curve(project, alone):
    training = started(project, "fabric")
    assert any(line.startswith("epoch 1 ") for line in training.stdout)
    os.killpg(training.pid, signal.SIGKILL)
    training.communicate()
    together, said = train(project, "fabric")
    assert said.count("resumed after epoch") == 1
    as_alone(together, alone)
    facts = json.loads((project / "models/lite0/recipe.json").read_text())
    assert facts["device"].startswith("2 x CPU")


@pytest.mark.slow
def test_of_a_network_with_batch_norm_a_resumed_training_has_the_same_bits(project, alone):
    """Each process has seen statistics of its own; all go on with those of the first."""
    put_parameters(project, recipe=PLAIN | {"backbone": "resnet10t"})
    made = []
    for stopped in (False, True):
        shutil.rmtree(project / ".scratch", ignore_errors=True)
        shutil.rmtree(project / "models")
        if stopped:
            training = started(project, "fabric")
            assert any(line.startswith("epoch 2 ") for line in training.stdout)
            os.killpg(training.pid, signal.SIGKILL)
            training.communicate()
        history, said = train(project, "fabric")
        assert ("resumed after epoch 2" in said) == stopped
        made.append((history.to_csv(), (project / "models/lite0/model.safetensors").read_bytes()))
    put_parameters(project, recipe=PLAIN)
    assert made[0] == made[1]


def test_the_shares_of_a_batch_have_no_repeats_and_no_gaps():
    recipe = tiny.recipe(batch_size=12, grad_accum_steps=2)
    examples = SimpleNamespace(labels=torch.arange(50) % 7, to_augment=lambda *asked: None)

    def epoch(share: slice) -> list[list[torch.Tensor]]:
        work = PhaseState(recipe.phases[0], recipe, nn.Identity(), None, examples, (32, 48), share)
        return list(work.steps(1))

    whole, shares = epoch(slice(0, None, 1)), [epoch(slice(rank, None, 3)) for rank in range(3)]
    assert [len(step) for step in whole] == [2, 2]
    for step, *parts in zip(whole, *shares, strict=True):
        for batch, *dealt in zip(step, *parts, strict=True):
            assert {len(part) for part in dealt} == {4}
            assert sorted(torch.cat(dealt).tolist()) == sorted(batch.tolist())


SCHEDULERS = {
    "SLURM": {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "1"}
    | dict.fromkeys(("SLURM_LOCALID", "SLURM_PROCID", "SLURM_NODEID"), "0"),
    "LSF": {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "/none", "JSM_NAMESPACE_LOCAL_RANK": "0", "JSM_NAMESPACE_SIZE": "4"},
    "Kubeflow": {"KUBERNETES_PORT": "tcp://127.0.0.1:443", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    | {"WORLD_SIZE": "4", "RANK": "0"},
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_within_the_job_of_a_scheduler_one_process_runs(scheduler, monkeypatch):
    for name, value in SCHEDULERS[scheduler].items():
        monkeypatch.setenv(name, value)
    assert setup_fabric("cpu", "32-true").world_size == 1


def test_a_batch_that_can_not_be_shared_is_refused():
    three = SimpleNamespace(world_size=3)
    with pytest.raises(DermalineError, match="recipe: batch_size: 16 is no multiple of 3 processes"):
        Trainer(tiny.recipe(), None, None, three, None)
