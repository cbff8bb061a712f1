"""A campaign on a few small images: what is left is done, what is done is not done again, rows are compared."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fakes
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from closure import ROOT
from parameters import put_parameters
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from stage import generated

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.base.files import digest
from dermaline.campaigns import cluster, plan, table
from dermaline.campaigns.job import run_job
from dermaline.campaigns.plan import Run
from dermaline.commands import campaign, results_summary
from dermaline.inference.decided import cross_fitted, decide, read_members
from dermaline.models import model_info
from dermaline.models.weights import describe_start
from dermaline.params import whole
from dermaline.params.whole import Params
from stages import prepare, train

TINY = {  # two trainings, one a fold; views are no training of their own
    "split": "test",
    "seeds": [0],
    "folds": True,
    "set": {
        "split.folds": 2,
        "recipe.size": [32, 32],
        "recipe.precision": "32-true",  # portable takes two threads of each of several
        "recipe.phases": [{"name": "head", "epochs": 1, "backbone": 0, "head": 3}],
    },
    "rows": [
        {"name": "plain", "recipes": ["lite0"]},
        {"name": "no views", "recipes": ["lite0"], "set": {"predict.tta": "none"}, "claim": "1.000"},
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with small generated images, prepared.

    Their ids are made numbers, as some data sets have them, and no diagnosis is rare, so that two folds can be dealt.
    """
    folder = tmp_path_factory.mktemp("campaign")
    small = {"data.synthetic.images": 140, "data.synthetic.size": [48, 64], "prepare.size": [48, 64]}
    plain = {"evaluate.calibration": "none", "evaluate.metadata": False}
    put_parameters(folder, small | plain | {"evaluate.bootstrap": 20})
    (folder / "stages").symlink_to(ROOT / "stages")
    (folder / "dermaline").symlink_to(ROOT / "dermaline")
    generated(folder, prepare)
    index = pd.read_csv(folder / "data/prepared/index.csv")
    index["image_id"] = index["image_id"].str.removeprefix("SYN_")
    index["dx"] = np.array(CLASSES)[pd.factorize(index["group"])[0] % 7]
    index.to_csv(folder / "data/prepared/index.csv", index=False)
    return folder


@pytest.fixture
def project(folder, monkeypatch):
    """The project, as the current folder."""
    monkeypatch.chdir(folder)
    return folder


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    campaign.add_arguments(parser)
    return parser.parse_args(words)


def call(name: str = "tiny", minutes: float = 5, data: str = "synthetic", **changes) -> str:
    Path(f"{name}.yaml").write_text(json.dumps(TINY | changes))
    return campaign.main(parsed(f"{name}.yaml", "--data", data, "--minutes", str(minutes)))


