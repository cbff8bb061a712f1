"""Which part of a network trains: what is frozen does not move, neither weights nor statistics."""

import pytest
import tiny
import torch

from dermaline.base.errors import DermalineError
from dermaline.models.network import Network

FAMILIES = {
    "resnet50": {"backbone": "resnet50"},
    "efficientnet": {},
    "vit": {"backbone": "vit_tiny_patch16_224"},
}


@pytest.fixture(params=FAMILIES)
def network(request) -> Network:
    torch.manual_seed(0)
    recipe = tiny.recipe(weights="none", attention="none", metadata="film", drop_path=0.3, **FAMILIES[request.param])
    return Network(recipe, pretrained=False)


def step(network: Network) -> set[str]:
    """Train one step, with weight decay and momentum, on all parameters; the names of what moved."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    images, labels = torch.rand(4, 3, 32, 48), torch.arange(4)
    for _ in range(2):  # the first step moves FiLM's last layer, the second what is before it
        torch.nn.functional.cross_entropy(network(images, torch.rand(4, len(network.missing))), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def names(network: Network, layers: list) -> set[str]:
    wanted = {id(parameter) for layer in layers for parameter in layer}
    return {name for name, value in network.named_parameters() if id(value) in wanted}


def test_the_layers_are_the_backbones_parameters_once_each(network):
    layers = network.backbone_layers()
    body = [name for name, _ in network.named_parameters() if name.startswith("body.")]
    assert sum(map(len, layers)) == len(body)
    assert names(network, layers) == set(body)
    assert len(layers) > 10
    stem = {"body.conv1.weight", "body.conv_stem.weight", "body.patch_embed.proj.weight"}
    assert names(network, layers[:1]) & stem
    ours = {id(parameter) for parameter in network.head_parameters()}
    assert {id(p) for p in network.parameters()} == ours | {id(p) for layer in layers for p in layer}


def test_a_frozen_backbone_does_not_move(network):
    network.start_training(first_layer=0)
    torch.nn.functional.cross_entropy(network(torch.rand(4, 3, 32, 48)), torch.arange(4)).backward()
    network.start_training(first_layer=None)  # with gradients left over from a phase that trained it all
    moved = step(network)
    assert moved == {name for name in network.state_dict() if not name.startswith("body.")}


@pytest.mark.parametrize("share", [0.4, 1])
def test_layers_train_from_the_border_on(network, share):
    layers = network.backbone_layers()
    border = round(share * (len(layers) - 1))
    network.start_training(first_layer=border)
    moved = step(network)
    frozen = names(network, layers[:border])
    assert not moved & frozen
    statistics = {name.rpartition(".")[0] for name in moved if name.endswith("running_mean")}
    assert not statistics & {name.rpartition(".")[0] for name in frozen}  # batch norm's, of frozen layers
    assert names(network, layers[border : border + 1]) <= moved
    assert names(network, layers[border:]) <= moved


def test_what_is_frozen_is_not_random(network):
    layers = network.backbone_layers()
    network.start_training(first_layer=len(layers) - 1)
    silent = {id(parameter) for layer in layers[:-1] for parameter in layer}
    for name, module in network.body.named_modules():
        own = list(module.parameters())
        if own and all(id(parameter) in silent for parameter in own):
            assert not any(part.training for part in module.modules()), name
    last = network.get_parameter(sorted(names(network, layers[-1:]))[0])
    assert last.requires_grad
    network.start_training(first_layer=0)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_beyond_the_last_is_one_line(family):
    options = {"weights": "none", **FAMILIES[family]}
    count = len(Network(tiny.recipe(**options), pretrained=False).backbone_layers())
    with pytest.raises(DermalineError, match=f"phases: top: first_layer: {count} is outside 0 to {count - 1}"):
        Network(tiny.recipe(**options, phases=[tiny.phase("top", 1, 1, 1, first_layer=count)]), pretrained=False)
