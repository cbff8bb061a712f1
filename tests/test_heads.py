"""What stands around the backbone: colours before it; attention, metadata and a head after it."""

import pytest
import tiny
import torch
from torch import nn

from dermaline.base.errors import DermalineError
from dermaline.data.metadata import MISSING, WIDTH
from dermaline.models.attention import cbam
from dermaline.models.colour import shades_of_gray
from dermaline.models.network import Network


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)


def network(**changes) -> Network:
    return Network(tiny.recipe(weights="none", **changes), pretrained=False).eval()


def stir(network: Network) -> None:
    """Move everything around the backbone away from where it starts, as training does."""
    with torch.no_grad():
        for parameter in network.head_parameters():
            nn.init.normal_(parameter, std=0.1)


def test_attention_starts_as_the_identity_and_can_learn():
    module = cbam(32).double()
    maps = torch.rand(4, 32, 5, 6, dtype=torch.float64)
    assert torch.allclose(module(maps), maps, rtol=1e-12)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        (module(maps) - 0.5 * maps).square().mean().backward()
        optimizer.step()
    assert (module(maps) - 0.5 * maps).square().mean() < 0.2 * (0.5 * maps).square().mean()


def test_attention_is_part_of_the_network():
    plain, attentive = network(), network(attention="cbam")
    assert not attentive.load_state_dict(plain.state_dict(), strict=False).unexpected_keys
    images = torch.rand(2, 3, 32, 48)
    assert torch.allclose(attentive(images), plain(images), atol=1e-5)
    for parameter in attentive.attention.parameters():
        nn.init.normal_(parameter)
    assert not torch.allclose(attentive(images), plain(images), atol=1e-3)


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_attention_without_a_feature_map_is_one_line(backbone):
    with pytest.raises(DermalineError, match="attention: cbam needs the feature map") as problem:
        network(backbone=backbone, attention="cbam", size=(64, 64))
    assert "\n" not in str(problem.value)


def test_film_starts_as_the_identity():
    plain, film = network(), network(metadata="film")
    assert not film.load_state_dict(plain.state_dict(), strict=False).unexpected_keys
    images, metadata = torch.rand(3, 3, 32, 48), torch.rand(3, WIDTH)
    assert torch.equal(film(images, metadata), plain(images))


@pytest.mark.parametrize("fusion", ["concat", "film"])
def test_fused_metadata_count_and_hiding_them_is_having_none(fusion):
    fused = network(metadata=fusion)
    stir(fused)
    images, metadata = torch.rand(3, 3, 32, 48), torch.rand(3, WIDTH)
    hidden = fused(images)
    assert (fused(images, metadata) - hidden).abs().max() > 1e-3
    assert torch.equal(fused(images, MISSING.expand(3, -1)), hidden)


def test_without_fusion_metadata_are_not_looked_at():
    plain = network()
    images = torch.rand(3, 3, 32, 48)
    assert torch.equal(plain(images, torch.rand(3, WIDTH)), plain(images))


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_head_starts_small_so_that_the_first_loss_is_that_of_chance(head):
    recipe = tiny.recipe(head=head, metadata="concat", attention="cbam")
    logits = Network(recipe, pretrained=True).eval()(torch.rand(8, 3, 32, 48))
    assert logits.abs().max() < 1


def test_an_mlp_has_a_hidden_layer_and_trains_on_a_single_image():
    net = network(head="mlp", backbone="convnext_atto")
    assert [(layer.in_features, layer.out_features) for layer in net.head if isinstance(layer, nn.Linear)] == [
        (320, 512),
        (512, 7),
    ]
    net.start_training(first_layer=0)
    assert net(torch.rand(1, 3, 32, 48)).shape == (1, 7)


def test_dropout_is_the_heads_and_off_when_predicting():
    net, images = network(dropout=0.5), torch.rand(2, 3, 32, 48)
    assert torch.equal(net(images), net(images))
    net.start_training(first_layer=None)  # nothing but the head trains, so nothing else is random
    assert not torch.equal(net(images), net(images))


@pytest.mark.parametrize("norm", [0.5, 1, 6, 100])
def test_shades_of_gray_takes_out_the_lights_colour(norm):
    scene = torch.rand(2, 3, 20, 30, dtype=torch.float64) * 0.4
    light = torch.tensor([1.3, 1.0, 0.6], dtype=torch.float64).view(1, 3, 1, 1)
    found = shades_of_gray(scene * light, norm)
    means = found.pow(norm).mean((2, 3)).pow(1 / norm)
    assert torch.allclose(means, means[:, :1].expand(-1, 3), rtol=1e-9)  # a neutral light
    before = (scene * light).pow(norm).mean((2, 3)).pow(1 / norm)
    assert torch.allclose(means.mean(1), before.mean(1), rtol=1e-9)  # as bright as before


def test_shades_of_gray_at_the_edges():
    grey = torch.rand(1, 1, 8, 8).expand(1, 3, 8, 8)
    assert torch.allclose(shades_of_gray(grey, 6), grey, atol=1e-6)
    assert torch.equal(shades_of_gray(torch.zeros(1, 3, 8, 8), 6), torch.zeros(1, 3, 8, 8))
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = torch.rand(8, 8)
    assert shades_of_gray(red, 6).min() >= 0
    bright = torch.rand(4, 3, 8, 8) * torch.tensor([1, 0.2, 0.2]).view(3, 1, 1)
    bright[:, 1, 0, 0] = 1
    assert shades_of_gray(bright, 1).max() == 1
    dark = 0.05 * torch.tensor([1, 0.5, 0.7]).view(3, 1, 1) * torch.rand(1, 1, 8, 8)  # 100th powers are 0 in float32
    found = shades_of_gray(dark, 100)
    assert torch.allclose(found, found[:, :1].expand(-1, 3, -1, -1), rtol=1e-3)


def test_colour_constancy_is_part_of_the_network():
    plain, constant = network(), network(colour_constancy=6)
    constant.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 32, 48) * torch.tensor([0.9, 0.5, 0.3]).view(1, 3, 1, 1)
    assert torch.equal(constant(images), plain(shades_of_gray(images, 6)))
    assert not torch.equal(constant(images), plain(images))
