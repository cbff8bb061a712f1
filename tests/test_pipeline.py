"""The pipeline under real DVC, in a repository of its own, on a few small generated images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT
from PIL import Image
from ruamel.yaml import YAML

from benchmarks.reliability.small import ran

COPIED = (
    "dermaline",
    "stages",
    "requirements.txt",
    "dvc.yaml",
    "params.yaml",
    "recipes",
    ".dvcignore",
    ".gitignore",
    ".gitattributes",
)
SMALL = (  # what is made small, in the words of params.yaml
    ("    images: 1000\n", "    images: 210\n"),
    ("    size:                  # height, width\n    - 192\n    - 256", "    size:\n    - 48\n    - 64"),
    ("  size:                    # height, width of the packed images\n  - 192\n  - 256", "  size:\n  - 48\n  - 64"),
    ("  size:\n  - 96\n  - 128", "  size:\n  - 32\n  - 48"),
    ("    epochs: 4\n", "    epochs: 1\n"),
    ("  epochs: 2 ", "  epochs: 1 "),
    ("bootstrap: 1000", "bootstrap: 20"),
    ("  dpi: 150", "  dpi: 50"),
    ("  drawn: 50 ", "  drawn: 5 "),
    (
        "  size:                    # height, width at which a photograph is looked at\n  - 96\n  - 128",
        "  size:\n  - 48\n  - 64",
    ),
    ("  precision: portable ", "  precision: 32-true "),  # on one thread: the tests are run beside each other
    ("  - 64\n  - 64\n", "  - 32\n  - 64\n"),
    ("  precision: portable\n", "  precision: 32-true\n"),
)
TO_FIGURES = ["check", "download", "prepare", "split", "train@lite0", "predict@lite0", "evaluate", "plot"]
AFTER = ["explain@lite0", "segment", "outline", "ood", "report", "export"]  # minutes: the rest of `dvc repro`


class Repository:
    """A checkout with DVC in which commands are run as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}

    def attempt(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command.split(), cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def run(self, command: str) -> str:
        done = self.attempt(command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def repro(self, target: str = "") -> list[str]:
        """Run `dvc repro`; the stages that ran, in order."""
        return ran(self.run(f"dvc repro {target}"))

    def edit(self, old: str, new: str, file: str = "params.yaml") -> None:
        path = self.folder / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    def commit(self, message: str) -> None:
        self.run("git add -A")
        self.run(f"git -c user.name=t -c user.email=t@t commit -q -m {message}")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("pipeline"))
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, repository.folder / name)
    for old, new in SMALL:
        repository.edit(old, new)
    repository.run("git init -q")
    repository.run("dvc init -q")
    assert repository.repro("plot") == TO_FIGURES
    repository.commit("first")
    return repository


@pytest.fixture(autouse=True)
def restored(repository):
    """Each test starts and ends at the last commit, with its outputs."""
    yield
    repository.run("git reset -q --hard")
    repository.run("dvc checkout -q --force --allow-missing")


@pytest.fixture(scope="module")
def whole(repository) -> Repository:
    """The same with every stage run: for the tests at the end, which are slow."""
    assert repository.repro() == AFTER
    repository.commit("whole")
    return repository


def test_a_second_repro_runs_nothing_and_leaves_nothing_behind(repository):
    assert repository.repro("plot") == []
    assert repository.run("git status --porcelain") == ""


def test_a_setting_runs_the_stages_that_read_it_and_no_network(repository):
    repository.edit("palette: colorblind", "palette: deep")
    assert ran(repository.run("dvc repro --dry plot")) == ["check", "plot"]
    repository.edit("bootstrap: 20", "bootstrap: 30")
    assert repository.repro("evaluate") == ["check", "evaluate"]
    changed = json.loads(repository.run("dvc status --json"))
    assert set(changed) & set(TO_FIGURES) <= {"plot"}
    left = repository.folder / "plots/training/other.csv"  # of a recipe that was in use once
    left.write_text("epoch\n")
    assert repository.repro("plot") == ["plot"]
    assert not left.exists()  # nor does DVC hash it with the others


