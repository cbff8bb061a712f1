"""Cross-validation gathered from experiments under real DVC; the pooled numbers against scikit-learn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from dermaline.classes import CLASSES
from dermaline.crossval import crossval
from dermaline.errors import DermalineError

PIPELINE = """
stages:
  predict:
    cmd: python predict.py
    deps: [predict.py]
    params: [split, ensemble]
    outs: [data/predictions]
    metrics:
      - metrics/split.json: {cache: false}
"""
# Lesions of one to three photographs; each recipe's probabilities are drawn by its name and the image, not by the fold.
PREDICT = """
import json
from pathlib import Path
import numpy as np
import pandas as pd
from dermaline import params
from dermaline.classes import CLASSES
from dermaline.data.split import split_images
options, recipes = params.load("split"), params.load("ensemble")
truth = np.repeat(np.arange(7), 30)
lesion = [f"{CLASSES[number]}{row % 15 % 11}" for row, number in enumerate(truth)]
index = pd.DataFrame({"image_id": [f"i{row:03}" for row in range(210)], "lesion_id": lesion, "group": lesion})
index["dx"] = np.array(CLASSES)[truth]
index["split"] = split_images(index, options)
for name in recipes:
    sure = {"lite0": 0.1, "lite0_ham": 0.3}[name]
    found = np.random.default_rng(len(name)).dirichlet(np.full(7, 0.5), 210) * (1 - sure) + np.eye(7)[truth] * sure
    table = pd.concat([index, pd.DataFrame(found, columns=list(CLASSES))], axis=1).query("split != 'train'")
    Path("data/predictions").mkdir(parents=True, exist_ok=True)
    table.to_csv(f"data/predictions/{name}.csv", index=False, float_format="%.7f")
split = {name: {"images": len(part), "images_per_class": part.dx.value_counts().to_dict()}
         for name, part in index.groupby("split")}
Path("metrics").mkdir(exist_ok=True)
Path("metrics/split.json").write_text(json.dumps(split | {"leaked_test_images": 0.0}))
"""
PLAIN = (
    ("  calibration: temperature", "  calibration: none"),
    ("bootstrap: 1000", "bootstrap: 50"),
    ("folds: 5", "folds: 3"),
)


class Repository:
    """A checkout with a small pipeline of one stage, in which commands are run as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.added = folder, []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        self.environment = os.environ | own

    def run(self, command: str) -> str:
        options = {"cwd": self.folder, "env": self.environment, "capture_output": True, "text": True}
        done = subprocess.run(command.split(), check=False, **options)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def experiment(self, name: str, *settings: str) -> None:
        """Run one; the test's end removes it again."""
        self.run(f"dvc exp run -q --name {name} {' '.join(f'-S {setting}' for setting in settings)}")
        self.added.append(name)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    """Three folds `both-0` to `both-2` with two recipes, and more that do not go with them."""
    repository = Repository(tmp_path_factory.mktemp("crossval"))
    parameters = (ROOT / "params.yaml").read_text()
    for old, new in (*PLAIN, ("ensemble: [lite0]", "ensemble: [lite0, lite0_ham]")):
        assert old in parameters
        parameters = parameters.replace(old, new)
    texts = {
        "params.yaml": parameters,
        "dvc.yaml": PIPELINE,
        "predict.py": PREDICT,
        ".gitignore": "/data\n__pycache__\n",
    }
    for name, text in texts.items():
        (repository.folder / name).write_text(text)
    repository.run("git init -q")
    repository.run("dvc init -q")
    repository.run("git add -A")
    repository.run("git -c user.name=t -c user.email=t@t commit -q -m first")
    for number in range(3):
        repository.experiment(f"both-{number}", f"split.fold={number}")
    repository.added = []
    return repository


@pytest.fixture(autouse=True)
def restored(repository, monkeypatch):
    """Each test runs in the repository, and leaves the three folds and the files as committed."""
    monkeypatch.chdir(repository.folder)
    yield
    repository.run("git reset -q --hard")
    if repository.added:
        repository.run(f"dvc exp remove -q {' '.join(repository.added)}")
        repository.added = []


def error(*experiments: str) -> str:
    """The line with which gathering these fails."""
    with pytest.raises(DermalineError) as problem:
        crossval(experiments, Path("out.json"))
    assert "\n" not in str(problem.value)
    return str(problem.value)