@pytest.fixture(scope="module")
def done(folder) -> str:
    """What was said by a campaign that a user called."""
    (folder / "tiny.yaml").write_text(json.dumps(TINY))
    command = [sys.executable, "-m", "dermaline", "campaign", "tiny.yaml", "--data", "synthetic", "--minutes", "5"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def trainings(project) -> list[Path]:
    """The folders of those that are done."""
    return sorted(path.parent for path in (project / ".scratch/campaign").glob("lite0-*/models"))


def test_without_time_nothing_is_done(project):
    assert "0 of 1 rows are done; call it again" in call("later", minutes=0, seeds=[7], rows=TINY["rows"][:1])
    assert trainings(project) == []


def test_rows_on_validation_are_of_what_was_fitted_on_the_other_half(tmp_path, monkeypatch):
    """And what is counted of training images is of those alone."""
    index = fakes.project(tmp_path, ("lite0",), lesions=400)
    monkeypatch.chdir(tmp_path)
    options = whole.read().evaluate.model_copy(update={"calibration": "vector", "decision": "balanced"})
    settings = SimpleNamespace(evaluate=options)
    job = SimpleNamespace(
        folder=tmp_path, recipe="lite0", settings=settings, predictions=Path("data/predictions/lite0.csv")
    )
    members = read_members({"lite0": job.predictions}, index)
    train = index[index["split"] == "train"]
    expected = cross_fitted(members, train, options)
    found = table.scored("val", Run(0, None), [job])
    assert found[list(CLASSES)].equals(expected[list(CLASSES)])
    for other in (decide(members, train, options).val, cross_fitted(members, index, options)):
        assert not found[list(CLASSES)].equals(other[list(CLASSES)])
    tested = table.scored("test", Run(0, None), [job])
    assert tested[list(CLASSES)].equals(decide(members, train, options).test[list(CLASSES)])


@pytest.mark.slow
def test_with_time_all_is_done_once(done, project):
    assert "2 of 2 rows are done" in done
    folders = trainings(project)
    assert len(folders) == 2
    assert all((one / "none-1x1-3.csv").exists() for one in folders)
    table = pd.read_csv("results/synthetic/tiny.csv").set_index("model")
    assert table.index.tolist() == ["plain", "no views"]
    assert table.loc["plain", "val_balanced_accuracy_verdict"] == "reference"
    assert "balanced_accuracy_verdict" not in table  # the test says scores only
    assert table.claim.tolist()[1] == 1
    assert table.val_balanced_accuracy_difference.notna().tolist() == [False, True]
    before = {path: path.stat().st_mtime_ns for one in folders for path in one.rglob("*.csv")}
    assert "2 of 2 rows are done" in call()
    assert before == {path: path.stat().st_mtime_ns for one in folders for path in one.rglob("*.csv")}


def scikit_learn(table: pd.DataFrame) -> dict[str, float]:
    predicted = np.array(CLASSES)[table[[*CLASSES]].to_numpy().argmax(axis=1)]
    return {
        "balanced_accuracy": balanced_accuracy_score(table.dx, predicted),
        "accuracy": accuracy_score(table.dx, predicted),
        "macro_auc": roc_auc_score(table.dx, table[[*CLASSES]], multi_class="ovr", labels=list(CLASSES)),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("done")
def test_every_image_is_tested_once_and_pooled_numbers_and_deviations_are_those_of_scikit_learn(project):
    tables = [pd.read_csv(one / "flips-1x1-3.csv", dtype={"image_id": str}) for one in trainings(project)]
    tested = [table.query("split == 'test'") for table in tables]
    index = pd.read_csv("data/prepared/index.csv", dtype={"image_id": str})
    assert sorted(pd.concat(tested).image_id) == sorted(index.image_id)
    lesions = [set(table.lesion_id) for table in tested]
    assert not lesions[0] & lesions[1]
    row = pd.read_csv("results/synthetic/tiny.csv").iloc[0]
    each = pd.DataFrame([scikit_learn(table) for table in tested])
    for name, value in scikit_learn(pd.concat(tested)).items():
        assert row[name] == pytest.approx(value, abs=1e-6)
        if f"{name}_sd" in row:
            assert row[f"{name}_sd"] == pytest.approx(each[name].std(ddof=1), abs=1e-6)
    assert (row.seeds, row.folds) == (1, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("done")
def test_validation_images_can_be_scored_and_then_no_test_image_is(project):
    before = trainings(project)
    assert "1 of 1 rows are done" in call("val", split="val", rows=TINY["rows"][:1])
    assert trainings(project) == before
    tables = [pd.read_csv(one / "flips-1x1-3.csv") for one in before]
    row = pd.read_csv("results/synthetic/val.csv").iloc[0]
    assert row.accuracy == pytest.approx(scikit_learn(pd.concat(tables).query("split == 'val'"))["accuracy"], abs=1e-6)
    tested = pd.read_csv("results/synthetic/tiny.csv").iloc[1]
    views = [pd.read_csv(one / "none-1x1-3.csv") for one in before]
    difference = scikit_learn(pd.concat(views).query("split == 'val'"))["accuracy"] - row.accuracy
    assert tested.val_accuracy_difference == pytest.approx(difference, abs=1e-6)
    assert {kept["name"]: kept["split"] for kept in results_summary.summary()}["val"] == "val"
    Path("results/synthetic/val.csv").unlink()


@pytest.mark.slow
@pytest.mark.usefixtures("done")
def test_a_row_that_fails_is_named_and_the_others_have_their_table(project):
    rows = [TINY["rows"][0], {"name": "no weights", "recipes": ["lite0"], "set": {"recipe.weights": "gone"}}]
    with pytest.raises(DermalineError, match=r"train.log: exit status 1: error: weights.*, and 1 more"):
        call("broken", rows=rows)
    assert pd.read_csv("results/synthetic/broken.csv").model.tolist() == ["plain"]


@pytest.mark.slow
@pytest.mark.usefixtures("done")
def test_a_start_from_a_model_of_another_split_is_refused(project, monkeypatch):
    first, second = trainings(project)
    weights = first / "models/lite0/model.safetensors"
    split = model_info.read_model_info(weights.parent)["split"]
    known = {"model": "lite0", "digest": digest(weights), "split": split}
    assert describe_start(weights, split) == known | {"same_split": True}
    assert describe_start(weights, "another") == known | {"same_split": False}
    assert describe_start(project / "bundled", split) is None
    Path("moved").mkdir(exist_ok=True)
    shutil.copy(weights, "moved/other.safetensors")  # without its facts: it may have seen anything
    assert not describe_start(Path("moved/other.safetensors"), split)["same_split"]
    safetensors.torch.save_file({"conv_stem.weight": torch.zeros(1)}, "moved/timm.safetensors")
    assert describe_start(Path("moved/timm.safetensors"), split) is None
    monkeypatch.chdir(second)  # its fold is tested on images that the first was trained on
    put_parameters(second, recipe={"weights": str(weights)})
    monkeypatch.setattr(sys, "argv", ["train", "lite0"])
    with pytest.raises(DermalineError, match=r"recipe lite0: lite0 is not known to be of this split"):
        train.main()


def test_a_model_that_has_seen_its_test_images_is_not_measured():
    seen = {"start": {"model": "first", "split": "x", "same_split": False}}
    with pytest.raises(DermalineError, match="learned from first, not known to be of this split"):
        model_info.check_clean("second", seen)
    with pytest.raises(DermalineError, match="learned from what is not known"):
        model_info.check_clean("second", {})
    model_info.check_clean("second", {"start": None})
    model_info.check_clean("second", {"start": seen["start"] | {"same_split": True}})


def test_each_run_and_each_starting_weights_are_another_training(project):
    start = project / "start.safetensors"
    given = plan.Campaign.model_validate(
        TINY | {"seeds": [0, 1], "set": {"split.folds": 2, "recipe.weights": start.name}}
    )
    folders = []
    for content in (b"one", b"other", b"one"):
        start.write_bytes(content)
        folders.append([plan.jobs(given, given.rows[0], one)[0].folder for one in plan.runs(given)])
    assert plan.runs(given) == [Run(0, 0), Run(0, 1), Run(1, 0), Run(1, 1)]
    assert folders[0] == folders[2]
    assert len(set(folders[0] + folders[1])) == 8
    alone = given.model_copy(update={"folds": False, "set": {"split.fold": 2}})
    assert plan.runs(alone) == [Run(0, None), Run(1, None)]
    assert plan.jobs(alone, alone.rows[0], Run(0, None))[0].settings.split.fold == 2


def test_another_device_is_another_training(project):
    given = plan.Campaign.model_validate(TINY)
    rows = [given.rows[0].model_copy(update={"set": changes}) for changes in ({}, {"compute.devices": 2})]
    assert len({plan.jobs(given, row, Run(0, 0))[0].folder for row in rows}) == 2


def test_other_pixels_are_other_trainings(project):
    given = plan.Campaign.model_validate(TINY)
    images = project / "data/prepared/images.npy"
    content, folders = images.read_bytes(), []
    for drawn in (content, content[:-1] + b"\0", content):
        images.write_bytes(drawn)
        folders.append(plan.jobs(given, given.rows[0], Run(0, 0))[0].folder)
    assert content[-1:] != b"\0"
    assert folders[0] == folders[2] != folders[1]


def test_a_reference_of_the_pipeline_is_none_of_a_campaign(project):
    kept = (project / "params.yaml").read_bytes()
    shutil.copy(project / "recipes/lite0.yaml", project / "recipes/other.yaml")
    put_parameters(project, {"ensemble": ["lite0", "other"], "evaluate.reference": "other"})
    given = plan.Campaign.model_validate(TINY)
    settings = plan.jobs(given, given.rows[0], Run(0, 0))[0].settings
    (project / "params.yaml").write_bytes(kept)
    (project / "recipes/other.yaml").unlink()
    assert (settings.ensemble, settings.evaluate.reference) == (["lite0"], None)


def test_a_training_goes_on_in_a_project_that_was_moved(project):
    given = plan.Campaign.model_validate(TINY | {"seeds": [9]})
    job = plan.jobs(given, given.rows[0], Run(9, 0))[0]
    link = job.folder / "data/prepared"
    link.parent.mkdir(parents=True)
    link.symlink_to(project / "where it was/data/prepared")
    assert run_job([job], project, deadline=0).error is None
    assert (link / "index.csv").exists()
    shutil.rmtree(job.folder)


@pytest.mark.slow
@pytest.mark.usefixtures("done")
def test_the_table_says_how_it_was_made_and_the_summary_has_its_row(project):
    table = pd.read_csv(project / "results/synthetic/tiny.csv")
    (row,) = [row for row in results_summary.summary(project / results_summary.SUMMARY) if row["name"] == "tiny"]
    assert (row["name"], row["rows"], row["seeds"], row["split"]) == ("tiny", 2, 1, "test")
    assert set(table["command"]) == {row["command"]} == {"python -m dermaline campaign tiny.yaml --data synthetic"}
    assert set(table["machine"]) == {row["machine"]}


@pytest.mark.usefixtures("project")
def test_generated_images_are_not_called_real():
    with pytest.raises(DermalineError, match="--data ham10000: data/prepared holds generated images"):
        call(minutes=0, data="ham10000")
    assert not Path("results/ham10000").exists()


def test_a_row_that_changes_a_part_of_what_all_have_changes_it_for_itself(monkeypatch):
    monkeypatch.chdir(ROOT)
    longer = TINY["rows"][0] | {"set": {"recipe.phases.0.epochs": 7}}
    given = plan.Campaign.model_validate(TINY | {"rows": [longer, TINY["rows"][1]]})
    epochs = [plan.jobs(given, row, Run(0, 0))[0].training.phases[0].epochs for row in given.rows]
    assert epochs == [7, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": []}, "needs a row"),
        ({"rows": TINY["rows"][:1] * 2}, "a name of its own"),
        ({"sed": [0]}, "unknown key 'sed'; did you mean"),
        ({"rows": [TINY["rows"][0] | {"set": {"split.folds": 3}}]}, "split.folds can't be set for one row; set it for"),
        ({"rows": [TINY["rows"][0] | {"set": {"split.unit": "image"}}]}, "split.unit can't be set for one row"),
        ({"rows": [TINY["rows"][0] | {"set": {"evaluate.bootstrap": 9}}]}, "evaluate.bootstrap can't be set for one"),
        ({"rows": [TINY["rows"][0] | {"recipes": []}]}, "recipes"),
        ({"rows": [TINY["rows"][0] | {"recipes": ["lite0", "lite0"]}]}, "a recipe of a row, stands there twice"),
        ({"seeds": [0, 0]}, "a seed, .* stands there twice; each counts once"),
        (
            {"set": {"split": {"folds": 10}}},
            "split can't be set as a whole; set its keys one by one, such as split.KEY",
        ),
        ({"rows": [TINY["rows"][0] | {"set": {"evaluate": {"seed": 7}}}]}, "evaluate can't be set as a whole"),
        ({"set": {"split.fold": 1}}, "split.fold can't be set with folds: true"),
        ({"set": {"recipe.seed": 3}}, "recipe.seed can't be set; state seeds"),
        ({"set": {"evaluate.reference": "lite0"}}, "evaluate.reference can't be set; the first row is"),
        ({"set": {"train.lr": 1}}, "train.lr can't be set, a campaign does not look at it; recipe.KEY is what can"),
        ({"set": {"prepare.size": [48, 64]}}, "prepare.size can't be set, .*; keys of recipe, split, .* are what can"),
    ],
)
def test_a_campaign_that_is_none_is_refused_in_one_line(tmp_path, change, said):
    (tmp_path / "bad.yaml").write_text(json.dumps(TINY | change))
    with pytest.raises(DermalineError, match=said) as problem:
        plan.read(tmp_path / "bad.yaml")
    assert "\n" not in str(problem.value)


def test_a_model_that_may_have_seen_the_test_is_no_row(monkeypatch):
    monkeypatch.chdir(ROOT)
    given = plan.Campaign.model_validate(TINY | {"set": {"recipe.start_of_other_split": True}})
    with pytest.raises(DermalineError, match=r"row 'plain': recipe lite0: start_of_other_split: .* can't be compared"):
        plan.jobs(given, given.rows[0], Run(0, None))


def test_the_members_of_an_ensemble_keep_seeds_of_their_own(monkeypatch):
    monkeypatch.chdir(ROOT)
    pair = {"name": "pair", "recipes": ["lite0_mixed", "lite2_mixed"]}
    given = plan.Campaign.model_validate(TINY | {"set": {}, "rows": [pair]})
    seeds = [[job.training.seed for job in plan.jobs(given, given.rows[0], Run(seed, None))] for seed in (0, 1)]
    assert seeds == [[0, 1], [1, 2]]


def test_a_key_or_a_value_that_params_yaml_has_not_is_named(monkeypatch):
    monkeypatch.chdir(ROOT)
    for change, said in (({"recipe.lrr": 1}, "no parameter 'recipe.lrr'"), ({"recipe.lr": "x"}, "number")):
        given = plan.Campaign.model_validate(TINY | {"set": change})
        with pytest.raises(DermalineError, match=said):
            plan.jobs(given, given.rows[0], Run(0, None))


@pytest.mark.parametrize("path", sorted((ROOT / "campaigns").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_campaigns_that_ship_are_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = plan.read(path)
    for row in given.rows:
        for model in plan.jobs(given, row, plan.runs(given)[0]):
            assert isinstance(model.settings, Params)


def test_trainings_share_the_threads(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # what is set for the campaign, each training has
    with cluster._client(2, {"CPU": 1}, None) as client:
        inside = client.submit(lambda: dict(os.environ)).result()
    assert inside["OMP_NUM_THREADS"] == "2"
    assert "MALLOC_TRIM_THRESHOLD_" not in inside
