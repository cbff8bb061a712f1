"""Networks of every family: they predict, and a saved model is the one that is loaded."""

import json
import pickle

import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import nn

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.data.metadata import WIDTH
from dermaline.models import model_io
from dermaline.models.network import Network, input_size

CONVOLUTIONAL = (
    *("resnet50", "resnet50_v1", "efficientnet_b0", "efficientnet_b1", "convnext_atto", "mobilenetv3_small_100"),
    "tf_efficientnet_lite0",
)
TRANSFORMERS = ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
PARTS = (
    {"attention": "none", "metadata": "concat", "head": "mlp"},
    {"attention": "cbam", "metadata": "film", "head": "linear", "colour_constancy": 6},
)


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: parts["metadata"])
@pytest.mark.parametrize("backbone", CONVOLUTIONAL + TRANSFORMERS)
def test_every_family_predicts_and_loads_back_to_the_same_logits(tmp_path, backbone, parts):
    torch.manual_seed(0)
    attention = parts["attention"] if backbone in CONVOLUTIONAL else "none"
    recipe = tiny.recipe(backbone=backbone, size=(64, 64), weights="none", **parts | {"attention": attention})
    network = Network(recipe, pretrained=True).eval()
    with torch.no_grad():
        for parameter in network.head_parameters():  # attention and fusion start at 0, and would load as they start
            nn.init.normal_(parameter, std=0.1)
    model_io.save(tmp_path / "model", network.state_dict(), recipe, {"name": "one"})
    loaded, same = model_io.load(tmp_path / "model")
    images, metadata = torch.rand(2, 3, 64, 64), torch.rand(2, WIDTH)
    assert same == recipe
    assert not any(module.training for module in loaded.modules())
    with torch.no_grad():
        assert network(images, metadata).shape == (2, 7)
        assert torch.equal(loaded(images, metadata), network(images, metadata))


@pytest.mark.parametrize(
    ("backbone", "size"),
    [("efficientnet_b1", (240, 240)), ("resnet50_v1", (224, 224)), ("vit_tiny_patch16_224", (224, 224))],
)
def test_without_a_size_the_input_is_the_backbones_own(backbone, size):
    assert input_size(tiny.recipe(backbone=backbone, size=None)) == size
    assert input_size(tiny.recipe(backbone=backbone, size=(48, 64))) == (48, 64)


def test_a_backbone_of_a_fixed_size_is_built_for_its_own():
    network = Network(tiny.recipe(backbone="vit_tiny_patch16_224", size=None, weights="none"), pretrained=False).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 224, 224)).shape == (1, 7)


@pytest.mark.parametrize("view", ["crop", "mixed"])
def test_a_window_of_the_backbones_own_size_has_to_fit_into_the_photograph(view):
    stated = {"backbone": "resnet10t", "weights": "none", "drop_path": 0.0, "size": None, "view": view}
    Network(tiny.recipe(crop_from=(176, 256), **stated), pretrained=False)
    with pytest.raises(DermalineError, match="crop_from: no window of 176x176, the size of resnet10t, fits into it"):
        Network(tiny.recipe(crop_from=(175, 256), **stated), pretrained=False)


def test_a_backbone_of_which_no_order_of_layers_is_known_is_refused():
    recipe = tiny.recipe(backbone="poolformer_s12", weights="none", drop_path=0.0, size=None)
    with pytest.raises(DermalineError, match="does not say of poolformer_s12 which layers come first"):
        Network(recipe, pretrained=False)


def test_the_normalisation_is_the_backbones_own():
    torch.manual_seed(0)
    network = Network(tiny.recipe(), pretrained=True).eval()  # EfficientNet-Lite's mean and std are 0.5
    images = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        features = network.body((images - 0.5) / 0.5)
        assert torch.allclose(network.head(features), network(images), atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "not a trained model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "not a trained model"),
        (
            lambda folder: save_file({"a": torch.zeros(1)}, folder / "model.safetensors"),
            "weights and recipe do not match",
        ),
        (lambda folder: change(folder, "classes", list(reversed(CLASSES))), "made for the classes"),
        (lambda folder: change(folder, "classes", 5), "not a trained model"),
        (lambda folder: change(folder, "recipe", {"backbone": "resnet50"}), "not a trained model"),
        (lambda folder: (folder / "recipe.json").write_text("[]"), "not a trained model"),
        (lambda folder: (folder / "recipe.json").write_text("[" * 10**5), "nested too deeply"),
        (lambda folder: (folder / "recipe.json").write_bytes(b" " * (10**7 + 1)), "more than 10 MB"),
        (lambda folder: change(folder, "split", []), "its split is no digest"),
        (
            lambda folder: torch.save({"a": torch.zeros(1)}, folder / "model.safetensors"),
            "a pickle, which can run programs; only safetensors are read",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(pickle.dumps(print)),
            "a pickle, which can run programs; only safetensors are read",
        ),
        (
            lambda folder: save_file({"a": torch.tensor([1.0, torch.nan])}, folder / "model.safetensors"),
            r"model\.safetensors: a has values that are not finite",
        ),
        (lambda folder: link(folder / "recipe.json", "/dev/zero"), "no regular file"),
        (lambda folder: link(folder / "model.safetensors", "/dev/zero"), "no regular file"),
    ],
    ids=[
        *("missing", "cut off", "another", "classes", "no classes"),
        *("an old recipe", "not a mapping", "deep", "large", "split"),
        *("a zip of pickles", "a pickle", "not finite", "a recipe without end", "weights without end"),
    ],
)
def test_a_broken_model_is_one_line(tmp_path, spoil, message):
    recipe = tiny.recipe()
    model_io.save(tmp_path / "model", Network(recipe, pretrained=False).state_dict(), recipe, {})
    spoil(tmp_path / "model")
    with pytest.raises(DermalineError, match=message) as problem:
        model_io.load(tmp_path / "model")
    assert "\n" not in str(problem.value)


def link(path, target) -> None:
    path.unlink()
    path.symlink_to(target)


def change(folder, key, value) -> None:
    description = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(description | {key: value}))
