"""The parameter file: what it refuses, and how it says so."""

import pytest
from closure import ROOT

from dermaline.errors import DermalineError
from dermaline.params import whole
from dermaline.params.base import load
from dermaline.params.recipe import Recipe


@pytest.fixture
def edited(tmp_path):
    """A copy of params.yaml with one text replaced by another."""

    def edit(old: str, new: str):
        text = (ROOT / "params.yaml").read_text()
        assert old in text
        path = tmp_path / "params.yaml"
        path.write_text(text.replace(old, new, 1))
        return path

    return edit


@pytest.mark.parametrize("written", ["1e-5", "1e-05", "1.0e-5", "0.00001"])
def test_every_way_to_write_a_small_number_is_a_number(edited, written):
    path = edited("lr: 1e-3", f"lr: {written}")
    assert load(Recipe, "recipes.lite0", path).lr == 1e-5


def test_a_recipe_states_only_what_differs_from_its_base(edited):
    lite0 = whole.read(ROOT / "params.yaml").recipes["lite0"]
    real = whole.read(ROOT / "params.yaml").recipes["lite0_ham"]
    assert real.size == (192, 256)
    assert real.lr == lite0.lr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size: 32", "batchsize: 32", "recipes.lite0: unknown key 'batchsize'; did you mean 'batch_size'?"),
        ("  val: 0.15", "  val: 0.7", "split.val: 0.7 is outside 0.01 to 0.49"),
        ("dropout: 0.2", "dropout: .nan", "recipes.lite0.dropout: Input should be a finite number (got nan)"),
        ("epochs: 1,", "epochs: one,", "recipes.lite0.phases.0.epochs: Input should be a valid integer"),
        ("ensemble: [lite0]", "ensemble: [lite]", "ensemble: no recipe 'lite'; did you mean 'lite0'?"),
        ("name: all", "name: head", "recipes.lite0: phases: each needs a name of its own"),
        ("ensemble: [lite0]", "ensemble: []", "ensemble: is empty; name at least one of recipes"),
        ("ensemble: [lite0]", "ensemble: [lite0, lite0]", "ensemble: 'lite0' is there twice"),
        ("reference: null", "reference: lite1", "evaluate.reference: no model 'lite1'; did you mean 'lite0'?"),
        ("source: synthetic", "source: kagle", "data.source: Input should be 'synthetic', 'kaggle', 'dataverse' or"),
        ("ensemble: [lite0]", 'ensemble: ["lite0;id"]', "recipes: 'lite0;id' is no name: letters, digits, _ and -"),
        ("ensemble: [lite0]", "ensemble: [../lite0]", "recipes: '../lite0' is no name"),
        ("  lite0_ham:", "  lite0.v2:", "recipes: 'lite0.v2' is no name"),
        ("  lite0_ham:", "  my recipe:", "recipes: 'my recipe' is no name"),
        ("  lite0_ham:", '  "-f":', "recipes: '-f' is no name"),
        ("  lite0_ham:", '  "":', "recipes: '' is no name"),
        ("split:\n", "splits:\n", "unknown key 'splits'; did you mean 'split'?"),
    ],
)
def test_a_wrong_entry_is_named_in_one_line(edited, old, new, message):
    with pytest.raises(DermalineError) as problem:
        whole.read(edited(old, new))
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_broken_yaml_and_a_missing_file_are_one_line(tmp_path, edited):
    with pytest.raises(DermalineError, match="not YAML"):
        whole.read(edited("split:", "split: ["))
    with pytest.raises(DermalineError, match="not found; run at the project's root"):
        whole.read(tmp_path / "none.yaml")


def test_a_key_that_is_not_there_names_the_nearest():
    with pytest.raises(DermalineError, match=r"no key 'recipes.lite1'; did you mean 'lite0'"):
        load(Recipe, "recipes.lite1", ROOT / "params.yaml")


def test_no_recipe_holds_a_mapping_that_an_heir_would_share():
    """A mapping inside a recipe is one object for base and heir, and DVC's -S on one is undone by the other."""
    for recipe in whole.read(ROOT / "params.yaml").recipes.values():
        assert [key for key, value in recipe.model_dump().items() if isinstance(value, dict)] == []
