"""From images to probabilities: the one place where a trained network is applied."""

import torch
from lightning_fabric import Fabric

from dermaline.blocks import blocks
from dermaline.models.network import Network

VIEWS: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "flips": ((), (2,), (3,), (2, 3)),
}


@torch.inference_mode()
def probabilities(network: Network, images: torch.Tensor, fabric: Fabric, *, tta: str = "none") -> torch.Tensor:
    """Class probabilities, averaged over the views of the test-time augmentation.

    Args:
        network: in evaluation mode, on the device of `fabric`.
        images: uint8 [N, 3, height, width] at the network's input size.
        tta: `none`, or `flips` (the mean over the four flips: a lesion has no up and no left).

    Returns:
        float32 [N, 7] on the CPU; rows sum to 1.
    """
    found = [torch.empty((0, 7))]
    for part in blocks(len(images), 128):
        pixels = images[part].to(fabric.device, torch.float32).div_(255)
        with fabric.autocast():
            views = [network(pixels.flip(view) if view else pixels).float().softmax(dim=1) for view in VIEWS[tta]]
        found.append(torch.stack(views).mean(dim=0).cpu())
    return torch.cat(found)
