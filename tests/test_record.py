"""`record` keeps what one run left, and nothing else, in a repository with real DVC."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT
from parameters import put_parameters

from dermaline.base.columns import GENERATED, SOURCE
from dermaline.base.errors import DermalineError
from dermaline.commands import record
from dermaline.commands.release import release

RECORDED = ROOT / "results/synthetic/lite0"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A repository as a run left it: its files are those of a recorded run, put back in their places."""
    root = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        _filled(root)
    return root


def _filled(root: Path) -> None:
    for folder in ("metrics", "plots/evaluation", "plots/training", "plots/figures", "models/lite0", "data/prepared"):
        Path(folder).mkdir(parents=True)
    for name in record.METRICS:
        shutil.copy(RECORDED / f"{name}.json", "metrics")
    for name in record.SERIES:
        shutil.copy(RECORDED / f"{name}.csv", "plots/evaluation")
    shutil.copy(RECORDED / "lite0.csv", "plots/training")
    shutil.copytree(RECORDED / "explain", "metrics/explain")
    Path("metrics/ood.json").write_text('{"threshold": 3.5}\n')
    Path("metrics/segmentation.json").write_text('{"test": {}}\n')
    put_parameters(root)
    facts = {"recipe": {"seed": 0}, "device": "CPU", "precision": "32-true", "torch": "2", "start": None}
    Path("models/lite0/recipe.json").write_text(json.dumps(facts))
    Path("data/prepared/index.csv").write_text(f"image_id,{SOURCE}\nISIC_0000000,{GENERATED}\n")
    metrics = [{f"metrics/{name}.json": {"cache": False}} for name in record.METRICS]
    stage = {"cmd": "true", "params": ["ensemble"], "outs": metrics}
    Path("dvc.yaml").write_text(json.dumps({"stages": {"evaluate": stage}}))
    dvc = [sys.executable, "-m", "dvc"]
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "run"]
    init, add = ["git", "init", "-q"], ["git", "add", "-A"]
    for command in (init, [*dvc, "init", "-q"], [*dvc, "commit", "-q", "-f"], add, commit):
        subprocess.run(command, check=True)


@pytest.fixture
def run(template, tmp_path, monkeypatch) -> Path:
    """A copy of its own: to make one takes DVC seconds."""
    folder = shutil.copytree(template, tmp_path / "run", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def edited(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_run_is_recorded_as_it_was_and_neither_other_parameters_nor_a_foreign_file(run):
    folder = record.record("lite0", "synthetic", "make", 162)
    kept, made = (json.loads((place / "made.json").read_text()) for place in (folder, RECORDED))
    assert (folder / "explain/lite0.json").read_bytes() == (RECORDED / "explain/lite0.json").read_bytes()
    for name in ("ood.json", "segmentation.json"):
        assert (folder / name).read_bytes() == Path("metrics", name).read_bytes()
    own = ("commit", "machine", "seconds")
    assert kept | {key: made[key] for key in own} == made
    assert (folder / "split.json").read_bytes() == (RECORDED / "split.json").read_bytes()
    shutil.rmtree("results")
    shutil.copy(ROOT / "results/ham10000/lite0_mixed/split.json", "metrics")  # as `git checkout` may leave it
    with pytest.raises(DermalineError, match=r"^dvc\.lock: evaluate: not as the last run left it"):
        record.record("lite0", "synthetic", "make", 162)
    assert not Path("results").exists()
    shutil.copy(RECORDED / "split.json", "metrics")
    put_parameters(run, {"ensemble": ["vit"]})
    with pytest.raises(DermalineError, match=r"^dvc\.lock: evaluate: "):
        record.record("lite0", "synthetic", "make", 162)


def test_a_model_that_has_seen_its_test_images_is_not_recorded(run):
    edited(run / "models/lite0/recipe.json", start={"model": "first", "split": "x", "same_split": False})
    with pytest.raises(DermalineError, match="model lite0: learned from first, not known to be of this split"):
        record.record("lite0", "synthetic", "make", 162)
    assert not Path("results").exists()


def test_what_is_not_of_the_last_run_is_not_released(run):
    edited(run / "metrics/details.json", lite0={"image_level": {"accuracy": 0.999, "cases": 1}})
    with pytest.raises(DermalineError, match=r"^dvc\.lock: evaluate: not as the last run left it"):
        release()
    assert not Path("released").exists()


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("split.json", {"test": {"images": 145}}, r"split.json: has 145 images of test, and 144 were scored"),
        ("split.json", {"val": {"images": 154}}, r"split.json: has 154 images of val, and 153 were scored"),
        ("decision.json", {"temperatures": {"lite0_ham": 1}}, r"is of lite0_ham, and details.json of lite0"),
    ],
)
def test_files_that_contradict_each_other_are_not_of_one_run(tmp_path, file, changes, message):
    folder = shutil.copytree(RECORDED, tmp_path / "metrics")
    record.require_one_run(folder)
    edited(folder / file, **changes)
    with pytest.raises(DermalineError, match=message):
        record.require_one_run(folder)


def test_what_git_refuses_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(DermalineError, match="not a git repository") as refused:
        record.git("status")
    assert "\n" not in str(refused.value)