def test_a_new_recipe_is_one_training_that_goes_on_where_it_was_stopped(repository):
    """Killed between two epochs, `dvc repro` resumes, and the model has the same bits as one never stopped."""
    (repository.folder / "recipes/other.yaml").write_text("backbone: tf_efficientnet_lite0\nseed: 7\n")
    repository.edit("- lite0\n", "- lite0\n- other\n")
    model = repository.folder / "models/other/model.safetensors"
    options = {"cwd": repository.folder, "env": repository.environment, "start_new_session": True}
    process = subprocess.Popen(["dvc", "repro", "evaluate"], stdout=subprocess.PIPE, text=True, **options)
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("epoch 1"):
            os.killpg(process.pid, 9)
    process.wait()
    assert ran(said) == ["check", "train@other"]
    assert not model.exists()
    said = repository.run("dvc repro evaluate")
    assert "resumed after epoch 1" in said
    assert ran(said) == ["train@other", "predict@other", "evaluate"]
    resumed = model.read_bytes()
    repository.run("dvc repro --force --single-item train@other")  # its checkpoint is gone since it was predicted with
    assert model.read_bytes() == resumed
    details = json.loads((repository.folder / "metrics/details.json").read_text())
    assert list(details) == ["lite0", "other", "ensemble"]
    repository.edit("- other\n", "")
    repository.run("dvc repro evaluate")
    before, after = repository.run("git show HEAD:dvc.lock"), (repository.folder / "dvc.lock").read_text()
    of_evaluate = [YAML(typ="safe").load(lock)["stages"]["evaluate"] for lock in (before, after)]
    assert of_evaluate[0] == of_evaluate[1]  # no hash tells which recipes there once were
    assert "up to date" in repository.run("dvc status evaluate")
    left = [path for folder in ("metrics", "plots") for path in (repository.folder / folder).rglob("other*")]
    assert left == [repository.folder / "plots/training/other.csv"]  # until plot


def test_a_recipe_that_is_not_in_use_changes_nothing(repository):
    repository.edit("mixup: 0.2", "mixup: 0.3", "recipes/lite0_ham.yaml")
    assert repository.repro("plot") == ["check"]  # which looks at all recipes before any is trained


def test_a_fault_of_a_second_recipe_is_found_before_the_first_is_trained(repository):
    (repository.folder / "recipes/second.yaml").write_text("backbone: tf_efficientnet_lite0\nlrr: 1\n")
    repository.edit("- lite0\n", "- lite0\n- second\n")
    assert ran(repository.attempt("dvc repro plot").stdout) == ["check"]
    (repository.folder / "recipes/second.yaml").write_text("backbone: tf_efficientnet_lite0\nlr: 1e-3\n")
    repository.repro("check")
    (repository.folder / "recipes/second.yaml").write_text("backbone: tf_efficientnet_lite0\nlrr: 1\n")
    repository.edit(
        "backbone: tf_efficientnet_lite0\n", "backbone: tf_efficientnet_lite0\nlr: 1e-4\n", "recipes/lite0.yaml"
    )
    assert ran(repository.attempt("dvc repro plot").stdout) == ["check"]


def test_a_recipe_whose_name_would_be_a_path_and_a_command_is_refused_before_dvc_uses_it(repository):
    name = "../kept;touch ran"
    repository.edit("- lite0\n", f'- "{name}"\n')
    (repository.folder / name[3:]).mkdir()  # where DVC would make room for the model
    done = repository.attempt("dvc repro plot")
    assert ran(done.stdout) == ["check"]
    assert f"error: params.yaml: ensemble: '{name}' is no name" in done.stderr
    assert (repository.folder / name[3:]).is_dir()
    assert not (repository.folder / "ran").exists()


