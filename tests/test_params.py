"""The parameter file: what it refuses, and how it says so."""

import shutil

import pytest
from closure import ROOT
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from dermaline.base.errors import DermalineError
from dermaline.base.parameters import load
from dermaline.params import whole
from dermaline.params.recipe import Recipe, Train, read_recipe, recipe_names


@pytest.fixture
def edited(tmp_path):
    """A copy of the parameters with one text replaced by another in one of the files; its folder."""

    def edit(old: str, new: str, file: str = "params.yaml"):
        shutil.copy(ROOT / "params.yaml", tmp_path)
        shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
        path = tmp_path / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return tmp_path

    return edit


@pytest.mark.parametrize("written", ["1e-5", "1e-05", "1.0e-5", "0.00001"])
def test_every_way_to_write_a_small_number_is_a_number(edited, written):
    assert read_recipe("lite0", edited("lr: 1e-3", f"lr: {written}")).lr == 1e-5


def test_a_recipe_is_the_section_train_but_for_what_its_file_states():
    train = load(Train, "train", ROOT / "params.yaml").model_dump()
    for name in recipe_names(ROOT):
        stated = YAML(typ="safe", pure=True).load((ROOT / f"recipes/{name}.yaml").read_text())
        assert read_recipe(name, ROOT) == Recipe.model_validate(train | stated)
        said_again = [key for key in stated if key in train and stated[key] == train[key]]
        assert said_again == []


@pytest.mark.parametrize("name", ["params.yaml", *(f"recipes/{name}.yaml" for name in recipe_names(ROOT))])
def test_an_experiment_of_one_value_changes_one_line(name, tmp_path):
    copy = tmp_path / "file.yaml"
    shutil.copy(ROOT / name, copy)
    before = copy.read_text().splitlines()
    apply_overrides(copy, ["plot.dpi=77" if name == "params.yaml" else "backbone=other"])  # what `dvc exp run -S` calls
    after = copy.read_text().splitlines()
    assert len(after) == len(before)
    assert [new for old, new in zip(before, after, strict=True) if old != new] in (["  dpi: 77"], ["backbone: other"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  val: 0.15", "  val: 0.7", "params.yaml: split.val: 0.7 is outside 0.01 to 0.49"),
        (
            "- lite0\n",
            "- lite\n",
            "recipes/lite.yaml: not found; params.yaml names it in ensemble; did you mean 'lite0'?",
        ),
        ("ensemble:                  ", "ensemble: []\nolder: ", "params.yaml: unknown key 'older'"),
        ("- lite0\n", "- lite0\n- lite0\n", "params.yaml: ensemble: 'lite0' is there twice"),
        (
            "  reference: ",
            "  reference: lite1",
            "params.yaml: evaluate.reference: no model 'lite1'; did you mean 'lite0'?",
        ),
        ("source: synthetic", "source: kagle", "data.source: Input should be 'synthetic', 'kaggle', 'dataverse' or"),
        ("- lite0\n", '- "lite0;id"\n', "ensemble: 'lite0;id' is no name: letters, digits, _ and -"),
        ("- lite0\n", "- ../lite0\n", "ensemble: '../lite0' is no name"),
        ("- lite0\n", "- lite0.v2\n", "ensemble: 'lite0.v2' is no name"),
        ("- lite0\n", "- my recipe\n", "ensemble: 'my recipe' is no name"),
        ("- lite0\n", '- "-f"\n', "ensemble: '-f' is no name"),
        ("- lite0\n", '- ""\n', "ensemble: '' is no name"),
        ("- lite0\n", "- ensemble\n", "'ensemble' is the name of them all together"),
        (
            "- lite0\n",
            "- out_of_distribution\n",
            "'out_of_distribution' is the folder of the stage ood",
        ),
        ("split:\n", "splits:\n", "unknown key 'splits'; did you mean 'split'?"),
        (
            "  batch_size: 32",
            "  batchsize: 32",
            "params.yaml: train: unknown key 'batchsize'; did you mean 'batch_size'?",
        ),
        ("  dropout: 0.2", "  dropout: .nan", "params.yaml: train.dropout: Input should be a finite number (got nan)"),
        ("epochs: 1\n", "epochs: one\n", "params.yaml: train.phases.0.epochs: Input should be a valid integer"),
        ("name: all", "name: head", "params.yaml: train: phases: each needs a name of its own"),
        ("train:   ", "train:\n  backbone: vit\n", "params.yaml: train: unknown key 'backbone'"),
    ],
)
def test_a_wrong_entry_is_named_in_one_line(edited, monkeypatch, old, new, message):
    monkeypatch.chdir(edited(old, new))
    with pytest.raises(DermalineError) as problem:
        whole.ensemble()
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("backbone: x\nlr: -1", "recipes/lite0.yaml: lr: -1.0 is outside"),
        ("backbone: x\nlrr: 1", "recipes/lite0.yaml: unknown key 'lrr'; did you mean 'lr'?"),
        ("backbone: x\nphases: []", "recipes/lite0.yaml: phases: each needs a name"),
        ("lr: 1", "recipes/lite0.yaml: backbone: Field required"),
        ("# nothing", "recipes/lite0.yaml: Input should be a valid dictionary"),
    ],
)
def test_a_fault_of_a_recipe_is_named_with_its_file(edited, stated, message):
    folder = edited("backbone: tf_efficientnet_lite0\nbatch_size: 16", stated, "recipes/lite0.yaml")
    with pytest.raises(DermalineError) as problem:
        read_recipe("lite0", folder)
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_broken_yaml_and_a_missing_file_are_one_line(tmp_path, edited):
    with pytest.raises(DermalineError, match="not YAML"):
        whole.read(edited("split:", "split: [") / "params.yaml")
    with pytest.raises(DermalineError, match="not found; run at the project's root"):
        whole.read(tmp_path / "none.yaml")


def test_a_key_that_is_not_there_names_the_nearest():
    with pytest.raises(DermalineError, match=r"no key 'trains'; did you mean 'train'"):
        load(Train, "trains", ROOT / "params.yaml")
