"""From images to probabilities: the one place where a trained network is applied."""

from collections.abc import Callable, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from dermaline.blocks import blocks
from dermaline.models.network import Network

View = Callable[[Tensor], Tensor]
AT_ONCE = 256  # views of images that a network is shown together
AT_ONCE_CPU = 32  # whose caches hold few


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
    at_once = AT_ONCE_CPU if fabric.device.type == "cpu" else AT_ONCE
    for part in blocks(len(images), max(at_once // len(views), 1)):
        pixels = images[part].to(fabric.device, torch.float32).div_(255)
        beside = None if metadata is None else metadata[part].to(fabric.device)
        seen = [view(pixels) for view in views]
        with fabric.autocast():
            answers = [
                network(torch.cat(same), None if beside is None else beside.repeat(len(same), 1)).float().softmax(dim=1)
                for same in _of_one_shape(seen)
            ]
        found.append(torch.cat(answers).unflatten(0, (len(views), -1)).mean(dim=0).cpu())
    return torch.cat(found)


def _of_one_shape(seen: Sequence[Tensor]) -> list[list[Tensor]]:
    """Views that a network can be shown together: some may lie on their side."""
    return [[one for one in seen if one.shape == shape] for shape in dict.fromkeys(one.shape for one in seen)]
