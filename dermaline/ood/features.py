"""What an early part of an ImageNet network makes of photographs: edges, colours, textures, and nothing of lesions."""

from typing import NamedTuple

import timm
import torch
from torch import Tensor, nn

from dermaline.base.parameters import Size
from dermaline.blocks import blocks
from dermaline.data.photographs import resized
from dermaline.models.folding import folded
from dermaline.models.normalise import Normalise
from dermaline.models.weights import load_pretrained

BACKBONE = "tf_efficientnet_lite0"
STAGES = 5  # of its seven: what later ones make of a blank, or of noise, lies where lesions do
WIDTH = 112  # of the maps after the last of these stages
AT_ONCE = 64  # images


class Features(nn.Module):
    """The means of the maps after the first stages of the backbone, with its ImageNet weights, in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        body = timm.create_model(BACKBONE, num_classes=0)
        load_pretrained(body, BACKBONE, "bundled", {})
        self.stages = nn.Sequential(body.conv_stem, body.bn1, *body.blocks[:STAGES])
        self.normalise = Normalise(body.pretrained_cfg)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Float32 [B, 112] of float images [B, 3, height, width] in 0..1."""
        return self.stages(self.normalise(images)).mean((2, 3))


class Extractor(NamedTuple):
    """The features of photographs of any size, which are looked at in one."""

    network: Features
    device: torch.device
    size: Size

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Float32 [N, 112] on the CPU, of uint8 [N, 3, height, width]."""
        found = []
        for part in blocks(len(images), AT_ONCE):
            pixels = resized(images[part], self.size).to(self.device, torch.float32).div_(255)
            found.append(self.network(pixels).cpu())
        return torch.cat(found)


def extractor(size: Size, device: torch.device) -> Extractor:
    """An extractor on a device; raises a `DermalineError` if the weights can't be had."""
    return Extractor(folded(Features(), size).to(device), device, size)
