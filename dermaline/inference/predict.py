"""From images to probabilities: the one place where a trained network is applied."""

from collections.abc import Callable, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from dermaline.blocks import blocks
from dermaline.models.network import Network

View = Callable[[Tensor], Tensor]


def whole(images: Tensor) -> Tensor:
    """The images as they are: the only view without test-time augmentation."""
    return images


@torch.inference_mode()
def probabilities(
    network: Network,
    images: Tensor,
    fabric: Fabric,
    *,
    metadata: Tensor | None = None,
    views: Sequence[View] = (whole,),
) -> Tensor:
    """Class probabilities, averaged over views of each image.

    Args:
        network: in evaluation mode, on the device of `fabric`; called with pixels in 0..1 and their rows of `metadata`.
        images: uint8 [N, 3, height, width] at the network's input size.
        metadata: float [N, features], or None for a network that takes none.
        views: of the test-time augmentation, see `dermaline.inference.views`.

    Returns:
        float32 [N, 7] on the CPU; rows sum to 1.
    """
    found = [torch.empty((0, 7))]
    for part in blocks(len(images), 128):
        pixels = images[part].to(fabric.device, torch.float32).div_(255)
        beside = None if metadata is None else metadata[part].to(fabric.device)
        with fabric.autocast():
            seen = [network(view(pixels), beside).float().softmax(dim=1) for view in views]
        found.append(torch.stack(seen).mean(dim=0).cpu())
    return torch.cat(found)
