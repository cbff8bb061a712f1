"""Outlines of photographs, by networks that have not seen them."""

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from dermaline.base.parameters import Size
from dermaline.blocks import blocks
from dermaline.segmentation.network import UNet
from dermaline.segmentation.scores import Mask


@torch.inference_mode()
def probabilities(networks: Sequence[UNet], images: Tensor, fabric: Fabric) -> NDArray[np.uint8]:
    """The mean of some networks' probabilities of being inside the lesion, uint8 [N, H, W], 255 for 1.

    Args:
        networks: in evaluation mode, on the device of `fabric`.
        images: uint8 [N, 3, H, W], of the networks' size.
        fabric: where, and in which precision.
    """
    found = []
    for part in blocks(len(images), 64):
        pixels = images[part].to(fabric.device, torch.float32).div_(255)
        with fabric.autocast():
            seen = [network(pixels).float().sigmoid() for network in networks]
        found.append((torch.stack(seen).mean(dim=0) * 255).round().to(torch.uint8).cpu().numpy())
    return np.concatenate(found)


def inside(probability: NDArray[np.uint8], size: Size) -> Mask:
    """Which pixels of a photograph of a height and width are inside: where the enlarged probability is over a half."""
    wide = resize(torch.from_numpy(probability)[None].float(), list(size), antialias=True)[0]
    return wide.numpy() > 127.5