def test_an_experiment_changes_parameters_decodes_nothing_again_and_is_listed(repository):
    recipe = "-S train.seed=1 -S recipes/lite0.yaml:+lr=1e-5 -S train.phases.0.head=2"
    said = repository.run(f"dvc exp run --name seed1 -S split.seed=1 {recipe} evaluate")
    assert ran(said) == ["check", "split", "train@lite0", "predict@lite0", "evaluate"]
    recipe = json.loads((repository.folder / "models/lite0/recipe.json").read_text())["recipe"]
    assert recipe["seed"] == 1
    assert recipe["lr"] == 1e-5
    assert recipe["phases"][0]["head"] == 2
    assert "seed1" in repository.run("dvc exp list --name-only")
    changed = json.loads(repository.run("dvc params diff --json"))
    assert set(changed["params.yaml"]) == {"split.seed", "train.seed", "train.phases"}
    assert set(changed["recipes/lite0.yaml"]) == {"lr"}
    assert json.loads(repository.run("dvc metrics diff --json"))["metrics/test.json"]


def test_the_model_of_the_last_run_can_be_had_from_another_repository(repository, tmp_path):
    repository.run(f"dvc remote add --default folder {tmp_path}/remote")
    repository.run("dvc push -q")
    repository.commit("remote")
    repository.run("git -c user.name=t -c user.email=t@t tag -a classifier@v1.0.0 -m first")
    model = (repository.folder / "models/lite0/model.safetensors").read_bytes()
    other = Repository(tmp_path / "other")
    other.folder.mkdir()
    other.run(f"dvc artifacts get {repository.folder} classifier --rev v1.0.0 -o got")
    other.run("git init -q")
    other.run("dvc init -q")
    other.run(f"dvc import -q {repository.folder} models/lite0")
    for folder in ("got", "lite0"):
        assert (other.folder / folder / "model.safetensors").read_bytes() == model


@pytest.mark.slow
def test_a_second_repro_of_all_runs_nothing_and_leaves_nothing_behind(whole):
    assert whole.repro() == []
    assert whole.run("git status --porcelain") == ""


@pytest.mark.slow
def test_the_maps_are_drawn_and_checked(whole):
    told = json.loads((whole.folder / "metrics/explain/lite0.json").read_text())
    assert 20 <= told["lesions"] <= told["images"] <= 40
    assert list(told["checks"]) == ["inside", "pointing", "deletion", "insertion", "random_weights"]
    with Image.open(whole.folder / "plots/explanations/lite0.png") as figure:
        assert min(figure.size) > 500


@pytest.mark.slow
def test_the_report_is_of_the_run_and_the_same_bytes_each_time(whole):
    page = whole.folder / "report/index.html"
    made = page.read_bytes()
    assert b"Generated images" in made
    assert b"Missing:" not in made
    details = json.loads((whole.folder / "metrics/details.json").read_text())["lite0"]["image_level"]
    assert f"{details['balanced_accuracy']:.3f} (".encode() in made
    whole.run("dvc repro --force --single-item report")
    assert page.read_bytes() == made


@pytest.mark.slow
def test_without_outlines_what_needs_one_is_left_out(whole):
    masks = whole.folder / "data/prepared/masks.npy"
    masks.rename(whole.folder / "masks.npy")
    try:
        whole.run("python -m stages.explain lite0")
    finally:
        (whole.folder / "masks.npy").rename(masks)
    told = json.loads((whole.folder / "metrics/explain/lite0.json").read_text())
    assert list(told["checks"]) == ["deletion", "insertion", "random_weights"]


@pytest.mark.slow  # tests/test_house.py holds dvc.yaml to what it shows
def test_another_size_is_another_run_also_for_the_run_cache(whole):
    whole.edit("  - 32\n  - 64\n  folds", "  - 64\n  - 32\n  folds")
    assert ran(whole.run("dvc repro segment")) == ["segment"]  # check, with its one output, is found again
    known = json.loads((whole.folder / "models/segmentation/segmentation.json").read_text())
    assert known["segment"]["size"] == [64, 32]
    whole.edit("  - 64\n  - 32\n  folds", "  - 32\n  - 64\n  folds")
    assert ran(whole.run("dvc repro segment")) == []  # the first is found again
