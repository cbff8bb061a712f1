"""Every recipe of recipes/, as it stands, trains: one epoch of each of its phases, at a size a laptop can take."""

import pytest
import tiny
from closure import ROOT

from dermaline.compute import setup_fabric
from dermaline.models import model_io
from dermaline.params.recipe import Recipe, read_recipe, recipe_names
from dermaline.training.checkpoint import ResumeCheckpoint
from dermaline.training.loop import Trainer

RECIPES = {name: read_recipe(name, ROOT) for name in recipe_names(ROOT)}
QUICK = ("lite0", "lite0_mixed")  # the others are for `pytest -m slow`; that each is valid is seen here on import
WINDOWED = ("vit", "swin")  # patches and windows need sizes that they divide


def small(recipe: Recipe, name: str) -> Recipe:
    """The recipe with small images, one epoch a phase, and no weights that would have to be fetched."""
    side = 64 if name in WINDOWED else 32
    phases = [phase.model_copy(update={"epochs": 1, "size": (side, side)}) for phase in recipe.phases]
    lite = recipe.backbone.startswith("tf_efficientnet_lite")
    start = str(ROOT / recipe.weights) if recipe.weights.endswith(".safetensors") else recipe.weights
    weights = start if lite else "none"
    changes = {"size": (side, side), "phases": phases, "weights": weights, "batch_size": 8, "precision": "32-true"}
    return recipe.model_copy(update=changes)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in RECIPES]
)
def test_a_recipe_trains_and_is_saved(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    recipe, device = small(RECIPES[name], name), setup_fabric("cpu", "32-true")
    training = Trainer(recipe, tiny.examples(16, 0), tiny.examples(14, 1), device, ResumeCheckpoint(name))
    best = training.run()
    assert [row["phase"] for row in training.history] == [phase.name for phase in recipe.phases]
    model_io.save(tmp_path / "model", best, recipe, {})
    network, loaded = model_io.load(tmp_path / "model")
    assert loaded == recipe
    assert set(network.state_dict()) == set(best)
