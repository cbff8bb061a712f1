"""From images to probabilities: the one place where a trained network is applied."""

import torch
from lightning_fabric import Fabric
from torch import Tensor

from dermaline.blocks import blocks
from dermaline.errors import DermalineError
from dermaline.inference.views import VIEWS
from dermaline.models.network import Network


@torch.inference_mode()
def probabilities(
    network: Network, images: Tensor, fabric: Fabric, *, metadata: Tensor | None = None, tta: str = "none"
) -> Tensor:
    """Class probabilities, averaged over the views of the test-time augmentation.

    Args:
        network: in evaluation mode, on the device of `fabric`; called with pixels in 0..1 and their rows of `metadata`.
        images: uint8 [N, 3, height, width] at the network's input size.
        metadata: float [N, features], or None for a network that takes none.
        tta: `none`; `flips`, all four (a lesion has no up and no left); `d4`, the four flips of the image and of its
            transpose: all eight symmetries of the square; `crops`, the whole and five crops of 7/8 of each side.

    Returns:
        float32 [N, 7] on the CPU; rows sum to 1.

    Raises:
        DermalineError: `d4` would turn images that are not square on their side, for a network of fixed input size.
    """
    if tta == "d4":
        _check_turnable(network, images)
    found = [torch.empty((0, 7))]
    for part in blocks(len(images), 128):
        pixels = images[part].to(fabric.device, torch.float32).div_(255)
        beside = None if metadata is None else metadata[part].to(fabric.device)
        with fabric.autocast():
            views = [network(view(pixels), beside).float().softmax(dim=1) for view in VIEWS[tta]]
        found.append(torch.stack(views).mean(dim=0).cpu())
    return torch.cat(found)


def _check_turnable(network: Network, images: Tensor) -> None:
    height, width = images.shape[2:]
    if height != width and network.body.pretrained_cfg.get("fixed_input_size"):
        raise DermalineError(
            f"predict.tta: d4 turns images of {height} x {width} on their side, and {network.backbone} takes one size "
            "only; set flips, or make the recipe's size square"
        )