def out_of_fold(repository: Repository, recipe: str) -> list[pd.DataFrame]:
    """The test predictions of each fold, as `dvc` itself gives them out."""
    tables = []
    for number in range(3):
        path = repository.folder / "data/predictions" / f"{recipe}.csv"
        repository.run(f"dvc exp apply -q both-{number}")
        tables.append(pd.read_csv(path).query("split == 'test'"))
    return tables


def test_pooled_and_per_fold_numbers_are_those_of_scikit_learn(repository):
    said = repository.run("python -m dermaline crossval --output out.json")
    found = json.loads((repository.folder / "out.json").read_text())
    assert found["images"] == 210
    assert list(found["models"]) == ["lite0", "lite0_ham", "lite0 + lite0_ham"]
    for name in ("lite0", "lite0_ham"):
        model, tables = found["models"][name], out_of_fold(repository, name)
        assert model["experiments"] == ["both-0", "both-1", "both-2"]
        each = []
        for table in tables:
            predicted = np.array(CLASSES)[table[[*CLASSES]].to_numpy().argmax(axis=1)]
            each.append(balanced_accuracy_score(table.dx, predicted))
        assert [fold["balanced_accuracy"] for fold in model["folds"]] == pytest.approx(each, abs=1e-6)
        assert model["mean"]["balanced_accuracy"] == pytest.approx(np.mean(each), abs=1e-6)
        assert model["std"]["balanced_accuracy"] == pytest.approx(np.std(each, ddof=1), abs=1e-6)
        pooled = pd.concat(tables)
        assert sorted(pooled.image_id) == [f"i{row:03}" for row in range(210)]
        predicted = np.array(CLASSES)[pooled[[*CLASSES]].to_numpy().argmax(axis=1)]
        area = roc_auc_score(pooled.dx, pooled[[*CLASSES]], multi_class="ovr", labels=list(CLASSES))
        assert model["pooled"]["accuracy"] == pytest.approx(accuracy_score(pooled.dx, predicted), abs=1e-6)
        assert model["pooled"]["macro_auc"] == pytest.approx(area, abs=1e-6)
    first, second, _ = (model["pooled"] for model in found["models"].values())
    assert "model" not in first
    assert "balanced_accuracy_difference" not in first  # JSON has no NaN
    difference = second["balanced_accuracy"] - first["balanced_accuracy"]
    assert second["balanced_accuracy_difference"] == pytest.approx(difference, abs=2e-6)
    assert second["balanced_accuracy_verdict"] == "better"
    assert f"| {difference:+.3f} (" in said
    assert said.count("\n| lite0 ") == 8


def test_a_missing_fold_is_named():
    line = error("both-0", "both-2")
    assert "lite0: no experiment of fold 1;" in line
    assert "dvc exp run -S split.fold=1" in line


def test_the_same_fold_twice_is_taken_once_only_when_it_is_the_same(repository):
    repository.experiment("again", "split.fold=1", "ensemble=[lite0]")
    assert "3 folds by lesion, 210 images" in crossval([], Path("out.json"))
    predict = repository.folder / "predict.py"
    predict.write_text(predict.read_text().replace('"lite0": 0.1', '"lite0": 0.2'))
    repository.experiment("other", "split.fold=1")
    assert "fold 1 of lite0 is in again and, different, in other" in error()


def test_what_does_not_belong_together_is_refused(repository):
    repository.experiment("seed", "split.fold=0", "split.seed=1", "recipes.lite0.lr=1e-5")
    assert "experiments seed and both-1 differ in recipes.lite0, split;" in error("both-1", "both-2", "seed")


def test_what_cannot_be_read_is_named(repository):
    assert "experiment nope: unknown Git revision" in error("nope")
    assert "experiment HEAD: split.fold is null" in error("HEAD")
    (repository.folder / ".dvc/cache").rename("away")
    line = error("both-0", "both-1", "both-2")
    Path("away").rename(repository.folder / ".dvc/cache")
    assert "experiment both-0: data/predictions/lite0.csv is not in Git nor in DVC's cache" in line


def test_a_recipe_that_starts_from_a_trained_model_is_refused(repository):
    start = "trained/model.safetensors"
    repository.experiment("started", "split.fold=0", f"recipes.lite0.weights={start}")
    (repository.folder / "trained").mkdir()
    (repository.folder / "trained/recipe.json").write_text("{}")
    assert f"experiment started: recipes.lite0 starts from {start}" in error("started")
