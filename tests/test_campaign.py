"""A campaign on a few small images: what is left is done, what is done is not done again, rows are compared."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from closure import ROOT
from ruamel.yaml import YAML
from stage import run_stage

from dermaline import campaign, params, results
from dermaline.errors import DermalineError
from dermaline.models import store

TINY = {
    "split": "test",
    "seeds": [0, 1],
    "set": {
        "recipes.RECIPE.size": [32, 32],
        "recipes.RECIPE.precision": "32-true",  # portable takes two threads of each of several
        "recipes.RECIPE.phases": [{"name": "head", "epochs": 1, "backbone": 0, "head": 3}],
    },
    "rows": [
        {"name": "plain", "recipes": ["lite0"]},
        {"name": "no views", "recipes": ["lite0"], "set": {"predict.tta": "none"}},
        {"name": "focal", "recipes": ["lite0"], "set": {"recipes.RECIPE.loss": "focal"}, "claim": "1.000"},
    ],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with small generated images, prepared."""
    folder = tmp_path_factory.mktemp("campaign")
    settings = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    settings["data"]["synthetic"] |= {"images": 210, "size": [48, 64]}
    settings["prepare"]["size"] = [48, 64]
    settings["evaluate"]["bootstrap"] = 20
    (folder / "params.yaml").write_text(json.dumps(settings))
    (folder / "stages").symlink_to(ROOT / "stages")
    (folder / "dermaline").symlink_to(ROOT / "dermaline")
    for stage in ("download", "prepare"):
        assert run_stage(folder, stage).returncode == 0
    return folder


def call(project, minutes: float = 5, data: str = "synthetic") -> str:
    (project / "tiny.yaml").write_text(json.dumps(TINY))
    command = [sys.executable, "-m", "dermaline", "campaign", "tiny.yaml", "--data", data, "--minutes", str(minutes)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def done(project) -> str:
    """What was said by a campaign that was called with time."""
    assert "0 of 3 rows are done; call it again" in call(project, minutes=0)
    return call(project)


def test_without_time_nothing_is_done_and_with_it_all_once(project, done):
    assert "3 of 3 rows are done" in done
    folders = sorted((project / ".scratch/campaign").iterdir())
    assert len(folders) == 4  # two recipes, two seeds: views are no training of their own
    assert sum((folder / "none.csv").exists() for folder in folders) == 2
    table = pd.read_csv(project / "results/synthetic/tiny.csv").set_index("model")
    assert table.index.tolist() == ["plain", "no views", "focal"]
    assert table.loc["plain", "balanced_accuracy_verdict"] == "reference"
    assert table.loc["focal", "claim"] == 1
    assert len({(folder / "flips.csv").read_bytes() for folder in folders}) == 4  # each a training of its own
    assert table.balanced_accuracy_difference.notna().tolist() == [False, True, True]
    before = {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*.csv")}
    assert "3 of 3 rows are done" in call(project)
    assert before == {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*.csv")}


@pytest.mark.usefixtures("done")
def test_a_row_that_fails_is_named_and_the_others_have_their_table(project):
    path = project / "results/synthetic/broken.csv"
    rows = [TINY["rows"][0], {"name": "no weights", "recipes": ["lite0"], "set": {"recipes.RECIPE.weights": "gone"}}]
    (project / "broken.yaml").write_text(json.dumps(TINY | {"seeds": [0], "rows": rows}))
    command = [sys.executable, "-m", "dermaline", "campaign", "broken.yaml", "--data", "synthetic"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 1
    assert "train.log: exit status 1: error: recipe: weights" in done.stderr
    assert pd.read_csv(path).model.tolist() == ["plain"]
    path.unlink()


def test_other_starting_weights_are_another_training(project, monkeypatch):
    monkeypatch.chdir(project)
    start = project / "start.safetensors"
    given = campaign.Campaign.model_validate(TINY | {"set": {"recipes.RECIPE.weights": start.name}})
    folders = []
    for content in (b"one", b"other", b"one"):
        start.write_bytes(content)
        folders.append(campaign.members(given, given.rows[0], 0)[0].folder)
    assert folders[0] == folders[2] != folders[1]


@pytest.mark.usefixtures("done")
def test_the_table_says_how_it_was_made_and_the_summary_has_its_row(project):
    table = pd.read_csv(project / "results/synthetic/tiny.csv")
    (row,) = [row for row in results.summary(project / results.SUMMARY) if row["name"] == "tiny"]
    assert (row["name"], row["rows"], row["seeds"], row["split"]) == ("tiny", 3, 2, "test")
    assert set(table["command"]) == {row["command"]} == {"python -m dermaline campaign tiny.yaml --data synthetic"}
    assert set(table["machine"]) == {row["machine"]}


@pytest.mark.usefixtures("done")
def test_a_start_from_a_model_of_another_split_is_warned_about(project):
    trained = next((project / ".scratch/campaign").glob("*/models/lite0"))
    split = json.loads((trained / "recipe.json").read_text())["split"]
    weights = trained / "model.safetensors"
    assert store.warnings(weights, split) == []
    (line,) = store.warnings(weights, "another")
    assert "trained on another split" in line
    assert store.warnings(project / "bundled", split) == []

    start = {"recipes.RECIPE.weights": str(weights.relative_to(project)), "split.seed": 1}
    rows = [{"name": "other split", "recipes": ["lite0"], "set": start}]
    (project / "other.yaml").write_text(json.dumps(TINY | {"seeds": [0], "rows": rows}))
    command = [sys.executable, "-m", "dermaline", "campaign", "other.yaml", "--data", "synthetic"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trained on another split" in done.stderr


def test_generated_images_are_not_called_real(project):
    with pytest.raises(AssertionError, match="--data ham10000: data/prepared holds generated images"):
        call(project, minutes=0, data="ham10000")
    assert not (project / "results/ham10000").exists()


def test_a_row_that_changes_a_part_of_what_all_have_changes_it_for_itself(monkeypatch):
    monkeypatch.chdir(ROOT)
    longer = TINY["rows"][0] | {"set": {"recipes.RECIPE.phases.0.epochs": 7}}
    given = campaign.Campaign.model_validate(TINY | {"rows": [longer, TINY["rows"][1]]})
    epochs = [campaign.members(given, row, 0)[0].settings.recipes["lite0"].phases[0].epochs for row in given.rows]
    assert epochs == [7, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": []}, "needs a row"),
        ({"rows": TINY["rows"][:1] * 2}, "a name of its own"),
        ({"sed": [0]}, "unknown key 'sed'; did you mean"),
    ],
)
def test_a_campaign_that_is_none_is_refused_in_one_line(tmp_path, change, said):
    (tmp_path / "bad.yaml").write_text(json.dumps(TINY | change))
    with pytest.raises(DermalineError, match=said) as problem:
        campaign.read(tmp_path / "bad.yaml")
    assert "\n" not in str(problem.value)


def test_a_key_or_a_value_that_params_yaml_has_not_is_named(monkeypatch):
    monkeypatch.chdir(ROOT)
    for change, said in (({"recipes.RECIPE.lrr": 1}, "no 'recipes.lite0.lrr'"), ({"recipes.RECIPE.lr": "x"}, "number")):
        given = campaign.Campaign.model_validate(TINY | {"set": change})
        with pytest.raises(DermalineError, match=said):
            campaign.members(given, given.rows[0], 0)


@pytest.mark.parametrize("path", sorted((ROOT / "campaigns").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_campaigns_that_ship_are_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = campaign.read(path)
    for row in given.rows:
        for model in campaign.members(given, row, given.seeds[0]):
            assert isinstance(model.settings, params.Params)
