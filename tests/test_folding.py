"""Batch norm folded away: the same answers, wherever that can be done."""

import pytest
import timm
import tiny
import torch
from torch import nn

from dermaline.models.folding import folded
from dermaline.models.network import Network
from dermaline.ood.features import Features
from dermaline.params.whole import read
from dermaline.segmentation.network import UNet

SIZE = (64, 64)


def settled(network: nn.Module) -> nn.Module:
    """In evaluation mode, with the statistics and weights of batch norm anywhere, so that each matters."""
    torch.manual_seed(0)
    for norm in norms(network):
        for values, low, high in (
            (norm.running_mean, -0.3, 0.3),
            (norm.running_var, 0.5, 2),
            (norm.weight, 0.5, 1.5),
            (norm.bias, -0.3, 0.3),
        ):
            nn.init.uniform_(values, low, high)
    return network.eval()


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def network_of(backbone: str, **changes) -> Network:
    return Network(tiny.recipe(backbone=backbone, size=SIZE, weights="none", **changes), pretrained=False)


def unet() -> UNet:
    return UNet(read().segment.model_copy(update={"size": SIZE}), pretrained=False)


@pytest.mark.parametrize(
    ("make", "left"),
    [
        *[(lambda name=name: network_of(name), 0) for name in ("tf_efficientnet_lite0", "resnet50", "resnet50_v1")],
        (lambda: network_of("efficientnet_b0", attention="cbam", head="mlp", metadata="film"), 0),
        (lambda: network_of("mobilenetv3_small_100"), 0),
        (lambda: network_of("resnetv2_50d"), None),  # norms before activations and convolutions
        (lambda: timm.create_model("densenet121", num_classes=7), None),
        (lambda: network_of("convnext_atto"), 0),  # has none
        (Features, 0),
        (unet, 0),
    ],
)
def test_the_answers_stay_and_the_norms_go(make, left):
    network = settled(make())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    quick = folded(network, SIZE)
    images = torch.rand(3, 3, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(quick(images), network(images), rtol=1e-4, atol=1e-4)
    assert left is None or len(norms(quick)) == left
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Twice(nn.Module):
    """What the convolution gives goes past the norm too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        found = self.layer(images)
        return found + self.norm(found)


def test_a_network_that_is_put_together_otherwise_comes_back_as_it_is():
    network = settled(Twice())
    assert folded(network, SIZE) is network
